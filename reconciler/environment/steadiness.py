"""Who else is changing the packages of an environment. Read-only."""

import fcntl
import os
from pathlib import Path

from reconciler.environment.usage import users_of
from reconciler.files.lock_holder import holder_of

INSTALLERS = frozenset({"uv", "pip", "pip3", "poetry", "pdm", "hatch", "conda", "mamba"})


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
