"""Whether the packages of an environment stayed as they are while they were looked at.

An installer that runs beside takes folders away and puts others there: what a look finds in the
middle of that was never so. Read-only.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from reconciler.environment.usage import users_of
from reconciler.files.lock_holder import holder_of

INSTALLERS = frozenset({"uv", "pip", "pip3", "poetry", "pdm", "hatch", "conda", "mamba"})

Moment = tuple[tuple[str, int, int], ...]
"""Each folder that an installer writes to, with its modification and change time."""


def moment_of(sites: Iterable[Path]) -> Moment:
    """How the folders of packages and of their metadata are now.

    Their times show that something was taken away, though it is there again by now.
    """
    found: list[tuple[str, int, int]] = []
    for site in sites:
        found.append(_times(str(site)))
        try:
            with os.scandir(site) as entries:
                found += [_times(e.path) for e in entries if e.name.endswith(".dist-info")]
        except OSError:
            continue
    return tuple(sorted(found))


def _times(folder: str) -> tuple[str, int, int]:
    try:
        found = os.stat(folder)  # noqa: PTH116 -- for each package, at every look
    except OSError:
        return folder, 0, 0
    return folder, found.st_mtime_ns, found.st_ctime_ns


def installer_in(prefix: Path) -> str | None:
    """The installer that is working in an environment, as far as one can be found."""
    if (uv := _holder_of_lock(prefix / ".lock")) is not None:
        return uv
    try:
        users = users_of(prefix)
    except OSError:
        return None
    return next((str(user) for user in users if user.words & INSTALLERS), None)


def _holder_of_lock(path: Path) -> str | None:
    """Who has locked the file, in words: every uv does (uv-facts 17)."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return holder_of(lock)
    except OSError:
        return None
    finally:
        os.close(lock)
    return None
