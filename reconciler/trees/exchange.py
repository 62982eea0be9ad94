"""The commit: a staged tree and the live one change places.

Each top-level folder that differs is exchanged by one system call. `lib` comes last: that is
the commit. If the power fails between two exchanges, a durable record tells the next start
which way to finish. After that, the live environment is completely old or completely new.
"""

import ctypes
import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from reconciler.patterns import regex
from reconciler.status import ExpectedEnd, Reason
from reconciler.trees.generations import keep_unrecorded
from reconciler.trees.mount_points import mount_point_below
from reconciler.trees.own_files import NotOurs, read_own
from reconciler.trees.reserved import is_plain, is_reserved
from reconciler.trees.workspace import ASIDE_SUFFIX, META, Workspace, sync_folder, write_durably

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
COMMIT_ROOT = "lib"
"""Exchanged last: it has site-packages, so it decides which tree is live."""

_libc = ctypes.CDLL(None, use_errno=True)
_KNOWS_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class ExchangeImpossible(ExpectedEnd):
    """These folders cannot be exchanged, for instance on an overlay's lower layer."""

    reason = Reason.FILE_SYSTEM


def rename_exchange(one: Path, other: Path) -> None:
    """Exchange two paths in one step (renameat2(2), RENAME_EXCHANGE).

    Raises:
        OSError: EINVAL if the file system cannot exchange, EXDEV between mounts or on
            the lower layer of an overlay, EBUSY on a mount point.
    """
    failed = _libc.renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
    )
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))


ABSENT = 0
"""The inode of a missing path; no file system uses it."""


class Root(msgspec.Struct, frozen=True):
    """One top-level entry of the environment that is exchanged, by its inodes."""

    name: str
    old: int
    new: int


_STAGE = regex(r"stage-[^/]+|generations/[0-9]+")


class _Written(msgspec.Struct, frozen=True):
    """The durable record of an exchange."""

    stage: str
    roots: tuple[tuple[str, int, int], ...]
    live: dict[str, Any]
    old: dict[str, Any]
    archive: str


class Intent(msgspec.Struct, frozen=True):
    """An exchange that is about to happen: everything needed to finish or undo it."""

    stage: str
    roots: tuple[Root, ...]
    live: dict[str, Any]
    """What `live.json` says after the exchange."""
    old: dict[str, Any]
    """What `live.json` said before: the label of the old tree's generation."""
    archive: str
    """The name of the generation's folder that the old tree becomes."""

    def to_json(self) -> str:
        """For the durable record."""
        roots = [[r.name, r.old, r.new] for r in self.roots]
        return json.dumps(
            {
                "stage": self.stage,
                "roots": roots,
                "live": self.live,
                "old": self.old,
                "archive": self.archive,
            }
        )

    @classmethod
    def read(cls, path: Path) -> "Intent":
        """From the durable record.

        Raises:
            NotOurs: It is not one that we wrote.
            OSError: It is missing, or cannot be read.
        """
        data = read_own(path, _Written)
        roots = tuple(Root(*row) for row in data.roots)
        if not _STAGE.fullmatch(data.stage):
            raise NotOurs(f"{data.stage!r} is not a stage or a generation")
        if not data.archive.isdecimal():
            raise NotOurs(f"{data.archive!r} is not the number of a generation")
        for root in roots:
            if "/" in root.name or not is_plain(root.name) or is_reserved(f"{root.name}/x"):
                raise NotOurs(f"{root.name!r} is not a folder of the environment")
        return cls(data.stage, roots, data.live, data.old, data.archive)


def exchange(
    workspace: Workspace,
    stage: Path,
    roots: Sequence[str],
    *,
    live: dict[str, Any],
    old: dict[str, Any],
    archive: Path,
) -> bool:
    """Make the staged `roots` live, and the live ones an archived generation.

    The caller holds uv's lock, has checked that the live tree has not changed, and has made the
    stage durable: a power cut afterwards must not leave a live tree of empty files.

    Args:
        workspace: The environment's workspace.
        stage: The stage's folder; it is gone afterwards.
        roots: Top-level names that differ; each must exist in the stage or in the
            environment.
        live: The new content of `live.json`.
        old: The current content of `live.json`.
        archive: Where the old tree is kept, below the workspace's generations.

    Returns:
        Whether each folder was exchanged in one step; if not, by several renames.

    Raises:
        ExchangeImpossible: Nothing has changed; the caller needs another way.
        OSError: Nothing has changed, or the next start undoes it; the error says why.
    """
    mounted = mount_point_below(workspace.prefix)
    if mounted is not None:
        raise ExchangeImpossible(
            f"{mounted} is a mount point and would move away with the old tree"
        )
    ordered = sorted(roots, key=lambda name: name == COMMIT_ROOT)
    differing = (_root(workspace, stage, name) for name in ordered)
    intent = Intent(
        stage=str(stage.relative_to(workspace.root)),
        roots=tuple(root for root in differing if (root.old, root.new) != (ABSENT, ABSENT)),
        live=live,
        old=old,
        archive=archive.name,
    )
    write_durably(workspace.intent, intent.to_json())
    in_one_step = True
    try:
        for root in intent.roots:
            in_one_step &= _swap(workspace.prefix / root.name, stage / root.name)
    except OSError as error:
        _undo(workspace, intent)
        if error.errno in (errno.EXDEV, errno.EBUSY):
            raise ExchangeImpossible(str(error)) from error
        raise
    _finish(workspace, intent)
    return in_one_step


