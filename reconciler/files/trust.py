"""Refuses to act as root on files that someone else may write, like sshd's StrictModes.

Anyone who can write a project file, the configuration or a folder above them decides what is
installed and run. For a service running as root, only root may be able to. Looks only at
owners and modes; changes nothing and opens no file.
"""

import os
import pwd
import shlex
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from reconciler.status import ExpectedEnd, Problem, Reason

_ACTS = " a service running as root acts on"
_LOOPS = 40
"""Symbolic links followed before giving up, the kernel's own limit (path_resolution(7))."""


class Insecure(ExpectedEnd):
    """As root: others may write files that decide what is installed or run."""

    reason = Reason.INSECURE

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.sentence)
        self.problem = problem


def check_trust(paths: Iterable[Path], uid: int) -> list[Problem]:
    """Why `uid` should not act on `paths`; empty for everyone except root.

    Each path, each folder above it, and each symbolic link on the way with the folders above
    its target, must belong to root and not be writable by group or others. (A POSIX ACL that
    lets another user write shows in the group's bits.) As with sshd, there is no exception for
    the path itself. A folder *above* it may be writable by all if it has the sticky bit, like
    /tmp: there only the owner of an entry can rename or remove it, and the next entry on the
    path is root's. A missing path is not a problem: once someone creates it, its owner counts.

    Args:
        paths: absolute paths, such as those of `environment_paths`.
        uid: the user that the service runs as.

    Returns:
        One problem for each path to fix, in the order found.
    """
    if uid != 0:
        return []
    problems: dict[Path, Problem] = {}
    for path in paths:
        for entry, found, last in _way(path):
            problem = _judge(entry, found, path, last=last)
            if problem is not None:
                problems.setdefault(entry, problem)
    return list(problems.values())


def _way(path: Path) -> Iterator[tuple[Path, os.stat_result, bool]]:
    """Each entry on the way to `path`, and whether it is the last one."""
    at, rest, loops = Path("/"), list(path.parts[1:]), 0
    yield at, at.lstat(), not rest
    while rest:
        name = rest.pop(0)
        if name == "..":
            at = at.parent
            continue
        entry = at / name
        try:
            found = entry.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return
        yield entry, found, not rest
        if stat.S_ISLNK(found.st_mode):
            loops += 1
            if loops > _LOOPS:
                return
            target = entry.readlink()
            rest = [*target.parts, *rest]
            if target.is_absolute():
                at, rest = Path("/"), rest[1:]
        else:
            at = entry


def _judge(entry: Path, found: os.stat_result, path: Path, *, last: bool) -> Problem | None:
    if found.st_uid != 0:
        return _foreign(entry, found.st_uid, path)
    if stat.S_ISLNK(found.st_mode):  # its mode says nothing; its owner and folder do
        return None
    writers = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX and not last
    if not writers or sticky:
        return None
    return _writable(entry, found.st_mode, path)


def _foreign(entry: Path, owner: int, path: Path) -> Problem:
    name = _user(owner)
    return _problem(
        entry,
        f"{entry} belongs to {name}, who could change {_which(entry, path)}",
        f"`chown root {shlex.quote(str(entry))}`, or run the service as that user: "
        f"`reconciler service install --for {name}`.",
    )


def _writable(entry: Path, mode: int, path: Path) -> Problem:
    by_all = mode & stat.S_IWOTH
    who = "everyone" if by_all else "its group"
    return _problem(
        entry,
        f"{entry} is writable by {who} (mode {stat.S_IMODE(mode):04o}), so others could change "
        f"{_which(entry, path)}",
        f"`chmod go-w {shlex.quote(str(entry))}`, or run the service as a user of its own: "
        "`reconciler service install --for USER`.",
    )


def _problem(entry: Path, reason: str, fix: str) -> Problem:
    return Problem(file=str(entry), reason=reason, fix=fix)


def _which(entry: Path, path: Path) -> str:
    """What could be changed: the end of the sentence."""
    return f"what{_ACTS}" if entry == path else f"{path}, which{_ACTS}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
