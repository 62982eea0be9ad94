"""Copies of held packages, so that a broken hold can be put back at once, offline.

Hard links beside the environment: no data blocks while the originals exist. A copy is
restored only if every file still has the SHA-256 that was recorded when it was whole.
"""

import base64
import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec
from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.state.holds import Held, matches
from reconciler.state.installed import Distribution, Installed, RecordedFile, read_distribution
from reconciler.status import ExpectedEnd, Reason
from reconciler.trees.tree import recorded_paths
from reconciler.trees.workspace import Workspace, remove_tree, write_durably
from reconciler.vault.manifest import Manifest, VaultFile, WholeManifest, read_files, read_manifest

MANIFEST = "manifest.json"
_TREE = "tree"
_NO_LINK = frozenset({
    errno.EPERM, errno.EACCES, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP,
    errno.ENOSYS,
})  # fmt: skip
"""Another user's file, another file system, or one without hard links: a copy costs space, and
is as good."""


class CopyDamaged(ExpectedEnd):
    """A copy in the vault is not what was put there, so it is not restored."""

    reason = Reason.VAULT_DAMAGED

    def __init__(self, name: str, version: str, path: str) -> None:
        super().__init__(
            f"the vault's copy of {name} {version} is damaged ({path} has another content than "
            "when it was taken), so it is not restored. Install that build by hand and "
            f"`reconciler hold accept {name}`."
        )