def _root(workspace: Workspace, stage: Path, name: str) -> Root:
    return Root(name, _inode(workspace.prefix / name), _inode(stage / name))


def _swap(live: Path, staged: Path) -> bool:
    """Exchange both sides; return whether it took one step."""
    if not os.path.lexists(live):
        staged.rename(live)
    elif not os.path.lexists(staged):
        live.rename(staged)
    else:
        try:
            rename_exchange(live, staged)
        except OSError as error:
            if error.errno not in _KNOWS_NO_EXCHANGE:
                raise
            _swap_by_renames(live, staged)
            return False
    return True


def _swap_by_renames(live: Path, staged: Path) -> None:
    """For file systems that cannot exchange (NFS); the intent tells how to finish."""
    aside = _aside(staged)
    live.rename(aside)
    staged.rename(live)
    aside.rename(staged)


def _undo(workspace: Workspace, intent: Intent) -> None:
    """Put everything back; if that fails, the intent stays for the next start."""
    stage = workspace.root / intent.stage
    for root in intent.roots:
        _settle(workspace.prefix / root.name, stage / root.name, root, forward=False)
    if all(_inode(workspace.prefix / root.name) == root.old for root in intent.roots):
        workspace.intent.unlink()


def _aside(staged: Path) -> Path:
    return staged.with_name(staged.name + ASIDE_SUFFIX)


def _finish(workspace: Workspace, intent: Intent) -> None:
    """After the commit: record which generation is live, keep the old tree, drop the intent."""
    sync_folder(workspace.prefix)
    stage = workspace.root / intent.stage
    write_durably(workspace.live, json.dumps(intent.live))
    if stage.exists():
        write_durably(stage / META, json.dumps(intent.old))
        workspace.generations.mkdir(exist_ok=True)
        target = workspace.generations / intent.archive
        stage.rename(target)  # fails rather than replace a generation: none has this number
        sync_folder(workspace.generations)
    workspace.intent.unlink(missing_ok=True)
    sync_folder(workspace.root)


def finish_interrupted(workspace: Workspace) -> str | None:
    """Finish an exchange that a crash interrupted; call with the pass lock held.

    Returns:
        In words, what was done, or None if nothing was interrupted.

    Raises:
        OSError: The file system prevents it.
    """
    try:
        intent = Intent.read(workspace.intent)
        _refuse_mix_up(workspace, intent)
    except FileNotFoundError:
        return None
    except NotOurs as error:
        keep_unrecorded(workspace)
        return workspace.set_aside(workspace.intent, str(error))
    stage = workspace.root / intent.stage
    forward = _is_committed(workspace, intent)
    for root in intent.roots if stage.is_dir() else ():
        _settle(workspace.prefix / root.name, stage / root.name, root, forward=forward)
    if forward:
        _finish(workspace, intent)
        return "an interrupted exchange was completed"
    workspace.intent.unlink()
    return "an interrupted exchange was undone"


def _refuse_mix_up(workspace: Workspace, intent: Intent) -> None:
    """Check that the record is about a tree of ours, and costs no generation.

    Raises:
        NotOurs: It is not.
    """
    stage, archive = workspace.root / intent.stage, workspace.generations / intent.archive
    if stage.is_symlink():
        raise NotOurs(f"{intent.stage} is a symbolic link")
    if stage.is_dir() and stage != archive and os.path.lexists(archive):
        raise NotOurs(f"generation {intent.archive} exists already")


def _is_committed(workspace: Workspace, intent: Intent) -> bool:
    """The last root decides: once it is live, the whole new tree must go live."""
    if not (workspace.root / intent.stage).exists():
        return True  # already archived: only the last steps of `_finish` are missing
    if not intent.roots:
        return True
    last = intent.roots[-1]
    return _inode(workspace.prefix / last.name) == last.new


def _settle(live: Path, staged: Path, root: Root, *, forward: bool) -> None:
    """Move one root to where it belongs, wherever the crash left it."""
    aside = _aside(staged)
    if os.path.lexists(aside):  # between two of the three renames
        aside.rename(staged if os.path.lexists(live) else live)
    wanted = root.new if forward else root.old
    if _inode(live) != wanted and wanted in (ABSENT, _inode(staged)):
        _swap(live, staged)


def _inode(path: Path) -> int:
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return ABSENT
