"""Notices that an environment is no longer the folder that systemd made writable for us.

`ReadWritePaths=` mounts the folder that exists when the service starts. If someone deletes the
environment and recreates it, the new folder stays read-only for this process; a restarted
service can write it. Changes nothing.
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_Identity = tuple[int, int] | None
_BETWEEN_SECONDS = 75.0
"""Between two restarts: after five within five minutes systemd gives up (StartLimitBurst=)."""
_STAMP = "outdated"


class Mounts:
    """Remembers which folders the environments were when they were first managed."""

    def __init__(self) -> None:
        self._first: dict[Path, _Identity] = {}

    def note(self, roots: Iterable[Path]) -> None:
        """Remember which folders these are, unless they are known already."""
        for root in roots:
            self._first.setdefault(root, _identity(root))

    def replaced(self, root: Path) -> bool:
        """Whether it is another folder now, and a read-only one.

        Never true of one that was read-only from the start, so that a service that restarts
        because of this does so only once.
        """
        now = _identity(root)
        return now is not None and now != self._first.get(root, now) and _read_only(root)


def seconds_until_restart(folder: Path | None) -> float:
    """How long the service must still run before it may end for a restart; usually 0.

    Args:
        folder: The RuntimeDirectory, which outlives the service.
    """
    try:
        last = (folder / _STAMP).stat().st_mtime if folder is not None else 0.0
    except OSError:
        return 0.0
    return max(0.0, min(last + _BETWEEN_SECONDS - time.time(), _BETWEEN_SECONDS))


def note_restart(folder: Path | None) -> None:
    """Record that the service ends now for a restart."""
    if folder is not None:
        with suppress(OSError):
            (folder / _STAMP).touch()


def _identity(root: Path) -> _Identity:
    try:
        found = root.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _read_only(root: Path) -> bool:
    try:
        return bool(os.statvfs(root).f_flag & os.ST_RDONLY)
    except OSError:
        return False
