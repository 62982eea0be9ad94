"""Reads held files again, a bounded amount at each audit, and compares their SHA-256.

Size, inode and modification time can all be as they were though the bytes are not: after an
edit that set the time back, or when a disk returns something else. Reading torch's 5 GB at every
audit would be noticed, so each audit continues where the last one ended.
"""

import hashlib
import os
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from reconciler.environment.snapshot import Snapshot
from reconciler.files.bounded import open_regular
from reconciler.holds.held_bytes import Expected, contents, expose, is_hidden
from reconciler.processes import Cancellation

BUDGET = 128 * 1024 * 1024
"""Bytes read at one audit: 0.13 s of processor time; a torch of 5 GB in 40 audits."""
_CHUNK = 1024 * 1024
_LOWEST_PRIORITY = 19


class _Begun:
    """A file that is read in several parts, as large ones are."""

    def __init__(self, expected: Expected) -> None:
        self.expected = expected
        self._hash = hashlib.sha256()
        self._offset = 0

    def read_on(self, most: int) -> tuple[int, bool]:
        """Read some more; how many bytes, and whether that was the end.

        Raises:
            OSError: It cannot be read.
        """
        descriptor = open_regular(self.expected.path)
        try:
            piece = os.pread(descriptor, min(most, _CHUNK), self._offset)
        finally:
            os.close(descriptor)
        self._hash.update(piece)
        self._offset += len(piece)
        return len(piece), not piece

    @property
    def is_other(self) -> bool:
        """Whether what was read is not what is held."""
        return self._hash.hexdigest() != self.expected.sha256


@dataclass
class Sampling:
    """Remembers how far it has come in one environment.

    Args:
        budget: The bytes to read at each audit.
        start: Where the first audit begins, from 0 to 1: not always at the same file, or the
            last ones would never be read by a service that is restarted often.
    """

    budget: int = BUDGET
    start: Callable[[], float] = field(default=random.random)
    _next: int | None = None
    _begun: _Begun | None = None

    def take(self, snapshot: Snapshot, cancel: Cancellation) -> list[str]:
        """Read the next files on a thread of low priority; the paths of those that differ.

        Raises:
            Cancelled: The pass was asked to end.
        """
        cancel.check()
        files = list(contents(snapshot))
        found: list[str] = []
        stop = threading.Event()
        reading = threading.Thread(target=self._read, args=(files, stop, found), daemon=True)
        reading.start()
        try:
            while reading.is_alive():
                cancel.check()
                reading.join(0.05)
        finally:
            stop.set()
            reading.join()
        return found

    def _read(self, files: list[Expected], stop: threading.Event, found: list[str]) -> None:
        with suppress(OSError):  # of this thread only, as Linux has it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        if self._begun is not None and self._begun.expected not in files:
            self._begun = None  # another build is held by now
        left, turns = self.budget, len(files)
        if self._next is None:
            self._next = int(self.start() * len(files))
        while turns > 0 and left > 0 and not stop.is_set():
            current = self._begun or _Begun(files[self._next % len(files)])
            self._begun = current
            try:
                hidden = is_hidden(current.expected)  # else another comparison reports it
                count, ended = current.read_on(left) if hidden else (0, True)
            except OSError:
                count, ended = 0, True
            else:
                if hidden and ended and current.is_other:
                    expose(current.expected.path)
                    found.append(current.expected.path)
            left -= count
            if ended:
                self._begun, self._next, turns = None, (self._next + 1) % len(files), turns - 1
