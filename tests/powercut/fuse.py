"""A file system of one file, in this process: what a disk is made of for the tests.

The kernel's loop driver makes a block device of the file, and a real file system goes on it. So
each write and each flush that the file system sends to its disk comes by here, in order.

Source: linux/include/uapi/linux/fuse.h, protocol 7.31.
"""

import ctypes
import errno
import os
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

NAME = "disk"
_FILE = 2
_HEADER = struct.Struct("<IIQQIIII")  # length, opcode, unique, node, uid, gid, pid, padding
_ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
_MOST_AT_ONCE = 1 << 20  # bytes
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22
_DIRECT_IO = 1 << 0  # nothing is cached on the way, so that no write is merged or put off


class Content(Protocol):
    """The bytes of the file."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Return these bytes."""

    def write(self, offset: int, data: bytes) -> None:
        """Change these bytes."""

    def flush(self) -> None:
        """All that was written before counts as safe."""


def mount(folder: Path) -> int:
    """Mount a new file system here, and return the descriptor that its requests come from.

    Raises:
        OSError: the kernel refuses; this needs root.
    """
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,max_read={_MOST_AT_ONCE}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"disk", os.fsencode(folder), b"fuse", 0, options.encode()) != 0:
        number = ctypes.get_errno()
        os.close(device)
        raise OSError(number, os.strerror(number), str(folder))
    return device


def serve(device: int, content: Content) -> None:
    """Answer requests until the file system is unmounted."""
    server = _Server(content)
    while True:
        try:
            request = os.read(device, _MOST_AT_ONCE + (1 << 16))
        except OSError as error:
            if error.errno == errno.ENODEV:  # unmounted
                return
            if error.errno in (errno.EINTR, errno.ENOENT):  # ENOENT: the request was withdrawn
                continue
            raise
        answer = server.answer(request)
        if answer is not None:
            os.write(device, answer)


class _Server:
    def __init__(self, content: Content) -> None:
        self._content = content
        self._acts: dict[int, Callable[[int, bytes], bytes | int]] = {
            1: self._look_up,
            3: self._attributes_of,
            4: self._attributes_of,  # what is to be changed is the size or the time: neither
            14: self._open,
            15: self._read,
            16: self._write,
            17: self._space,
            18: lambda *_: b"",  # release
            20: self._flush,
            25: lambda *_: b"",  # flush: a descriptor is closed, which means nothing
            26: self._begin,
        }

    def answer(self, request: bytes) -> bytes | None:
        _, opcode, unique, node, *_ = _HEADER.unpack_from(request)
        if opcode in (2, 36, 42):  # forget, interrupt, batch forget: no answer is expected
            return None
        act = self._acts.get(opcode)
        said = errno.ENOSYS if act is None else act(node, request[_HEADER.size :])
        error, body = (-said, b"") if isinstance(said, int) else (0, said)
        return struct.pack("<IiQ", 16 + len(body), error, unique) + body

    def _begin(self, _: int, body: bytes) -> bytes:
        offered = struct.unpack_from("<IIII", body)[3]
        flags = offered & (_BIG_WRITES | _MAX_PAGES)
        return struct.pack(
            "<IIIIHHIIHHIQ16x",
            7, 31, _MOST_AT_ONCE, flags, 16, 12, _MOST_AT_ONCE, 1, _MOST_AT_ONCE >> 12, 0, 0, 0,
        )  # fmt: skip

    def _look_up(self, _: int, body: bytes) -> bytes | int:
        if body.rstrip(b"\0").decode() != NAME:
            return errno.ENOENT
        return struct.pack("<QQQQII", _FILE, 0, 3600, 3600, 0, 0) + self._attributes(_FILE)

    def _attributes_of(self, node: int, _: bytes) -> bytes:
        return struct.pack("<QII", 3600, 0, 0) + self._attributes(node)

    def _attributes(self, node: int) -> bytes:
        mode = stat.S_IFREG | 0o600 if node == _FILE else stat.S_IFDIR | 0o700
        size = self._content.size if node == _FILE else 0
        now = int(time.time())
        return _ATTRIBUTES.pack(
            node, size, size // 512, now, now, now, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0
        )

    def _open(self, *_: object) -> bytes:
        return struct.pack("<QII", 1, _DIRECT_IO, 0)

    def _read(self, _: int, body: bytes) -> bytes:
        _, offset, length = struct.unpack_from("<QQI", body)
        return self._content.read(offset, length)

    def _write(self, _: int, body: bytes) -> bytes:
        _, offset, length = struct.unpack_from("<QQI", body)
        self._content.write(offset, body[40 : 40 + length])
        return struct.pack("<II", length, 0)

    def _flush(self, *_: object) -> bytes:
        self._content.flush()
        return b""

    def _space(self, *_: object) -> bytes:
        return struct.pack("<QQQQQIII28x", 1 << 20, 1 << 19, 1 << 19, 16, 8, 4096, 255, 4096)
