"""A change of the live tree itself, for when a stage is impossible: complete, or undone.

Old files are moved aside, not deleted, before new ones replace them. Metadata folders come
last. A durable record, written before the first move, tells how to undo everything, now or at
the next start. Held files are never moved.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from packaging.utils import NormalizedName

from reconciler.trees.durability import sync_folders, sync_tree
from reconciler.trees.own_files import NotOurs, read_own
from reconciler.trees.real_folders import RealFolders, copy_over, is_real_folder
from reconciler.trees.reserved import is_plain, is_reserved, may_belong_to_package
from reconciler.trees.stage import make_folder_like
from reconciler.trees.tree import Tree, entries_of, folders_of
from reconciler.trees.workspace import Workspace, remove_tree, sync_folder, write_durably

_ARRIVING = ".reconciler-incoming"
"""Added to the name of a file that is still being copied from another file system."""
_ASIDE = "aside"
_SITES = ("/site-packages", "/dist-packages")


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """Everything needed to undo an interrupted change."""

    aside: str
    """The folder in the workspace with the old files; it mirrors the environment."""
    new: tuple[str, ...]
    """The files that were not there before."""
    copied: tuple[str, ...]
    """The files that may have half a copy beside them."""
    folders: tuple[str, ...]
    """The folders that were not there before, the deepest first."""

    def check(self) -> None:
        """Check that everything is inside the environment, and that packages can own it.

        Raises:
            NotOurs: It is not: this is not a record that we wrote.
        """
        if self.aside != _ASIDE:
            raise NotOurs(f"{self.aside!r} is not the folder of old files")
        for path in (*self.new, *self.copied):
            if not may_belong_to_package(path):
                raise NotOurs(f"{path!r} cannot belong to a package")
        for path in self.folders:
            if not is_plain(path) or is_reserved(f"{path.partition('/')[0]}/x"):
                raise NotOurs(f"{path!r} is not a folder of packages")


@dataclass
class InPlaceChange:
    """One change of the live tree. Begin it, then commit or undo it.

    The new files are on the disk already: only what the change itself writes is synced under uv's
    lock.

    Args:
        workspace: The environment's.
        tree: The live tree.
        going: The packages that leave.
        incoming: The new files, in a folder that mirrors the environment; None: none.
    """

    workspace: Workspace
    tree: Tree
    going: frozenset[NormalizedName]
    incoming: Path | None
    _known: set[str] = field(default_factory=set)
    """Paths known to be folders inside the tree."""
    _copies: list[str] = field(default_factory=list)
    """New files that were copied, and so were not on the disk when the change began."""
    _changed: set[str] = field(default_factory=set)
    """Folders in which something was moved, made or removed."""

    def begin(self) -> None:
        """Make the change. If it fails halfway, `undo` puts the old files back.

        Raises:
            OSError: A file could not be moved.
        """
        outgoing = [d for name in self.going for d in self.tree.installed.copies(name)]
        leaving = [path for d in outgoing for path in self.tree.leaving(d, self.going)]
        infos = [self.tree.info_of(d) for d in outgoing]
        coming = list(self._coming())
        for path in coming:
            if not may_belong_to_package(path):
                raise OSError(errno.EPERM, "it belongs to the environment, not to a package", path)
        self._write_record(coming)
        for path in leaving:
            self._put_aside(path)
        for path in (p for p in coming if not _is_metadata(p)):
            self._place(path)
        for path in infos:
            self._put_aside(path)
        for path in (p for p in coming if _is_metadata(p)):
            self._place(path)
        for folder in folders_of((*leaving, *infos)):
            self._remove_empty(folder)

    def commit(self) -> None:
        """The change is complete and correct: make it durable, and remove the old files.

        Raises:
            OSError: It is not durable, and can still be undone.
        """
        for path in self._copies:
            sync_tree(self._live(path))
        sync_folders(self.workspace.prefix, self._changed)
        self.workspace.in_place.unlink()
        with suppress(OSError):  # a power cut may bring the record back: the old files stay
            sync_folder(self.workspace.root)
            self._forget_aside()

    def undo(self) -> None:
        """Put every old file back.

        Raises:
            OSError: It failed; `undo_interrupted` tries again at the next start.
        """
        undo_interrupted(self.workspace)

    def _forget_aside(self) -> None:
        shutil.rmtree(self._aside, ignore_errors=True)  # else the next start removes it

    @property
    def _aside(self) -> Path:
        return self.workspace.root / _ASIDE

    def _coming(self) -> Iterator[str]:
        """The new files, except held ones: those are already there, unchanged."""
        if self.incoming is None:
            return
        folders = [""]
        for folder in folders:
            for entry in entries_of(self.incoming, folder):
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif path not in self.tree.held_files or not os.path.lexists(self._live(path)):
                    yield path

    def _write_record(self, coming: list[str]) -> None:
        if os.path.lexists(self._aside):
            remove_tree(self._aside)  # left by an old change whose record is gone
        self._aside.mkdir(mode=0o700)
        new = [path for path in coming if not os.path.lexists(self._live(path))]
        above = {folder for path in coming for folder in _folders_above(path)}
        real = RealFolders(self.workspace.prefix)
        folders = sorted((f for f in above if not real.has(f)), key=len, reverse=True)
        record = _Record(
            aside=self._aside.name, new=tuple(new), copied=tuple(self._copied(coming)),
            folders=tuple(folders),
        )  # fmt: skip
        write_durably(self.workspace.in_place, msgspec.json.encode(record).decode())

    def _copied(self, coming: list[str]) -> Iterator[str]:
        """The files that must be copied because their target is on another file system."""
        if self.incoming is None:
            return
        here, devices = self.incoming.stat().st_dev, dict[str, int]()
        real = RealFolders(self.workspace.prefix)
        for path in coming:
            folder = path.rpartition("/")[0]
            if folder not in devices:
                there = next((f for f in _folders_above(path) if real.has(f)), "")
                devices[folder] = os.stat(self._live(there)).st_dev  # noqa: PTH116
            if devices[folder] != here:
                yield path

    def _live(self, path: str) -> str:
        return f"{self.workspace.prefix}/{path}"

    def _put_aside(self, path: str) -> None:
        source, target = self._live(path), f"{self._aside}/{path}"
        if not os.path.lexists(source):
            return
        self._mirror(path.rpartition("/")[0])
        self._changed.add(path.rpartition("/")[0])
        if os.path.isdir(target) and not os.path.islink(source):  # noqa: PTH112, PTH114
            for name in os.listdir(source):  # noqa: PTH208 -- some entries are already aside
                self._put_aside(f"{path}/{name}")
            os.rmdir(source)  # noqa: PTH106
        else:
            _move(source, target)

    def _mirror(self, folder: str) -> None:
        """Make a folder in `aside` like the live one."""
        for above in (*reversed(list(_folders_above(f"{folder}/x"))),) if folder else ():
            target = f"{self._aside}/{above}"
            if not os.path.isdir(target):  # noqa: PTH112
                make_folder_like(self._live(above), target)

    def _place(self, path: str) -> None:
        """Move one new file into place; an existing file goes aside first."""
        self._make_folder(path.rpartition("/")[0])
        self._put_aside(path)
        self._changed.add(path.rpartition("/")[0])
        source, target = f"{self.incoming}/{path}", self._live(path)
        try:
            os.rename(source, target)  # noqa: PTH104 -- thousands of times
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            copy_over(source, target, _ARRIVING)
            self._copies.append(path)

    def _make_folder(self, folder: str) -> None:
        if folder in self._known or not folder:
            return
        for above in reversed(list(_folders_above(f"{folder}/x"))):
            if not is_real_folder(self.workspace.prefix, above):
                self._put_aside(above)  # a file, or a link
                os.mkdir(self._live(above))  # noqa: PTH102
                self._changed.add(above.rpartition("/")[0])
            self._known.add(above)

    def _remove_empty(self, folder: str) -> None:
        """Remove a folder that has become empty, and those above it, up to site-packages."""
        while folder.count("/") > 0 and not folder.endswith(_SITES):
            live = Path(self._live(folder))
            if not RealFolders(self.workspace.prefix).has(folder):
                return
            bytecode = live / "__pycache__"
            if bytecode.is_symlink():
                return
            if bytecode.is_dir() and not any(bytecode.iterdir()):
                bytecode.rmdir()
            if any(live.iterdir()):
                return
            self._mirror(folder)
            live.rmdir()
            folder = folder.rpartition("/")[0]
            self._changed.add(folder)


def undo_interrupted(workspace: Workspace) -> str | None:
    """Put the old files back if a change in place was not completed.

    Call with the pass lock held. It can itself be interrupted and repeated.

    Returns:
        In words, what was done, or None if nothing was interrupted.

    Raises:
        OSError: The file system does not allow it.
    """
    try:
        record = read_own(workspace.in_place, _Record)
        record.check()
    except FileNotFoundError:
        return None
    except NotOurs as error:
        workspace.set_aside(workspace.root / _ASIDE, "its record is set aside")
        return workspace.set_aside(workspace.in_place, str(error))
    prefix, aside = workspace.prefix, workspace.root / record.aside
    real = RealFolders(prefix)
    for path in (p for p in record.copied if real.has(p.rpartition("/")[0])):
        (prefix / (path + _ARRIVING)).unlink(missing_ok=True)
    for path in (p for p in record.new if real.has(p.rpartition("/")[0])):
        _unlink(prefix / path)
    for folder in record.folders:
        _remove_if_empty(prefix, folder)
    changed = {p.rpartition("/")[0] for p in (*record.new, *record.copied, *record.folders)}
    if is_real_folder(workspace.root, record.aside):
        changed |= set(_put_back(aside, prefix, ""))
    sync_folders(prefix, changed)
    workspace.in_place.unlink()
    sync_folder(workspace.root)
    shutil.rmtree(aside, ignore_errors=True)
    return "an interrupted change in place was undone"


def _put_back(aside: Path, prefix: Path, folder: str) -> Iterator[str]:
    """Move the old files of one folder back; what is a link by now is replaced.

    Yields:
        The folders with old files, relative to the environment.
    """
    yield folder
    with os.scandir(aside / folder) as entries:
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            target = prefix / path
            if os.path.lexists(str(target).removesuffix(_ARRIVING)) and path.endswith(_ARRIVING):
                continue  # half a copy: the original is still in place
            if entry.is_dir(follow_symlinks=False):
                if is_reserved(f"{path}/x") and not folder:
                    continue
                if not is_real_folder(prefix, path):
                    target.unlink(missing_ok=True)
                    make_folder_like(entry.path, str(target))
                yield from _put_back(aside, prefix, path)
            elif not is_reserved(path):
                if target.is_dir() and not target.is_symlink():
                    remove_tree(target)  # a new folder where a file was
                _move(entry.path, str(target))


def _move(source: str, target: str) -> None:
    """Move a file, a link or a folder to another place in its file system, or by a copy."""
    try:
        os.rename(source, target)  # noqa: PTH104 -- thousands of times
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        if os.path.isdir(source) and not os.path.islink(source):  # noqa: PTH112, PTH114
            _discard(target + _ARRIVING)
            shutil.copytree(source, target + _ARRIVING, symlinks=True)
            sync_tree(target + _ARRIVING)
            os.rename(target + _ARRIVING, target)  # noqa: PTH104
            shutil.rmtree(source)
            return
        copy_over(source, target, _ARRIVING)
        sync_tree(target)
        os.unlink(source)  # noqa: PTH108


def _discard(path: str) -> None:
    """Remove half a copy, or a link that someone left in its place."""
    if os.path.islink(path):  # noqa: PTH114
        os.unlink(path)  # noqa: PTH108
    elif os.path.lexists(path):
        shutil.rmtree(path)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, NotADirectoryError, PermissionError):
        if not path.parent.is_dir() or path.is_dir():
            return  # an old folder, or below an old file: nothing new was put here
        raise


def _remove_if_empty(prefix: Path, path: str) -> None:
    """Remove a folder that did not exist before, with the bytecode that programs wrote."""
    folder = prefix / path
    if folder.is_symlink() or not RealFolders(prefix).has(path):
        return
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _folders_above(path: str) -> Iterator[str]:
    """The folders that a path is in, the deepest first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _is_metadata(path: str) -> bool:
    return ".dist-info/" in path or ".egg-info" in path
