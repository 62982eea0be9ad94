"""The kernel's watches on folders (inotify(7)): they cost nothing while nothing happens.

Knows what happened where; what that means, and which of it matters, is decided elsewhere.
"""

import ctypes
import errno
import os
import struct
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

_MODIFY, _ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO = 0x2, 0x4, 0x8, 0x40, 0x80
_CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x100, 0x200, 0x400, 0x800
_OVERFLOW, _IGNORED, _ONLY_FOLDERS, _IS_FOLDER = 0x4000, 0x8000, 0x1000000, 0x40000000
_MASK = (
    _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF
    | _MOVE_SELF | _ONLY_FOLDERS
)  # fmt: skip
_EVENT = struct.Struct("iIII")
_MOST_BYTES = 1 << 18


class WatchRefused(Exception):
    """Why nothing more can be watched, and what to do."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


class Watches:
    """Watched folders. The descriptor can be read once something has happened.

    Every method may be called on any thread.

    Raises:
        WatchRefused: The user's inotify instances are used up.
    """

    def __init__(self) -> None:
        self.descriptor = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.descriptor < 0:
            raise WatchRefused(
                f"no file can be watched ({os.strerror(ctypes.get_errno())})",
                "Raise the limit: `sysctl fs.inotify.max_user_instances=512`; set it in "
                "/etc/sysctl.d too.",
            )
        self.overflowed = False
        """Whether so much has happened that the kernel has dropped some of it."""
        self._paths: dict[int, str] = {}
        self._trees: set[int] = set()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give up all watches, which takes the kernel some ten milliseconds."""
        with self._lock:
            if self.descriptor >= 0:
                os.close(self.descriptor)
            self.descriptor = -1

    def add(self, folder: str, *, deep: bool = False) -> None:
        """Watch a folder; if `deep`, all those below it too, and those that come later.

        What is missing, may not be read or is not a folder is left out.

        Raises:
            WatchRefused: The user's watches are used up.
        """
        if not self._add(folder, deep=deep) or not deep:
            return
        waiting = [folder]
        while waiting:  # not os.walk, which keeps the names of all files
            with suppress(OSError), os.scandir(waiting.pop()) as entries:
                folders = (e.path for e in entries if e.is_dir(follow_symlinks=False))
                waiting += [path for path in folders if self._add(path, deep=True)]

    def _add(self, folder: str, *, deep: bool) -> bool:
        with self._lock:
            if self.descriptor < 0:
                return False
            number = _libc.inotify_add_watch(self.descriptor, os.fsencode(folder), _MASK)
            if number < 0 and ctypes.get_errno() == errno.ENOSPC:
                raise WatchRefused(
                    f"{folder} cannot be watched: this user's watches are used up",
                    "Raise the limit: `sysctl fs.inotify.max_user_watches=524288`; set it in "
                    "/etc/sysctl.d too.",
                )
            if number >= 0:
                self._paths[number] = folder
                if deep:
                    self._trees.add(number)
            return bool(number >= 0)

    def read(self) -> tuple[set[str], set[str]]:
        """What has changed since the last call, and which new folders of trees to add.

        Does not wait.
        """
        changed: set[str] = set()
        fresh: set[str] = set()
        with self._lock:
            while self.descriptor >= 0:
                try:
                    found = os.read(self.descriptor, _MOST_BYTES)
                except BlockingIOError:
                    break
                self._note(found, changed, fresh)
        return changed, fresh

    def _note(self, found: bytes, changed: set[str], fresh: set[str]) -> None:
        at = 0
        while at < len(found):
            number, mask, _, length = _EVENT.unpack_from(found, at)
            at += _EVENT.size + length
            self.overflowed |= bool(mask & _OVERFLOW)
            folder = self._paths.get(number)
            if folder is None:
                continue
            if mask & _IGNORED:  # it is gone, or no longer mounted
                del self._paths[number]
                self._trees.discard(number)
            name = os.fsdecode(found[at - length : at].rstrip(b"\0"))
            path = f"{folder}/{name}" if name else folder
            changed.add(path)
            if mask & _IS_FOLDER and mask & (_CREATE | _MOVED_TO) and number in self._trees:
                fresh.add(path)


def watch_refused(folders: Iterable[Path]) -> WatchRefused | None:
    """Why the kernel would refuse to watch these folders, or None if it would not.

    A folder that is missing or may not be read is left out.
    """
    try:
        watches = Watches()
    except WatchRefused as refused:
        return refused
    try:
        for folder in folders:
            watches.add(str(folder))
    except WatchRefused as refused:
        return refused
    finally:
        watches.close()
    return None
