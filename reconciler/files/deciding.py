"""Reads the files that decide what is installed or run; as root, only those that are root's.

The one way to read them: the file that is checked is the file that is read, and what was read
is noted, so that it can be checked again before a result goes live.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from reconciler.files import bounded
from reconciler.files.trust import refuse_insecure

_TRIES = 5
_noted: ContextVar[set[Path] | None] = ContextVar("noted", default=None)


def read_deciding(path: Path, limit: int = bounded.MOST) -> bytes:
    """All of a file that decides.

    Nothing is opened before it is known that only root may change it, since even opening can do
    harm. What was opened must be what was checked.

    Args:
        path: The file; symbolic links are followed, and checked as well.
        limit: The most bytes that it may have.

    Raises:
        Insecure: As root: others may change the file, or a folder or link on the way.
        OSError: As for `bounded.read_bytes`.
    """
    path = path.absolute()
    seen = _noted.get()
    if seen is not None:
        seen.add(path)
    if os.geteuid() != 0:
        return bounded.read_bytes(path, limit)
    for _ in range(_TRIES):
        checked = refuse_insecure(path)
        descriptor = bounded.open_regular(path)
        try:
            opened = os.fstat(descriptor)
            if checked is not None and os.path.samestat(checked, opened):
                return bounded.read_opened(descriptor, path, limit)
        finally:
            os.close(descriptor)
    raise OSError(errno.EBUSY, "it is replaced again and again", str(path))


def read_deciding_text(path: Path, limit: int = bounded.MOST, errors: str = "strict") -> str:
    """The same as text in UTF-8, without a byte order mark.

    Raises:
        Insecure: As for `read_deciding`.
        OSError: As for `read_deciding`.
        UnicodeDecodeError: It is not UTF-8.
    """
    return read_deciding(path, limit).decode("utf-8-sig", errors)


@contextmanager
def noting() -> Iterator[set[Path]]:
    """Note every file that is read, or looked for and missing, while this is open."""
    read: set[Path] = set()
    token = _noted.set(read)
    try:
        yield read
    finally:
        _noted.reset(token)
