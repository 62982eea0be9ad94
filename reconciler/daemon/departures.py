"""Notices when the last of the programs that use an environment has ended (pidfd_open(2)).

A change that waits for them would otherwise be tried again only every half minute. Where the kernel
does not tell, that is how it is.
"""

import os
import select
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack

_LOOK_AGAIN_MS = 1000
"""How often it is asked whether it still has to wait for the same programs."""


class Departures:
    """Waits, on a thread of its own, for as long as there are programs to wait for.

    Args:
        tell: Called once the last one has ended.
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._awaited: frozenset[int] = frozenset()
        self._runs = False

    def of(self, pids: Iterable[int]) -> None:
        """From now on, wait for these programs; for none, if there are none."""
        with self._lock:
            self._awaited = frozenset(pids)
            if self._awaited and not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="departures", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                awaited = self._awaited
                if not awaited:
                    self._runs = False
                    return
            try:
                ended = self._all_ended(awaited)
            except OSError:  # the kernel does not say, or there are too many open files
                ended, told = True, False
            else:
                told = ended
            with self._lock:
                if ended and self._awaited == awaited:
                    self._awaited = frozenset()
            if told:
                self._tell()

    def _all_ended(self, pids: frozenset[int]) -> bool:
        """Whether all of them have ended; False if others are to be waited for by now."""
        with ExitStack() as opened:
            poll, left = select.poll(), set()
            for pid in pids:
                try:
                    descriptor = os.pidfd_open(pid)
                except ProcessLookupError:
                    continue
                opened.callback(os.close, descriptor)
                poll.register(descriptor, select.POLLIN)
                left.add(descriptor)
            while left:
                for descriptor, _ in poll.poll(_LOOK_AGAIN_MS):
                    poll.unregister(descriptor)
                    left.discard(descriptor)
                if self._awaited != pids:
                    return False
        return True
