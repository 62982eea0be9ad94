"""How many passes run at once, over all environments: each waits for its turn, in order.

A pass works the processor: unbounded, those of many environments would starve each other and the
HTTP server. First come, first served, so an environment that is always edited delays the others
by no more than its own passes.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LAPSES_SECONDS = 30.0
"""A pass that has run for so long mostly waits, for a download or a lock, and counts no more:
otherwise a few slow indexes would hold up every environment."""


class Turns:
    """The queue for one service; any thread may wait in it.

    Args:
        most: How many passes run at once.
        monotonic: Seconds that pass evenly, whatever happens to the clock.
    """

    def __init__(self, most: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._waiting: list[Turn] = []
        self._running: dict[Turn, float] = {}

    @property
    def most(self) -> int:
        """How many passes run at once."""
        return self._most

    @most.setter
    def most(self, most: int) -> None:
        with self._changed:
            self._most = most
            self._changed.notify_all()

    @contextmanager
    def queue(self) -> Iterator["Turn"]:
        """Stand in the queue; leaving the context ends the turn."""
        turn = Turn(self)
        with self._changed:
            self._waiting.append(turn)
        try:
            yield turn
        finally:
            with self._changed:
                self._running.pop(turn, None)
                if turn in self._waiting:
                    self._waiting.remove(turn)
                self._changed.notify_all()

    def look_again(self) -> None:
        """Let everyone who waits ask whether they still want their turn."""
        with self._changed:
            self._changed.notify_all()

    def _wait(self, turn: "Turn", seconds: float, given_up: Callable[[], bool]) -> bool:
        deadline = self._monotonic() + seconds
        with self._changed:
            while turn not in self._running and not given_up():
                now = self._monotonic()
                lapses = [since + LAPSES_SECONDS for since in self._running.values()]
                counted = [lapse for lapse in lapses if lapse > now]
                if self._waiting[0] is turn and len(counted) < self._most:
                    self._running[self._waiting.pop(0)] = now
                    self._changed.notify_all()  # there may be room for the next one as well
                    return True
                if now >= deadline:
                    return False
                self._changed.wait(min(deadline, *counted, now + LAPSES_SECONDS) - now)
            return turn in self._running


class Turn:
    """The place of one pass in the queue, and then its turn."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def wait(self, seconds: float, given_up: Callable[[], bool]) -> bool:
        """Wait at most so long for the turn; whether it has come.

        Args:
            seconds: How long; may be infinite.
            given_up: Asked at `look_again`; if it says yes, there is nothing more to wait for.
        """
        return self._turns._wait(self, seconds, given_up)  # noqa: SLF001  # two halves of one thing