class Vault:
    """The copies of one environment's held packages.

    One folder for each package, in it one for each build that was held, numbered; the
    highest number is the build that counts as held.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._root = workspace.vault
        self.prefix = workspace.prefix
        self._known: dict[NormalizedName, Manifest] = {}
        self._stamp: tuple[tuple[str, tuple[int, ...]], ...] | None = None

    def current(self) -> dict[NormalizedName, Manifest]:
        """The build of each package that counts as the held one."""
        stamp = self.stamp()
        if stamp != self._stamp:
            known: dict[NormalizedName, Manifest] = {}
            for name, numbers in stamp:
                for number in reversed(numbers):
                    manifest = read_manifest(self._root / name / str(number) / MANIFEST)
                    if manifest is not None:
                        known[NormalizedName(name)] = manifest
                        break
            self._known, self._stamp = known, stamp
        return self._known

    def stamp(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """What changes when a copy comes or goes, whoever made it."""
        return tuple(
            (name, tuple(int(folder.name) for folder in folders))
            for name, folders in sorted(self._folders())
        )

    def _folders(self) -> Iterator[tuple[NormalizedName, list[Path]]]:
        with suppress(FileNotFoundError):
            for package in self._root.iterdir():
                numbered = [p for p in package.iterdir() if p.name.isdigit()]
                yield NormalizedName(package.name), sorted(numbered, key=lambda p: int(p.name))

    def put(self, held: Held, *, as_found: bool = False) -> Manifest:
        """Take a copy of an installed package, which from now on counts as the held one.

        Args:
            held: The package.
            as_found: Somebody wants it as it is, whatever its RECORD says of its files.

        Raises:
            OSError: It cannot be linked, nor copied.
            ValueError: Its RECORD is not one.
        """
        number = self._newest_number(held.name) + 1
        folder = self._root / held.name / str(number)
        fresh = folder.with_name(f".new-{number}-{os.getpid()}")
        if fresh.exists():
            remove_tree(fresh)
        (fresh / _TREE).mkdir(parents=True)
        try:
            links, originals = self._take(held.distribution, fresh / _TREE)
        except OSError:
            remove_tree(fresh)  # what was copied already takes space
            raise
        recorded = {} if as_found else self._recorded_hashes(held.distribution)
        files = tuple(
            VaultFile(
                path, recorded.get(path) or digest_of(fresh / _TREE / path),
                found.st_size, found.st_ino, found.st_mtime_ns,
            )
            for path, found in originals.items()
        )  # fmt: skip
        manifest = WholeManifest(
            name=held.name, version=str(held.version), pinned_by=held.pinned_by,
            files=files, links=links, number=number,
        )  # fmt: skip
        write_durably(fresh / MANIFEST, msgspec.json.encode(manifest).decode())
        fresh.rename(folder)
        return Manifest(**{name: getattr(manifest, name) for name in Manifest.__struct_fields__})

    def _take(
        self, distribution: Distribution, tree: Path
    ) -> tuple[dict[str, str], dict[str, os.stat_result]]:
        """Link or copy a distribution's files into `tree`.

        What is a symbolic link to somewhere else (to uv's cache, with `link-mode = "symlink"`)
        is kept by content.

        Returns:
            Where its links within the environment lead; and of each file the original's identity.
        """
        links: dict[str, str] = {}
        originals: dict[str, os.stat_result] = {}
        folders: set[str] = set()
        for path in recorded_paths(distribution, self.prefix):
            source = f"{self.prefix}/{path}"
            if not _counts(path) or not os.path.lexists(source):
                continue
            if os.path.islink(source):  # noqa: PTH114 -- thousands of times, as all of this
                target = os.path.realpath(source)
                if Path(target).is_relative_to(self.prefix):
                    links[path] = os.readlink(source)  # noqa: PTH115
                    continue
                source = target
            if not os.path.isfile(source):  # noqa: PTH113
                continue
            folder = path.rpartition("/")[0]
            if folder not in folders:
                (tree / folder).mkdir(parents=True, exist_ok=True)
                folders.add(folder)
            _link_or_copy(source, f"{tree}/{path}")
            originals[path] = os.stat(source)  # noqa: PTH116
        return links, originals

    def _recorded_hashes(self, distribution: Distribution) -> dict[str, str]:
        """What RECORD says of each file: a copy that differs from it is never restored."""
        start = f"{self.prefix}/"
        return {
            file.path.removeprefix(start): digest
            for file in distribution.files()
            if (digest := recorded_digest(file)) is not None
        }

    def _newest_number(self, name: str) -> int:
        with suppress(FileNotFoundError):
            numbers = [int(p.name) for p in (self._root / name).iterdir() if p.name.isdigit()]
            return max(numbers, default=0)
        return 0

    def folder(self, manifest: Manifest) -> Path:
        """Where the files of a copy lie, as they lay below the environment."""
        return self._root / manifest.name / str(manifest.number) / _TREE

    def files(self, manifest: Manifest) -> tuple[VaultFile, ...]:
        """The files of a copy.

        Raises:
            Damaged: The list cannot be read.
        """
        path = self._root / manifest.name / str(manifest.number) / MANIFEST
        try:
            return read_files(path)
        except (OSError, msgspec.DecodeError) as error:
            raise CopyDamaged(manifest.name, manifest.version, MANIFEST) from error

    def check(self, manifest: Manifest) -> None:
        """Compare every file of a copy with what was recorded when it was taken.

        Raises:
            Damaged: One has another content, or is gone.
        """
        tree = self.folder(manifest)
        files = self.files(manifest)

        def is_bad(file: VaultFile) -> bool:
            try:
                return digest_of(tree / file.path) != file.sha256
            except OSError:
                return True

        with ThreadPoolExecutor(4) as pool:
            for file, bad in zip(files, pool.map(is_bad, files), strict=True):
                if bad:
                    raise CopyDamaged(manifest.name, manifest.version, file.path)

    def distribution(self, manifest: Manifest) -> Distribution | None:
        """The copy's metadata."""
        for file in self.files(manifest):
            if file.path.endswith(".dist-info/METADATA"):
                info = Path(file.path).parent
                found = read_distribution(self.folder(manifest) / info)
                if found.defect is None:
                    return found
        return None

    def companions(self, name: NormalizedName) -> list[Manifest]:
        """A package and, transitively, what it pins: all that is restored together."""
        current = self.current()
        wanted = [name]
        for one in wanted:
            wanted += [n for n, m in current.items() if m.pinned_by == one and n not in wanted]
        return [current[n] for n in wanted if n in current]

    def prune(self, keep: int) -> None:
        """Forget copies of builds that are not held any more, but for the newest `keep`."""
        for _, folders in self._folders():
            for folder in folders[: -(keep + 1)]:
                remove_tree(folder)
        with suppress(FileNotFoundError):
            for package in self._root.iterdir():
                for leftover in package.glob(".new-*"):
                    remove_tree(leftover)

    def forget(self, name: NormalizedName) -> None:
        """Forget everything about a package that is not held any more."""
        with suppress(FileNotFoundError):
            remove_tree(self._root / name)


def _counts(path: str) -> bool:
    return not path.endswith((".pyc", ".pyo"))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copy2(source, target)


def recorded_digest(file: RecordedFile) -> str | None:
    """A RECORD's SHA-256 (PEP 376: URL-safe base64 without padding) as hexadecimal digits."""
    kind, _, value = (file.hash or "").partition("=")
    if kind != "sha256":
        return None
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
    except ValueError:
        return None


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expected(installed: Installed, patterns: Iterable[str], vault: Vault) -> Installed:
    """The installed state with the held builds in place of what someone else put there instead.

    While a hold is broken, everything is still planned around the build that is held, so
    that it fits again once the hold is restored; and what an intruder pins is not held.
    """
    distributions = dict(installed.distributions)
    current = vault.current()
    for name, manifest in current.items():
        root = manifest.pinned_by
        covered = root in current if root else matches(name, patterns)
        if covered and installed.version(name) != Version(manifest.version):
            copy = vault.distribution(manifest)
            if copy is not None:
                distributions[name] = copy
    return Installed(distributions, installed.duplicates)
