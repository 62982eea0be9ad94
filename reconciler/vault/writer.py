"""Makes and removes the vault's copies, under the pass lock only.

Copies are hard links beside the environment: they take no data blocks while the originals
exist. A copy is complete and on the disk, or it is not there: it is written to a folder of its
own (`.new-*`), synced, and renamed.
"""

import errno
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from packaging.utils import NormalizedName

from reconciler.files.naming import naming
from reconciler.state.holds import Held
from reconciler.state.installed import Distribution, is_unrecorded, record_of
from reconciler.trees.durability import FileSystem
from reconciler.trees.real_folders import RealFolders
from reconciler.trees.tree import recorded_paths
from reconciler.trees.workspace import PassLock, remove_tree, sync_folder
from reconciler.vault.copies import MANIFEST, TREE, Vault, digest_of
from reconciler.vault.manifest import Manifest, VaultFile, WholeManifest

_UNFINISHED = ".new-"
_NO_LINK = frozenset({
    errno.EPERM, errno.EACCES, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP,
    errno.ENOSYS,
})  # fmt: skip
"""Another user's file, another file system, or one without hard links: then the file itself is
copied, which takes space."""


@dataclass(frozen=True, slots=True)
class Unkept:
    """A copy that is complete, but perhaps not yet on the disk."""

    fresh: Path
    """Where it is."""
    folder: Path
    """Where it will count."""
    manifest: Manifest


