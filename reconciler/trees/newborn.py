"""A new environment: created beside its place, and moved there when it is complete.

Half an environment is never where someone expects a whole one. What an earlier attempt left is
recognised and removed; nothing that is not ours is.

A virtual environment names its own folder in `bin/activate` and the like. uv quotes it in the way
of each shell, so only the plain text that our folder's name adds is taken out.
"""

import errno
import os
from pathlib import Path

from reconciler.files.bounded import read_bytes
from reconciler.files.naming import naming
from reconciler.trees.durability import sync_tree
from reconciler.trees.real_folders import is_real_folder
from reconciler.trees.workspace import NAME, Workspace, remove_tree, sync_folder

_SUFFIX = f"{NAME}-new"
_COMMANDS = "bin"
"""Moved last: with it comes the interpreter."""
_MOST = 1024 * 1024


class InTheWay(Exception):
    """Where the environment would be created is something that is not ours."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path


def beside(folder: Path) -> Path:
    """Where the environment `folder` is created."""
    return folder.with_name(folder.name + _SUFFIX)


def begin_beside(folder: Path) -> Path:
    """A new, empty folder in which to create the environment `folder`, which does not exist.

    The caller holds the lock of the folder that it is in.

    Raises:
        InTheWay: Something that is not ours has its name.
        OSError: It cannot be made.
    """
    remove_unfinished(folder)
    fresh = beside(folder)
    fresh.mkdir()
    (fresh / NAME).mkdir(mode=0o700)  # what tells our folder from anyone else's
    sync_folder(fresh)
    return fresh


def remove_unfinished(folder: Path) -> bool:
    """Remove what an interrupted attempt to create `folder` left; return whether there was any.

    The caller holds the lock of the folder that it is in.

    Raises:
        InTheWay: Something that is not ours has its name.
        OSError: It cannot be removed.
    """
    fresh = beside(folder)
    if not os.path.lexists(fresh):
        return False
    if is_in_the_way(fresh):
        raise InTheWay(fresh)
    for path in fresh.iterdir():
        if path.name != NAME:  # last, so that what is left can still be recognised
            remove_tree(path)
    remove_tree(fresh)
    return True


def is_in_the_way(fresh: Path) -> bool:
    """Whether this exists and is not what an interrupted attempt of ours left."""
    return os.path.lexists(fresh) and not _is_ours(fresh)


def _is_ours(fresh: Path) -> bool:
    if fresh.is_symlink() or not fresh.is_dir():
        return False
    if os.geteuid() not in (0, fresh.stat().st_uid):
        return False
    return is_real_folder(fresh, NAME) or not any(fresh.iterdir())


def finish_beside(fresh: Path, folder: Path) -> None:
    """Move the complete environment to its place, in one step.

    Raises:
        OSError: It cannot be moved; ENOTEMPTY or EEXIST if something is there by now.
    """
    _rename_inside(fresh, fresh.name.removeprefix(folder.name))
    sync_tree(str(fresh))
    fresh.rename(folder)
    sync_folder(folder.parent)


def finish_within(workspace: Workspace, fresh: Path) -> None:
    """Move the complete environment out of the workspace that is already in its folder.

    Call with the pass lock held.

    Raises:
        OSError: It cannot be moved; the next start tries again.
    """
    _rename_inside(fresh, f"/{NAME}/{fresh.name}")
    sync_tree(str(fresh))
    fresh.rename(workspace.created)
    sync_folder(workspace.root)
    finish_creation(workspace)


def finish_creation(workspace: Workspace) -> str | None:
    """Finish moving a complete environment to its place; call with the pass lock held.

    Nothing that is there is replaced.

    Returns:
        In words, what was done, or None if there is none.

    Raises:
        OSError: It cannot be moved.
    """
    if not os.path.lexists(workspace.created):
        return None
    if not is_real_folder(workspace.root, workspace.created.name):
        return workspace.set_aside(workspace.created, "it is not a folder")
    for path in sorted(workspace.created.iterdir(), key=lambda path: path.name == _COMMANDS):
        if not os.path.lexists(workspace.prefix / path.name):
            path.rename(workspace.prefix / path.name)
    sync_folder(workspace.prefix)
    remove_tree(workspace.created)
    return f"the environment {workspace.prefix}, which was being created, was completed"


def _rename_inside(fresh: Path, added: str) -> None:
    """Let the scripts of an environment name the folder that it will be in."""
    for script in (fresh / _COMMANDS).iterdir():
        if script.is_symlink() or not script.is_file():
            continue
        text = read_bytes(script, _MOST)
        if added.encode() in text:
            with naming(script):
                script.write_bytes(text.replace(added.encode(), b""))


def was_taken(error: OSError) -> bool:
    """Whether the place of a new environment was taken by something else meanwhile."""
    return error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
