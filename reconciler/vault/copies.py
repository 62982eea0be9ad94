"""Copies of held packages, so that a broken hold can be restored at once, offline.

Only reads: copies are made and removed by `reconciler.vault.writer`. A copy is restored
only if every file still has the SHA-256 that was recorded when it was whole.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
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
from reconciler.trees.workspace import Workspace
from reconciler.vault.manifest import (
    Manifest,
    VaultFile,
    read_files,
    read_manifest,
    read_omitted,
)

MANIFEST = "manifest.json"
TREE = "tree"


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


class Vault:
    """The copies of one environment's held packages, for reading.

    There is one folder for each package, and in it one for each build that was held,
    numbered; the highest number is the build that counts as held.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.root = workspace.vault
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
                    path = self.root / name / str(number) / MANIFEST
                    try:
                        known[NormalizedName(name)] = read_manifest(path)
                    except (OSError, NotOurs) as error:
                        # Only here, since `check` seldom has anything to log.
                        from reconciler.log.logger import get_logger  # noqa: PLC0415

                        log = get_logger(__name__)
                        log.warning("vault.ignored", file=str(path), message=str(error))
                    else:
                        break
            self._known, self._stamp = known, stamp
        return self._known

    def stamp(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """A value that changes whenever anyone adds or removes a copy."""
        return tuple(
            (name, tuple(int(folder.name) for folder in folders))
            for name, folders in sorted(self.folders())
        )

    def folders(self) -> Iterator[tuple[NormalizedName, list[Path]]]:
        """Each package with the folders of its complete copies, oldest first."""
        with suppress(FileNotFoundError):
            for package in filter(_is_folder, self.root.iterdir()):
                numbered = [p for p in package.iterdir() if p.name.isdecimal() and _is_folder(p)]
                yield NormalizedName(package.name), sorted(numbered, key=lambda p: int(p.name))

    def copies(self, name: NormalizedName) -> list[Manifest]:
        """Every readable copy of a package, the oldest first."""
        folders = next((folders for known, folders in self.folders() if known == name), [])
        found: list[Manifest] = []
        for folder in folders:
            with suppress(OSError, NotOurs):  # `current` reports it
                found.append(read_manifest(folder / MANIFEST))
        return found

    def folder(self, manifest: Manifest) -> Path:
        """The folder with a copy's files, at the same paths as below the environment."""
        return self.root / manifest.name / str(manifest.number) / TREE

    def files(self, manifest: Manifest) -> tuple[VaultFile, ...]:
        """The files of a copy.

        Raises:
            CopyDamaged: The list cannot be read.
        """
        path = self.root / manifest.name / str(manifest.number) / MANIFEST
        try:
            return read_files(path)
        except (OSError, NotOurs) as error:
            raise CopyDamaged(manifest.name, manifest.version, MANIFEST) from error

    def check(self, manifest: Manifest) -> None:
        """Compare every file of a copy with what was recorded when the copy was made.

        Raises:
            CopyDamaged: A file has changed or is gone.
        """
        tree = self.folder(manifest)
        files = self.files(manifest)

        def is_bad(file: VaultFile) -> bool:
            try:
                return digest_of(tree / file.path) != file.sha256
            except OSError:
                return True

        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 -- slow to import

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
                if found.defect is None or (manifest.slim and is_unrecorded(found)):
                    return found
        return None

    def whole(self, manifest: Manifest) -> Manifest | None:
        """The newest older copy of the same build with all its files, if there still is one."""
        for number in range(manifest.number - 1, 0, -1):
            with suppress(OSError, NotOurs):
                older = read_manifest(self.root / manifest.name / str(number) / MANIFEST)
                if older.version == manifest.version and not older.slim:
                    return older
        return None

    def omitted(self, installed: Installed, tree: Path | None = None) -> Omitted:
        """The files that were deleted on purpose from the builds that are installed.

        Args:
            installed: The environment, or a tree that mirrors it.
            tree: That tree.
        """
        return {
            name: frozenset(
                f"{tree or self.prefix}/{path}"
                for path in read_omitted(self.root / name / str(manifest.number) / MANIFEST)
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
