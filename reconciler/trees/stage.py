"""Clones the live environment with hard links, and catches up with it later.

Uses no data blocks, and never opens a file that the live environment shares.
"""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from stat import S_IMODE

from reconciler.processes import Cancellation
from reconciler.trees.census import BYTECODE, Census
from reconciler.trees.mount_points import mount_point_below
from reconciler.trees.real_folders import RealFolders
from reconciler.trees.workspace import NAME

STAGE = "stage"
"""The name of the stage in the folder of a pass."""
_NOT_CLONED = frozenset({NAME, ".lock", ".gitignore", "CACHEDIR.TAG"})
_SAYS_NOTHING_OF_LINKS = frozenset({
    errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
})  # fmt: skip
"""The disk or the machine is in trouble, so the live tree must not be touched either."""

Link = Callable[..., None]
"""Links one file: source, target, and whether the source is a symbolic link."""


class StagingImpossible(Exception):
    """The environment cannot be cloned with hard links; the message says why."""


def clonable_roots(prefix: Path) -> Iterator[str]:
    """The top-level names of an environment that are cloned."""
    with os.scandir(prefix) as entries:
        yield from sorted(e.name for e in entries if e.name not in _NOT_CLONED)


def clone(
    prefix: Path, stage: Path, cancel: Cancellation, around: Callable[[Link], Link] | None = None
) -> Census:
    """Clone an environment with hard links into the folder `stage`; uses no data blocks.

    Args:
        prefix: The environment.
        stage: An empty folder.
        cancel: Ends it.
        around: Wraps what links one file.

    Returns:
        The contents of the live tree, to check later whether it has changed.

    Raises:
        StagingImpossible: Hard links cannot be made here.
        Cancelled: The pass was asked to end.
    """
    census = Census()
    link = around(_link) if around else _link
    mounted = mount_point_below(prefix)
    if mounted is not None:
        raise StagingImpossible(
            f"{mounted} is a mount point inside the environment and cannot be exchanged with a "
            "folder. Unmount it for atomic changes"
        )
    try:
        for name in clonable_roots(prefix):
            _clone_entry(prefix, stage, name, census, cancel, link)
    except OSError as error:
        if error.errno in _SAYS_NOTHING_OF_LINKS:
            raise
        raise StagingImpossible(_why_not(error)) from error
    return census


def _clone_entry(
    prefix: Path, stage: Path, name: str, census: Census, cancel: Cancellation, link: Link
) -> None:
    source = prefix / name
    if source.is_dir() and not source.is_symlink():
        _clone_folder(str(source), str(stage / name), name, census, cancel, link)
        census.roots[name] = 0
    else:
        is_link = source.is_symlink()
        try:
            inode = source.lstat().st_ino
        except FileNotFoundError:
            inode = -1  # it vanished, which counts as a change
        link(str(source), str(stage / name), is_link=is_link)
        census.roots[name] = inode


def _clone_folder(
    source: str, target: str, relative: str, census: Census, cancel: Cancellation, link: Link
) -> None:
    cancel.check()
    census.note(relative, {})
    names: dict[str, int] = {}
    try:
        make_folder_like(source, target)
        with os.scandir(source) as entries:
            for entry in entries:
                path = f"{target}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    inside = f"{relative}/{entry.name}"
                    _clone_folder(entry.path, path, inside, census, cancel, link)
                    if entry.name != BYTECODE:
                        names[entry.name] = 0
                elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                    names[entry.name] = entry.inode()
                    link(entry.path, path, is_link=entry.is_symlink())
    except FileNotFoundError:
        if os.path.lexists(source):
            raise
        # Someone is changing the tree right now: the census shows it before the exchange.
    census.note(relative, names)


def make_folder_like(source: str, target: str) -> None:
    """Make a folder with the mode of another one, and with its group if that is allowed."""
    like = os.stat(source)  # noqa: PTH116 -- thousands of times
    os.mkdir(target, like.st_mode & 0o1777)  # noqa: PTH102
    made = os.stat(target)  # noqa: PTH116
    if made.st_gid != like.st_gid:
        with suppress(PermissionError):
            os.chown(target, -1, like.st_gid)
    if (made.st_mode, made.st_gid) != (like.st_mode, like.st_gid):
        try:
            os.chmod(target, S_IMODE(like.st_mode))  # noqa: PTH101
        except PermissionError:  # the setgid bit under RestrictSUIDSGID=
            os.chmod(target, like.st_mode & 0o1777)  # noqa: PTH101


def _link(source: str, target: str, *, is_link: bool) -> None:
    try:
        if is_link:
            os.symlink(os.readlink(source), target)  # noqa: PTH115, PTH211 -- 46,000 times
        else:
            os.link(source, target)
    except FileNotFoundError:
        if os.path.lexists(source):
            raise  # otherwise it has just vanished, which the census will show


def _why_not(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return (
            f"{error.filename} belongs to another user, and the kernel does not allow hard links "
            "to other users' files (fs.protected_hardlinks). Run as their owner, or change the "
            "owner of the whole environment"
        )
    if error.errno == errno.EXDEV:
        return f"{error.filename} is on a different file system than the environment"
    if error.errno == errno.EMLINK:
        return f"{error.filename} has as many hard links as the file system allows"
    return f"hard links cannot be made here ({error.strerror}: {error.filename})"


def carry_over(prefix: Path, stage: Path, loose: Mapping[str, int | None]) -> set[str]:
    """Link files of no package that were written after the clone into the stage.

    Args:
        prefix: The live tree.
        stage: Its clone, in which packages may have been replaced since.
        loose: The files and folders, relative to both, with the inode that was cloned. What a
                new package brings at such a path stays.

    Returns:
        The folders of the stage, relative to it, in which something has changed.

    Raises:
        OSError: A link cannot be made.
    """
    real = RealFolders(stage)
    changed: set[str] = set()
    for path, before in loose.items():
        source, target = prefix / path, stage / path
        if not real.has(path.rpartition("/")[0]):
            continue  # it was in the folder of a package that leaves
        try:
            there = target.lstat().st_ino
        except FileNotFoundError:
            there = None
        if there is not None:
            if there != before:
                continue
            target.unlink()
        changed.add(path.rpartition("/")[0])
        if source.is_dir() and not source.is_symlink():
            cloned = Census()
            _clone_folder(str(source), str(target), path, cloned, Cancellation(), _link)
            changed |= cloned.folders.keys()
        else:
            _link(str(source), str(target), is_link=source.is_symlink())
    return changed
