"""Copies of held packages, so that a broken hold can be restored at once, offline.

Only reads: copies are made and removed by `reconciler.vault.writer`. A copy is restored
only if every file still has the SHA-256 that was recorded when it was whole.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.files.bounded import open_regular
from reconciler.state.holds import matches
from reconciler.state.installed import (
    Distribution,
    Installed,
    is_unrecorded,
    read_distribution,
    record_of,
)
from reconciler.status import ExpectedEnd, Reason
from reconciler.trees.own_files import NotOurs
from reconciler.vault.manifest import (
    Copy,
    Manifest,
    SeenFile,
    Target,
    VaultFile,
    read_copied_files,
    read_copy,
    read_manifest,
    read_omitted,
    read_seen,
)
from reconciler.vault.store import COPY, INFO, Store, numbered

Omitted = Mapping[NormalizedName, frozenset[str]]
"""For each package that was slimmed on purpose, the files that it is without, as full paths."""


class CopyDamaged(ExpectedEnd):
    """A copy in the vault is not what was put there, so it is not restored."""

    reason = Reason.VAULT_DAMAGED

    def __init__(self, name: str, version: str, path: str) -> None:
        super().__init__(
            f"the vault's copy of {name} {version} is damaged (the content of {path} has changed "
            "since the copy was made), so it is not restored. Install that build by hand, then "
            f"`reconciler hold accept {name}`."
        )


class CopyUnfit(ExpectedEnd):
    """The vault's copy is for another Python or platform."""

    reason = Reason.NO_COPY

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            f"{why}. Install a build of {name} for this Python by hand, then "
            f"`reconciler hold accept {name}`."
        )


