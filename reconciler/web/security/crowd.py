"""Who is connected, so that no user shuts the others out; and what was refused, in numbers.

An ordinary user gets a few connections, and fewer event streams. Some of all of them are kept for
the service's own user, and the last ones for root. Knows users only by number; what they may do is
not decided here.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Hashable

import msgspec

from reconciler.daemon.events import SUBSCRIBERS
from reconciler.log.logger import get_logger

_LOG = get_logger(__name__)


class Room(msgspec.Struct, frozen=True):
    """How many may be open.

    Attributes:
        most: all together.
        each: of one user, or of one address of another machine; root has no such limit.
        kept: of all, how many are only for the service's user and root.
        kept_for_root: of these, how many are only for root.
    """

    most: int
    each: int
    kept: int
    kept_for_root: int


CONNECTIONS = Room(most=256, each=32, kept=64, kept_for_root=16)
STREAMS = Room(most=SUBSCRIBERS, each=16, kept=16, kept_for_root=4)
LOGGED = 20
"""Refusals that are logged one by one in each period; further ones are only counted."""
PERIOD = 60.0
"""Seconds."""


class Crowd:
    """The connections, or the streams, that are open."""

    def __init__(self, room: Room = CONNECTIONS) -> None:
        self._room = room
        self._open: Counter[Hashable] = Counter()

    def enter(self, who: Hashable) -> bool:
        """Count one of this user, unless there is no room for it."""
        if self._open.total() >= self._room_for(who):
            return False
        if who != 0 and self._open[who] >= self._room.each:
            return False
        self._open[who] += 1
        return True

    def leave(self, who: Hashable) -> None:
        """One that was counted is closed."""
        self._open[who] -= 1
        self._open += Counter()  # only what is not zero

    def _room_for(self, who: Hashable) -> int:
        room = self._room
        if who == 0:
            return room.most
        return room.most - (room.kept_for_root if who == os.geteuid() else room.kept)


class Refusals:
    """Logs the first refusals of each period, and sums up the others. Runs on the event loop.

    Args:
        count: called for each with its reason, for the metrics.
    """

    def __init__(self, count: Callable[[str], None] = lambda _: None) -> None:
        self._count = count
        self._logged = 0
        self._others: Counter[str] = Counter()
        self._period: asyncio.TimerHandle | None = None

    def note(self, reason: str, log: Callable[[], None]) -> None:
        """Count a refusal, and log it if few were logged; `log` may read files."""
        self._count(reason)
        loop = asyncio.get_running_loop()
        if self._period is None:
            self._period = loop.call_later(PERIOD, self.sum_up)
        if self._logged < LOGGED:
            self._logged += 1
            loop.run_in_executor(None, log)
        else:
            self._others[reason] += 1

    def sum_up(self) -> None:
        """End the period: log how many refusals were not logged one by one."""
        if self._period is not None:
            self._period.cancel()
        if self._others:
            total, reasons = self._others.total(), dict(self._others)
            _LOG.warning("access.refused-more", count=total, reasons=reasons)
        self._logged, self._period = 0, None
        self._others.clear()