class VaultWriter:
    """The only object that changes a vault.

    Every method needs the pass lock. So no two processes ever write to one vault, and an
    unfinished copy that a method finds was left behind by a process that has died.
    """

    def __init__(self, vault: Vault, lock: PassLock) -> None:
        lock.require(vault.prefix)
        self._vault = vault
        self._lock = lock

    def copy(self, held: Held, *, as_found: bool = False, added: Iterable[str] = ()) -> Unkept:
        """Copy an installed package; the copy does not count before `keep`.

        Args:
            held: The package.
            as_found: Someone wants it as it is, whatever its RECORD says about its files.
            added: Files that its RECORD does not list, and that belong to it from now on.

        Raises:
            OSError: It can be neither linked nor copied.
            ValueError: Its RECORD is malformed.
        """
        self._lock.require(self._vault.prefix)
        if (self._vault.root / held.name).is_symlink():
            remove_tree(self._vault.root / held.name)
        number = self._newest_number(held.name) + 1
        folder = self._vault.root / held.name / str(number)
        fresh = folder.with_name(f"{_UNFINISHED}{number}-{os.getpid()}")
        if fresh.exists():
            remove_tree(fresh)
        (fresh / TREE).mkdir(parents=True)
        try:
            links, originals = self._take(held.distribution, fresh / TREE, added)
        except OSError:
            remove_tree(fresh)  # what has been copied already takes space
            raise
        recorded = {} if as_found else self._recorded_hashes(held.distribution)
        omitted = self._omitted(held.distribution) if as_found else ()
        files = tuple(
            VaultFile(
                path, recorded.get(path) or digest_of(fresh / TREE / path),
                found.st_size, found.st_ino, found.st_mtime_ns,
            )
            for path, found in originals.items()
        )  # fmt: skip
        manifest = WholeManifest(
            name=held.name, version=str(held.version), pinned_by=held.pinned_by,
            files=files, links=links, number=number, slim=bool(omitted), omitted=omitted,
        )  # fmt: skip
        with naming(fresh / MANIFEST):
            (fresh / MANIFEST).write_bytes(msgspec.json.encode(manifest))
        fields = {name: getattr(manifest, name) for name in Manifest.__struct_fields__}
        return Unkept(fresh, folder, Manifest(**fields))

    def keep(self, copies: Iterable[Unkept]) -> None:
        """Make copies durable; each counts as the held build of its package from now on.

        Raises:
            OSError: They may not be on the disk, so none counts.
            Cancelled: The pass was asked to end; none counts.
        """
        self._lock.require(self._vault.prefix)
        copies = tuple(copies)
        try:
            if copies:
                with FileSystem(self._vault.root) as disk:
                    disk.sync(self._lock.cancel)
            for copy in copies:
                copy.fresh.rename(copy.folder)
                sync_folder(copy.folder.parent)
        except BaseException:
            for copy in copies:
                for folder in (copy.folder, copy.fresh):
                    with suppress(OSError):  # else `prune` removes it
                        self._discard(folder)
            raise

    def prune(self, keep: int) -> None:
        """Remove copies of builds that are no longer held, except the newest `keep`.

        Also removes the unfinished copies of processes that have died: nobody else can be
        writing one while we hold the lock.

        Raises:
            OSError: One cannot be removed.
        """
        self._lock.require(self._vault.prefix)
        for _, folders in self._vault.folders():
            for folder in folders[: -(keep + 1)]:
                self._discard(folder)
        with suppress(FileNotFoundError):
            for package in (p for p in self._vault.root.iterdir() if not p.is_symlink()):
                for leftover in package.glob(f"{_UNFINISHED}*"):
                    remove_tree(leftover)

    def _discard(self, folder: Path) -> None:
        """Remove a copy, so that half of it never counts as one."""
        leaving = folder.with_name(f"{_UNFINISHED}gone-{folder.name}")
        with suppress(FileNotFoundError):
            if os.path.lexists(leaving):
                remove_tree(leaving)
            folder.rename(leaving)
            remove_tree(leaving)

    def forget(self, name: NormalizedName) -> None:
        """Remove every copy of a package that is no longer held.

        Raises:
            OSError: One cannot be removed.
        """
        self._lock.require(self._vault.prefix)
        for folder in next((found for known, found in self._vault.folders() if known == name), []):
            self._discard(folder)  # the one that counts comes last
        with suppress(FileNotFoundError):
            remove_tree(self._vault.root / name)

    def _take(
        self, distribution: Distribution, tree: Path, added: Iterable[str]
    ) -> tuple[dict[str, str], dict[str, os.stat_result]]:
        """Link or copy a distribution's files into `tree`.

        A symbolic link that leads out of the environment (into uv's cache, with
        `link-mode = "symlink"`) is kept by content. Files in a folder that is a link are copied:
        they may be someone's checkout, which the environment must not share files with.

        Returns:
            Where its links within the environment lead, and each file's original identity.
        """
        links: dict[str, str] = {}
        originals: dict[str, os.stat_result] = {}
        folders: set[str] = set()
        prefix = self._vault.prefix
        real = RealFolders(prefix)
        own = filter(_counts, recorded_paths(distribution, prefix))
        for path in dict.fromkeys((*own, *added)):
            source = f"{prefix}/{path}"
            if not os.path.lexists(source):
                continue
            if os.path.islink(source):  # noqa: PTH114 -- thousands of times, as all of this
                target = os.path.realpath(source)
                if Path(target).is_relative_to(prefix):
                    links[path] = os.readlink(source)  # noqa: PTH115
                    continue
                source = target
            if not os.path.isfile(source):  # noqa: PTH113
                continue
            folder = path.rpartition("/")[0]
            if folder not in folders:
                (tree / folder).mkdir(parents=True, exist_ok=True)
                folders.add(folder)
            if real.has(folder):
                _link_or_copy(source, f"{tree}/{path}")
            else:
                shutil.copy2(source, f"{tree}/{path}")
            originals[path] = os.stat(source)  # noqa: PTH116
        return links, originals

    def _omitted(self, distribution: Distribution) -> tuple[str, ...]:
        """The files that its RECORD lists and that are not there, or RECORD itself."""
        prefix = self._vault.prefix
        if is_unrecorded(distribution):
            return (record_of(distribution).removeprefix(f"{prefix}/"),)
        paths = filter(_counts, recorded_paths(distribution, prefix))
        return tuple(path for path in paths if not os.path.lexists(f"{prefix}/{path}"))

    def _recorded_hashes(self, distribution: Distribution) -> dict[str, str]:
        """What RECORD says about each file: a copy that differs from it is never restored."""
        start = f"{self._vault.prefix}/"
        return {
            file.path.removeprefix(start): digest
            for file in distribution.files()
            if (digest := file.sha256) is not None
        }

    def _newest_number(self, name: str) -> int:
        with suppress(FileNotFoundError):
            folder = self._vault.root / name
            return max((int(p.name) for p in folder.iterdir() if p.name.isdigit()), default=0)
        return 0


def _counts(path: str) -> bool:
    return not path.endswith((".pyc", ".pyo"))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copy2(source, target)
