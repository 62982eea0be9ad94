"""Whether the kernel lets us watch folders.

Asked directly: watchfiles ignores it if inotify_add_watch(2) answers ENOSPC, and sees nothing.
"""

import ctypes
import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_CREATE_OR_DELETE = 0x300
"""Any watch will do: it goes with its descriptor."""


@dataclass(frozen=True, slots=True)
class WatchRefused:
    """Why nothing more can be watched, and what to do."""

    reason: str
    fix: str


def watch_refused(folders: Iterable[Path]) -> WatchRefused | None:
    """Why the kernel would refuse to watch these folders, or None if it would not.

    A folder that is missing or may not be read is left out.
    """
    descriptor = _libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0:
        return WatchRefused(
            f"no file can be watched ({os.strerror(ctypes.get_errno())})",
            "Raise the limit: `sysctl fs.inotify.max_user_instances=512`; set it in /etc/sysctl.d "
            "too.",
        )
    try:
        for folder in folders:
            added = _libc.inotify_add_watch(descriptor, os.fsencode(folder), _CREATE_OR_DELETE)
            if added < 0 and ctypes.get_errno() == errno.ENOSPC:
                return WatchRefused(
                    f"{folder} cannot be watched: this user's watches are used up",
                    "Raise the limit: `sysctl fs.inotify.max_user_watches=524288`; set it in "
                    "/etc/sysctl.d too.",
                )
    finally:
        os.close(descriptor)
    return None
