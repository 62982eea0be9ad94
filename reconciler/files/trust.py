"""Refuses to act as root on files that someone else may write, like sshd's StrictModes.

Anyone who can write a project file, the configuration or a folder above them decides what is
installed and run. For root, only root may be able to. Looks only at owners and modes; changes
nothing and opens no file.
"""

import os
import pwd
import shlex
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from reconciler.status import ExpectedEnd, Problem, Reason

_ACTS = " root acts on"
_LOOPS = 40
"""Symbolic links followed before giving up, the kernel's own limit (path_resolution(7))."""
_LOCKS = frozenset({".lock"})
"""uv's lock files, which it creates for everyone to write. Nobody reads them."""
_ACL = "system.posix_acl_access"


_SETTLED_NS = 2_000_000_000
"""A folder that was changed so recently may change again without another time stamp."""


class Insecure(ExpectedEnd):
    """As root: others may write files that decide what is installed or run."""

    reason = Reason.INSECURE
    problem: Problem

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.sentence, problem=problem)


def check_trust(
    paths: Iterable[Path],
    uid: int,
    *,
    folders: Iterable[Path] = (),
    trees: Iterable[Path] = (),
) -> list[Problem]:
    """Why `uid` should not act on `paths`; empty for everyone except root.

    Each path, each folder above it, and each symbolic link on the way with the folders above
    its target, must belong to root and not be writable by group or others. (A POSIX ACL that
    lets another user write shows in the group's bits.) As with sshd, there is no exception for
    the path itself. A folder *above* it may be writable by all if it has the sticky bit, like
    /tmp: there only the owner of an entry can rename or remove it, and the next entry on the
    path is root's. A missing path is not a problem: once someone creates it, its owner counts.

    Args:
        paths: Absolute paths.
        uid: The user who acts on them.
        folders: Folders whose entries are checked as well.
        trees: Folders in which everything is checked, at any depth.

    Returns:
        One problem for each path to fix, in the order found.
    """
    return list(problems_of(paths, uid, folders=folders, trees=trees))


def problems_of(
    paths: Iterable[Path],
    uid: int,
    *,
    folders: Iterable[Path] = (),
    trees: Iterable[Path] = (),
    known: "Safe | None" = None,
) -> Iterator[Problem]:
    """The same, one after another; whoever needs only the first pays only for that.

    `known` remembers what was found safe in `folders`, for the next time.
    """
    if uid != 0:
        return
    check = _Check(known)
    seen: set[str] = set()
    for problem in check.all(*map(dict.fromkeys, (paths, folders, trees))):
        if problem.file not in seen:
            seen.add(problem.file)
            yield problem


def refuse_insecure(path: Path) -> os.stat_result | None:
    """What a trusted path leads to, without opening it; None if there is nothing.

    Raises:
        Insecure: Others may change it.
    """
    check = _Check()
    for problem in check.way(path):
        raise Insecure(problem)
    return check.reached


class Safe:
    """The folders whose entries were all found safe, until the folder itself is changed.

    Nobody but root can change what is in a safe folder. Root itself may still give an entry away
    (chown, chmod), which leaves the folder as it was: whoever starts something checks without this.
    """

    def __init__(self) -> None:
        self._folders: dict[tuple[int, int], tuple[object, tuple[str, ...]]] = {}

    def links_in(self, folder: os.stat_result) -> tuple[str, ...] | None:
        """The links in a folder that is as it was when it was found safe; None if it is not.

        What a link leads to is elsewhere, and has to be checked again.
        """
        stamp, links = self._folders.get((folder.st_dev, folder.st_ino), (None, ()))
        return links if stamp == _stamp(folder) else None

    def keep(self, folder: os.stat_result, links: Iterable[str], at: int) -> None:
        """Remember a folder whose entries were found safe at this time, in nanoseconds."""
        if at - max(folder.st_ctime_ns, folder.st_mtime_ns) > _SETTLED_NS:
            self._folders[folder.st_dev, folder.st_ino] = (_stamp(folder), tuple(links))


def _stamp(folder: os.stat_result) -> tuple[int, ...]:
    return folder.st_mtime_ns, folder.st_ctime_ns, folder.st_uid, folder.st_mode


