"""A disk that remembers each write and flush, and disks as a power cut would leave them."""

import mmap
import os
import signal
import struct
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.powercut import fuse

_RECORD = struct.Struct("<QI")
_FLUSH, _MARK = (1 << 64) - 1, (1 << 64) - 2


class Write(NamedTuple):
    """One write that a file system sent to its disk."""

    offset: int
    data: bytes


Epochs = list[list[Write]]
"""Writes in their order, those between two flushes together."""


class _Bytes:
    """The disk's bytes; with a log, its writes and flushes as well.

    The image is mapped privately: what is written lives in this process only, and ends with it.
    """

    def __init__(self, image: Path, writes: Iterable[Write], log: Path | None) -> None:
        with image.open("rb") as opened:
            self._map = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
        self.size = len(self._map)
        self._log = None if log is None else log.open("ab", buffering=0)
        for offset, data in writes:
            self._map[offset : offset + len(data)] = data

    def read(self, offset: int, length: int) -> bytes:
        return self._map[offset : offset + length]

    def write(self, offset: int, data: bytes) -> None:
        self._map[offset : offset + len(data)] = data
        if self._log is not None:
            self._log.write(_RECORD.pack(offset, len(data)) + data)

    def flush(self) -> None:
        if self._log is not None:
            self._log.write(_RECORD.pack(_FLUSH, 0))


@contextmanager
def plugged_in(
    image: Path, place: Path, *, writes: Iterable[Write] = (), log: Path | None = None
) -> Iterator[Path]:
    """Give a block device with the image's bytes; the image itself is never changed.

    Args:
        image: The file that the disk begins with.
        place: A folder for the machinery; made, and removed afterwards.
        writes: Changes to the image that the disk begins with.
        log: Where to note each write and flush.
    """
    place.mkdir()
    device = fuse.mount(place)
    server = os.fork()
    if server == 0:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
            fuse.serve(device, _Bytes(image, writes, log))
        finally:
            os._exit(0)
    os.close(device)
    try:
        loop = _run("losetup", "--find", "--show", str(place / fuse.NAME)).strip()
        try:
            yield Path(loop)
        finally:
            _run("losetup", "--detach", loop)
    finally:
        _run("umount", "--lazy", str(place))
        os.waitpid(server, 0)
        place.rmdir()


def mark(log: Path, name: str) -> None:
    """Note in a log that something has happened by now."""
    text = name.encode()
    with log.open("ab", buffering=0) as opened:
        opened.write(_RECORD.pack(_MARK, len(text)) + text)


def recorded(log: Path) -> tuple[Epochs, dict[str, tuple[int, int]]]:
    """Return a log's writes, those between two flushes together, and where its marks are."""
    epochs: Epochs = [[]]
    marks: dict[str, tuple[int, int]] = {}
    text = log.read_bytes()
    at = 0
    while at < len(text):
        offset, length = _RECORD.unpack_from(text, at)
        at += _RECORD.size + length
        data = text[at - length : at]
        if offset == _FLUSH:
            epochs.append([])
        elif offset == _MARK:
            marks[data.decode()] = (len(epochs) - 1, len(epochs[-1]))
        else:
            epochs[-1].append(Write(offset, data))
    return epochs, marks


def _run(*command: str) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert answer.returncode == 0, f"{' '.join(command)}: {answer.stderr}"
    return answer.stdout