class Vault:
    """The copies that one environment holds, for reading.

    Each build of a package that became the held one has a number; the highest is the one that
    counts. The copies themselves are shared with other environments.

    Args:
        store: The vault.
        prefix: The environment.
        target: Its Python and platform.
    """

    def __init__(self, store: Store, prefix: Path, target: Target) -> None:
        self.store = store
        self.prefix = prefix
        self.target = target
        self.records = store.environment(prefix)
        self._known: dict[NormalizedName, Manifest] = {}
        self._stamp: tuple[tuple[str, tuple[int, ...]], ...] | None = None

    def current(self) -> dict[NormalizedName, Manifest]:
        """The build of each package that counts as the held one."""
        stamp = self.stamp()
        if stamp != self._stamp:
            known: dict[NormalizedName, Manifest] = {}
            for name, numbers in stamp:
                for number in reversed(numbers):
                    path = self._file(name, number)
                    try:
                        manifest = read_manifest(path, self.prefix)
                    except (OSError, NotOurs) as error:
                        # Only here, since `check` seldom has anything to log.
                        from reconciler.log.logger import get_logger  # noqa: PLC0415

                        log = get_logger(__name__)
                        log.warning("vault.ignored", file=str(path), message=str(error))
                    else:
                        if self._is_there(manifest):
                            known[NormalizedName(name)] = manifest
                            break
            self._known, self._stamp = known, stamp
        return self._known

    def _file(self, name: str, number: int) -> Path:
        return self.records / name / f"{number}.json"

    def _is_there(self, manifest: Manifest) -> bool:
        """Whether the copy itself has not been removed from the vault."""
        return (self.store.copy_folder(manifest.name, manifest.copy) / COPY).exists()

    def stamp(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """A value that changes whenever anyone adds or removes a copy."""
        return tuple(
            (name, tuple(int(file.stem) for file in files)) for name, files in sorted(self.listed())
        )

    def listed(self) -> Iterator[tuple[NormalizedName, list[Path]]]:
        """Each package with the records of its copies, oldest first."""
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            if self.records.is_symlink():
                return
            for package in filter(_is_folder, self.records.iterdir()):
                files = numbered(package)
                if files:
                    yield NormalizedName(package.name), files

    def copies(self, name: NormalizedName) -> list[Manifest]:
        """Every readable copy of a package that this environment held, the oldest first."""
        found: list[Manifest] = []
        for file in numbered(self.records / name):
            with suppress(OSError, NotOurs):  # `current` reports it
                manifest = read_manifest(file, self.prefix)
                if self._is_there(manifest):
                    found.append(manifest)
        return found

    def offered(self, name: NormalizedName) -> list[tuple[Manifest, str | None]]:
        """Every copy of a package in the whole vault, the newest first.

        Returns:
            Each copy, as if this environment held it, and why it does not fit here, or None.
        """
        return [(manifest_of(copy), copy.unfit(self.target)) for copy in self.store.copies(name)]

    def best(self, name: NormalizedName) -> Manifest | None:
        """The copy to restore here: the held one, else the newest in the whole vault that fits."""
        held = self.current().get(name)
        if held is not None and self.unfit(held) is None:
            return held
        fitting = (manifest for manifest, why in self.offered(name) if why is None)
        return next(fitting, None)

    def version_to_restore(self, name: NormalizedName) -> Version | None:
        """The version of that copy, or None if there is none."""
        with suppress(CopyDamaged):
            found = self.best(name)
            return Version(found.version) if found is not None else None
        return None

    def unfit(self, manifest: Manifest) -> str | None:
        """Why a copy is of no use for this environment, or None: it was recreated, say.

        Raises:
            CopyDamaged: Its description cannot be read.
        """
        try:
            copy = read_copy(self.store.copy_folder(manifest.name, manifest.copy) / COPY)
        except (OSError, NotOurs) as error:
            raise CopyDamaged(manifest.name, manifest.version, COPY) from error
        return copy.unfit(self.target)

    def refuse_unfit(self, manifest: Manifest) -> None:
        """Check that a copy is for this environment's Python and platform.

        Raises:
            CopyUnfit: It is for another one.
            CopyDamaged: Its description cannot be read.
        """
        why = self.unfit(manifest)
        if why is not None:
            raise CopyUnfit(manifest.name, why)

    def content(self, manifest: Manifest, file: VaultFile) -> Path:
        """Where the content of a copy's file is."""
        return self.store.content(manifest.name, file)

    def files(self, manifest: Manifest) -> tuple[SeenFile, ...]:
        """The files of a copy, as they were in this environment when they were copied.

        Raises:
            CopyDamaged: The list cannot be read.
        """
        folder = self.store.copy_folder(manifest.name, manifest.copy)
        try:
            files = read_copied_files(folder / COPY)
            seen = tuple((file.inode, file.mtime) for file in files)
            if manifest.number:
                seen = read_seen(self._file(manifest.name, manifest.number))
            return tuple(
                SeenFile(f.path, f.sha256, f.size, inode, mtime, f.mode, f.inode, f.mtime)
                for f, (inode, mtime) in zip(files, seen, strict=True)
            )
        except (OSError, ValueError) as error:
            raise CopyDamaged(manifest.name, manifest.version, COPY) from error

    def check(self, manifest: Manifest, files: Sequence[VaultFile] | None = None) -> None:
        """Compare files of a copy with what was recorded when the copy was made.

        Args:
            manifest: The copy.
            files: Which of its files; by default all.

        Raises:
            CopyDamaged: A file has changed or is gone.
        """
        files = self.files(manifest) if files is None else files

        folder = str(self.store.contents(manifest.name))

        def is_bad(file: VaultFile) -> bool:
            path = f"{folder}/{file.key}"
            try:
                return os.path.islink(path) or digest_of(Path(path)) != file.sha256  # noqa: PTH114
            except OSError:
                return True

        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 -- slow to import

        with ThreadPoolExecutor(4) as pool:
            for file, bad in zip(files, pool.map(is_bad, files), strict=True):
                if bad:
                    raise CopyDamaged(manifest.name, manifest.version, file.path)

    def distribution(self, manifest: Manifest) -> Distribution | None:
        """The copy's metadata."""
        info = self.store.copy_folder(manifest.name, manifest.copy) / INFO
        with suppress(OSError):
            for folder in filter(_is_folder, info.iterdir()):
                found = read_distribution(folder)
                if found.defect is None or (manifest.slim and is_unrecorded(found)):
                    return found
        return None

    def whole(self, manifest: Manifest) -> Manifest | None:
        """The newest older copy of the same build with all its files, if there still is one."""
        older = (copy for copy in self.copies(NormalizedName(manifest.name)) if not copy.slim)
        same = [
            copy
            for copy in older
            if copy.number < manifest.number and copy.version == manifest.version
        ]
        return same[-1] if same else None

    def omitted(self, installed: Installed, tree: Path | None = None) -> Omitted:
        """The files that were deleted on purpose from the builds that are installed.

        Args:
            installed: The environment, or a tree that mirrors it.
            tree: That tree.
        """
        return {
            name: frozenset(
                f"{tree or self.prefix}/{path}"
                for path in read_omitted(self._file(name, manifest.number))
            )
            for name, manifest in self.current().items()
            if manifest.slim and installed.version(name) == Version(manifest.version)
        }

    def defects(self, installed: Installed) -> dict[NormalizedName, str]:
        """What the metadata alone shows, except a RECORD that was removed on purpose."""
        found = {name: d.defect for name, d in installed.distributions.items() if d.defect}
        if not any(is_unrecorded(installed.distributions[name]) for name in found):
            return found
        for name, paths in self.omitted(installed).items():
            distribution = installed.distributions[name]
            if is_unrecorded(distribution) and record_of(distribution) in paths:
                del found[name]
        return found

    def companions(self, name: NormalizedName) -> list[Manifest]:
        """A package and, transitively, what it pins: everything that is restored together."""
        current = self.current()
        wanted = [name]
        for one in wanted:
            wanted += [n for n, m in current.items() if m.pinned_by == one and n not in wanted]
        return [current[n] for n in wanted if n in current]


def manifest_of(copy: Copy) -> Manifest:
    """A copy as if an environment held it."""
    return Manifest(
        name=copy.name, version=copy.version, copy=copy.id, pinned_by=copy.pinned_by,
        links=copy.links, slim=bool(copy.omitted),
    )  # fmt: skip


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's content, as hexadecimal digits."""
    with os.fdopen(open_regular(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expected(installed: Installed, patterns: Iterable[str], vault: Vault) -> Installed:
    """The installed state, with the held builds in place of what someone else put there.

    While a hold is broken, everything is still planned around the held build, so that it
    fits again once the hold is restored; and what an intruder pins is not held.
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
