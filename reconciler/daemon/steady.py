"""Waits that take as long as they should, whatever happens to the machine's clock.

Times are recorded as seconds since the epoch, since they are shown and must survive a restart.
Someone may set the clock at any moment, so a wait is measured by another one, which nobody can set.
"""

import time
from collections.abc import Callable
from datetime import datetime

import msgspec

from reconciler.journal.history import State
from reconciler.passes.runner import LONGEST_RETRY_SECONDS

_REMEMBERED = 16


def elapsed() -> float:
    """Seconds since the machine started, with the time that it slept (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyTimes:
    """Counts the seconds until times of one environment.

    Args:
        clock: The time, in seconds since the epoch; it can be set.
        elapsed: Seconds that pass evenly.
    """

    def __init__(
        self, clock: Callable[[], float] = time.time, elapsed: Callable[[], float] = elapsed
    ) -> None:
        self._clock = clock
        self._elapsed = elapsed
        self._ends: dict[float, float] = {}

    def left(self, at: float, most: float = float("inf")) -> float:
        """The seconds until a time, counted since it was first asked about.

        Args:
            at: The time, in seconds since the epoch.
            most: It cannot be longer than this: a record of before the clock was set back.
        """
        now = self._elapsed()
        if at not in self._ends:
            while len(self._ends) >= _REMEMBERED:
                del self._ends[next(iter(self._ends))]
            self._ends[at] = now + min(at - self._clock(), most)
        return self._ends[at] - now

    def left_of_pause(self, state: State) -> float:
        """The seconds until a pause ends; forever if nobody said when."""
        until = state.suspended_until
        return float("inf") if until is None else self.left(until, _length_of_pause(state, until))

    def by_the_clock(self, state: State) -> State:
        """The same state, its times as the clock would show them if they were recorded now."""
        now, retry_at, until = self._clock(), state.retry_at, state.suspended_until
        if retry_at is not None:
            retry_at = now + self.left(retry_at, LONGEST_RETRY_SECONDS)
        if until is not None:
            until = now + self.left_of_pause(state)
        return msgspec.structs.replace(state, retry_at=retry_at, suspended_until=until)


def _length_of_pause(state: State, until: float) -> float:
    for suspension in (state.suspension, state.beneath):
        if suspension is not None and suspension.until is not None:
            return until - datetime.fromisoformat(suspension.since).timestamp()
    return float("inf")
