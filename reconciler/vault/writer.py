"""Makes and removes an environment's copies, under its pass lock and the vault's own lock.

Copies are hard links: they take no data blocks while the originals exist. A copy is complete and
on the disk, or it is not there: its description is written to a folder of its own (`.new-*`),
synced, and renamed. The environment's record of it comes last.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from packaging.utils import NormalizedName

from reconciler.state.holds import Held
from reconciler.state.installed import Distribution, is_unrecorded, record_of
from reconciler.trees.durability import FileSystem
from reconciler.trees.own_files import NotOurs
from reconciler.trees.real_folders import RealFolders
from reconciler.trees.tree import recorded_paths
from reconciler.trees.workspace import PassLock, remove_tree, write_durably
from reconciler.vault.adding import (
    begin,
    describe,
    make_folder,
    settle,
    shelf_of,
    tags_in,
    unfinished,
)
from reconciler.vault.clearing import clear, is_imported
from reconciler.vault.copies import Vault, digest_of
from reconciler.vault.manifest import VaultFile, WholeCopy, WholeManifest, id_of, read_manifest
from reconciler.vault.store import Owner, numbered, owner_file


@dataclass(frozen=True, slots=True)
class Unkept:
    """A copy that is complete, but perhaps not yet on the disk."""

    fresh: Path
    """Where its description is."""
    copy: WholeCopy
    manifest: WholeManifest
    """What the environment will record."""


class VaultWriter:
    """The only object that changes what an environment has in the vault.

    Every method needs the pass lock, so no two processes change the records of one environment.
    The copies, which others use as well, are only changed `alone`.
    """

    def __init__(self, vault: Vault, lock: PassLock) -> None:
        lock.require(vault.prefix)
        self._vault = vault
        self._store = vault.store
        self._lock = lock
        self._depth = 0

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other environment's pass out of the vault; may be nested.

        Raises:
            OSError: The vault cannot be made.
            Busy: Another process used it for too long.
            Cancelled: The pass was asked to end.
        """
        self._lock.require(self._vault.prefix)
        if self._depth:
            yield
            return
        self._store.create()
        with self._store.alone(self._lock.cancel):
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def copy(self, held: Held, *, as_found: bool = False, added: Iterable[str] = ()) -> Unkept:
        """Copy an installed package; the copy does not count before `keep`. Needs `alone`.

        Args:
            held: The package.
            as_found: Someone wants it as it is, whatever its RECORD says about its files.
            added: Files that its RECORD does not list, and that belong to it from now on.

        Raises:
            OSError: It can be neither linked nor copied.
            ValueError: Its RECORD is malformed.
        """
        if not self._depth:
            raise RuntimeError("the vault may be in use by another process")
        name = held.name
        recorded = {} if as_found else self._recorded_hashes(held.distribution)
        begin(self._store, name)
        try:
            self.make_place_for(name)
            links, files, seen = self._take(held.distribution, added, recorded)
            omitted = self._omitted(held.distribution) if as_found else ()
            version = str(held.version)
            id_ = id_of(name, version, files, links, omitted)
            copy = WholeCopy(
                id=id_, name=name, version=version,
                imported=is_imported(self._store.copy_folder(name, id_)),
                target=self._vault.target, tags=tags_in(held.distribution.info),
                pinned_by=held.pinned_by, links=links, omitted=omitted, made=time.time(),
                files=files,
            )  # fmt: skip
            fresh = describe(self._store, copy)
        except OSError:
            clear(self._store, name)  # what has been copied already takes space
            raise
        number = self._newest_number(name) + 1
        manifest = WholeManifest(
            name=name, version=version, copy=copy.id, pinned_by=held.pinned_by, links=links,
            number=number, slim=bool(omitted), seen=seen, omitted=omitted,
        )  # fmt: skip
        return Unkept(fresh, copy, manifest)

    def keep(self, copies: Iterable[Unkept]) -> None:
        """Make copies durable; each counts as the held build of its package from now on.

        Raises:
            OSError: They may not be on the disk, so none counts.
            Cancelled: The pass was asked to end; none counts.
        """
        self._lock.require(self._vault.prefix)
        copies = tuple(copies)
        records = [self._file_of(one.manifest) for one in copies]
        try:
            if copies:
                with FileSystem(self._store.root) as disk:
                    disk.sync(self._lock.cancel)
            for one in copies:
                settle(self._store, one.fresh, one.copy)
            for one in copies:
                self._record(one.manifest)
        except BaseException:
            for record in records:
                with suppress(OSError):
                    record.unlink(missing_ok=True)
            raise
        else:
            for one in copies:
                self._forget_earlier(one.manifest)
        finally:
            for one in copies:
                with suppress(OSError):  # else `prune` does it
                    clear(self._store, one.copy.name)

    def _file_of(self, manifest: WholeManifest) -> Path:
        return self._vault.records / manifest.name / f"{manifest.number}.json"

    def _record(self, manifest: WholeManifest) -> None:
        write_durably(self._file_of(manifest), msgspec.json.encode(manifest).decode())

    def make_place_for(self, name: str) -> None:
        """The folder of the records of a package; on the disk before the first of them."""
        folder = self._vault.records
        make_folder(self._store, folder / name)
        if not owner_file(folder).exists():
            owner = Owner(str(self._vault.prefix))
            write_durably(owner_file(folder), msgspec.json.encode(owner).decode())

    def _forget_earlier(self, manifest: WholeManifest) -> None:
        """Remove earlier records of the same copy: what is kept are different builds."""
        for file in numbered(self._vault.records / manifest.name):
            with suppress(OSError, NotOurs):
                earlier = read_manifest(file, self._vault.prefix)
                if earlier.copy == manifest.copy and earlier.number < manifest.number:
                    file.unlink()

    def prune(self, keep: int) -> None:
        """Forget builds that are no longer held, except the newest `keep`.

        Also removes what processes that have died left unfinished. Costs a few listings if there
        is nothing to do.

        Raises:
            OSError: Something cannot be removed.
            Busy: Another process used the vault for too long.
        """
        self._lock.require(self._vault.prefix)
        old = {name: files[: -(keep + 1)] for name, files in self._vault.listed()}
        names = {name for name, files in old.items() if files}
        if not names and not unfinished(self._store):
            return
        with self.alone():
            for name in names:
                begin(self._store, name)
                for file in old[name]:
                    file.unlink(missing_ok=True)
            for changing in unfinished(self._store):
                clear(self._store, changing)

    def forget(self, name: NormalizedName) -> None:
        """Forget every copy of a package that is no longer held.

        Raises:
            OSError: One cannot be removed.
            Busy: Another process used the vault for too long.
        """
        self._lock.require(self._vault.prefix)
        package = self._vault.records / name
        if not os.path.lexists(package):
            return
        with self.alone():
            begin(self._store, name)
            if not package.is_symlink():
                for file in numbered(package):
                    file.unlink(missing_ok=True)  # the one that counts comes last
            remove_tree(package)
            clear(self._store, name)

    def _take(
        self, distribution: Distribution, added: Iterable[str], recorded: dict[str, str]
    ) -> tuple[dict[str, str], tuple[VaultFile, ...], tuple[tuple[int, int], ...]]:
        """Link or copy a distribution's files into the vault.

        A symbolic link that leads out of the environment (into uv's cache, with
        `link-mode = "symlink"`) is kept by content. Files in a folder that is a link are copied:
        they may be someone's checkout, which the environment must not share files with.

        Returns:
            Where its links within the environment lead, the files as they are in the vault, and
            each original's inode and modification time.
        """
        links: dict[str, str] = {}
        files: list[VaultFile] = []
        seen: list[tuple[int, int]] = []
        prefix = self._vault.prefix
        real = RealFolders(prefix)
        shelf = shelf_of(self._store, distribution.name)
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
            found = os.stat(source)  # noqa: PTH116
            digest = recorded.get(path) or digest_of(Path(source))
            file = VaultFile(
                path, digest, found.st_size, found.st_ino, found.st_mtime_ns,
                found.st_mode & 0o7777,
            )  # fmt: skip
            files.append(shelf.put(source, file, may_link=real.has(path.rpartition("/")[0])))
            seen.append((found.st_ino, found.st_mtime_ns))
        return links, tuple(files), tuple(seen)

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
        return max((int(file.stem) for file in numbered(self._vault.records / name)), default=0)


def _counts(path: str) -> bool:
    return not path.endswith((".pyc", ".pyo"))
