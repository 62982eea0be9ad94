"""Reads a file that others wrote, without ever waiting for it and without reading too much.

A named pipe would wait for ever for a writer, a device or a file in `/proc` may never end. So
only regular files are read, and only up to a limit. Every refusal is an `OSError` whose
`strerror` is a plain sentence, as for a file that is missing or that cannot be read.
"""

import errno
import os
import stat
from pathlib import Path

MOST = 16 * 1024 * 1024
"""The default limit in bytes. The largest uv.lock or METADATA seen has a few megabytes."""
_CHUNK = 1024 * 1024
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotRegular(OSError):
    """The path leads to a named pipe, a socket or a device."""


class TooLarge(OSError):
    """The file is larger than the limit."""


def read_bytes(path: str | Path, limit: int = MOST) -> bytes:
    """All of a regular file.

    Args:
        path: The file; symbolic links are followed.
        limit: The most bytes that it may have.

    Raises:
        NotRegular: It is a named pipe, a socket or a device; nothing was read.
        TooLarge: It has more than `limit` bytes.
        OSError: It cannot be read; `IsADirectoryError` for a folder.
    """
    descriptor = open_regular(path)
    try:
        return read_opened(descriptor, path, limit)
    finally:
        os.close(descriptor)


def read_opened(descriptor: int, path: str | Path, limit: int = MOST) -> bytes:
    """The same for a file that is open already; `path` is only for the error.

    Raises:
        TooLarge: It has more than `limit` bytes.
    """
    pieces: list[bytes] = []
    room = limit
    while piece := os.read(descriptor, min(_CHUNK, room + 1)):
        pieces.append(piece)
        room -= len(piece)
        if room < 0:
            raise TooLarge(errno.EFBIG, f"it is larger than {_size(limit)}", str(path))
    return b"".join(pieces)


def read_text(path: str | Path, limit: int = MOST, errors: str = "strict") -> str:
    """All of a regular text file in UTF-8, without a byte order mark.

    Args:
        path: The file; symbolic links are followed.
        limit: The most bytes that it may have.
        errors: What to do with bytes that are not UTF-8, as for `bytes.decode`.

    Raises:
        OSError: As for `read_bytes`.
        UnicodeDecodeError: It is not UTF-8.
    """
    return read_bytes(path, limit).decode("utf-8-sig", errors)


def read_head(path: str | Path, most: int) -> bytes:
    """The first bytes of a regular file, at most so many.

    Raises:
        OSError: As for `open_regular`.
    """
    descriptor = open_regular(path)
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)


def open_regular(path: str | Path) -> int:
    """A descriptor of a regular file, for reading; never waits for a writer.

    Raises:
        NotRegular: It is a named pipe, a socket or a device.
        OSError: It cannot be opened; `IsADirectoryError` for a folder.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ENXIO:  # open(2): a socket, or a device without a driver
            raise NotRegular(errno.EINVAL, "it is a socket, not a file", str(path)) from error
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    raise NotRegular(errno.EINVAL, f"it is {kind}, not a file", str(path))


def _size(limit: int) -> str:
    return f"{limit // (1024 * 1024)} MiB" if limit >= 1024 * 1024 else f"{limit} bytes"
