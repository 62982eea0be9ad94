"""When a worker looks again, by a clock that nobody can set."""

import time
from collections.abc import Callable

from msgspec.structs import replace

from reconciler.daemon import schedule
from reconciler.daemon.known import Known
from reconciler.daemon.steady import SteadyTimes
from reconciler.environment.snapshot import Snapshot
from reconciler.journal.history import State
from reconciler.status import Trigger


class Timetable:
    """The schedule of one environment.

    Args:
        times: Measures its waits.
        clock: The time, in seconds since the epoch; it can be set.
    """

    def __init__(self, times: SteadyTimes, clock: Callable[[], float]) -> None:
        self._times = times
        self._clock = clock

    def due(self, known: Known) -> tuple[float, Trigger]:
        """When to look again if nothing happens (seconds since the epoch), and as what."""
        known, now = self._by_the_clock(known), self._clock()
        if known.next_check_at is not None:
            at = now + self._times.left(known.next_check_at)
            known = replace(known, next_check_at=at)
        return schedule.due(known, now)

    def next_check(self, state: State, interval: float, began: float) -> float:
        """When to look again after a pass (seconds since the epoch).

        Args:
            state: What is remembered.
            interval: Seconds between looks if nothing else is due.
            began: When the pass began (monotonic seconds).
        """
        now = self._clock()
        state = self._times.by_the_clock(state)
        began = now - (time.monotonic() - began)
        return schedule.next_check(state, interval, began=began, now=now)

    def waits_for_retry(self, known: Known, snapshot: Snapshot) -> bool:
        """Whether the last pass for these files failed, and it is not yet time to try again."""
        return schedule.waits_for_retry(self._by_the_clock(known), snapshot, self._clock())

    def _by_the_clock(self, known: Known) -> Known:
        """What is known, as if nobody had set the clock."""
        return replace(known, state=self._times.by_the_clock(known.state))