class _Check:
    """One check; every entry is looked at once."""

    def __init__(self, safe: Safe | None = None) -> None:
        self._safe = safe
        self._seen: set[tuple[int, int, bool]] = set()
        self._known: dict[str, os.stat_result | None] = {}
        self.reached: os.stat_result | None = None
        """What the last way led to."""

    def all(
        self, paths: Iterable[Path], folders: Iterable[Path], trees: Iterable[Path]
    ) -> Iterator[Problem]:
        for path in paths:
            yield from self.way(path)
        for folder in folders:
            yield from self._content(folder, deep=False)
        for tree in trees:
            yield from self._content(tree, deep=True)

    def way(self, path: Path) -> Iterator[Problem]:
        """What is wrong with the entries on the way to a path, and with the path itself."""
        self.reached = None
        for entry, found, last in self._entries(path):
            problem = _judge(entry, found, path, last=last)
            if problem is not None:
                yield problem

    def _entries(self, path: Path) -> Iterator[tuple[str, os.stat_result, bool]]:
        """Each entry on the way to `path`, and whether it is the last one."""
        at, rest, loops = "/", list(path.parts[1:]), 0
        root = os.lstat("/")
        yield at, root, not rest
        self.reached = None if rest else root
        while rest:
            name = rest.pop(0)
            if name == "..":
                at = os.path.dirname(at)  # noqa: PTH120
                continue
            entry = f"{at.rstrip('/')}/{name}"
            found = self._lstat(entry)
            if found is None:
                return
            yield entry, found, not rest
            if stat.S_ISLNK(found.st_mode):
                loops += 1
                if loops > _LOOPS:
                    return
                target = Path(os.readlink(entry))  # noqa: PTH115
                rest = [*target.parts, *rest]
                if target.is_absolute():
                    at, rest = "/", rest[1:]
            else:
                at = entry
                self.reached = None if rest else found

    def _lstat(self, entry: str) -> os.stat_result | None:
        if entry not in self._known:
            try:
                self._known[entry] = os.lstat(entry)
            except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL
                self._known[entry] = None
        return self._known[entry]

    def _content(self, folder: Path, *, deep: bool) -> Iterator[Problem]:
        """What is wrong with a folder and what is in it; nothing below a problem is looked at."""
        above = list(self.way(folder))
        yield from above
        reached = self.reached
        if above or reached is None or not stat.S_ISDIR(reached.st_mode):
            return
        identity = (reached.st_dev, reached.st_ino, deep)
        if identity in self._seen:  # by another name: lib64 is a link to lib
            return
        self._seen.add(identity)
        if deep or self._safe is None:
            yield from self._entries_in(folder, [], deep=deep)
            return
        known, started = self._safe.links_in(reached), time.time_ns()
        if known is not None:
            for link in known:
                yield from self.way(Path(link))
            return
        links: list[str] = []
        wrong = False
        for problem in self._entries_in(folder, links):
            wrong = True
            yield problem
        if not wrong:
            self._safe.keep(reached, links, started)

    def _entries_in(
        self, folder: Path, links: list[str], *, deep: bool = False
    ) -> Iterator[Problem]:
        waiting = [str(folder)]
        while waiting:
            for entry, found in _listed(waiting.pop()):
                problem = _judge(entry, found, folder, last=True, inside=True)
                if problem is not None:
                    yield problem
                elif stat.S_ISLNK(found.st_mode):
                    links.append(entry)
                    yield from self.way(Path(entry))
                elif deep and stat.S_ISDIR(found.st_mode):
                    waiting.append(entry)


def _listed(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name not in _LOCKS:
                    yield entry.path, entry.stat(follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):  # removed meanwhile, by root
        return


def _judge(
    entry: str, found: os.stat_result, path: Path, *, last: bool, inside: bool = False
) -> Problem | None:
    if found.st_uid != 0:
        return _foreign(entry, found, path)
    if stat.S_ISLNK(found.st_mode):  # its mode says nothing; its owner and folder do
        return None
    writers = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX and not last
    if not writers or sticky or (inside and _only_for_root(entry, found)):
        return None
    return _writable(entry, found.st_mode, path)


def _only_for_root(entry: str, found: os.stat_result) -> bool:
    """Whether only the group root may write: conda and some archives leave such files."""
    if found.st_gid != 0 or found.st_mode & stat.S_IWOTH:
        return False
    try:
        os.getxattr(entry, _ACL, follow_symlinks=False)
    except OSError:  # there is none, or the file system has none
        return True
    return False


def _foreign(entry: str, found: os.stat_result, path: Path) -> Problem:
    name = _user(found.st_uid)
    return _problem(
        entry,
        f"{entry} belongs to {name}, who could change {_which(entry, path)}",
        f"{_of_owner(entry, found, name)} Or act as that user: `reconciler service install --for "
        f"{name}` for the service, `sudo -u {name} reconciler ...` for a command.",
    )


def _of_owner(entry: str, found: os.stat_result, name: str) -> str:
    """How to make it root's. The content stays its old owner's work: that has to be said."""
    quoted = shlex.quote(entry)
    if stat.S_ISLNK(found.st_mode):
        return (
            f"`chown -h root:root {quoted}` if it leads where you want (it is a link to "
            f"{os.readlink(entry)}), or replace it."  # noqa: PTH115
        )
    if not stat.S_ISDIR(found.st_mode):
        return (
            f"`chown root:root {quoted} && chmod go-w {quoted}` once you have read it, or delete "
            "it."
        )
    if _is_home(entry):
        return f"Move what root acts on out of the home folder of {name}."
    return (
        f"Everything in it was chosen by {name}: recreate it as root, or move what root acts on "
        f"elsewhere. Only if you trust all of it: "
        f"`chown -hR root:root {quoted} && chmod -R go-w {quoted}`."
    )


def _is_home(entry: str) -> bool:
    return any(user.pw_dir == entry and user.pw_uid != 0 for user in pwd.getpwall())


def _writable(entry: str, mode: int, path: Path) -> Problem:
    by_all = mode & stat.S_IWOTH
    who = "everyone" if by_all else "its group"
    return _problem(
        entry,
        f"{entry} is writable by {who} (mode {stat.S_IMODE(mode):04o}), so others could change "
        f"{_which(entry, path)}",
        f"`chmod go-w {shlex.quote(entry)}` once you know that nobody has changed it, or run the "
        "service as a user of its own: `reconciler service install --for USER`.",
    )


def _problem(entry: str, reason: str, fix: str) -> Problem:
    return Problem(file=entry, reason=reason, fix=fix)


def _which(entry: str, path: Path) -> str:
    """What could be changed: the end of the sentence."""
    return f"what{_ACTS}" if entry == str(path) else f"{path}, which{_ACTS}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
