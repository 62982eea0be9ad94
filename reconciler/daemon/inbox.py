"""What waits for a worker: requests, each one pass, and events that only say "look".

Any thread may add to it; none ever waits for more than a lock. Requests come first, in
order; events settle for a moment, and all that have come by then make one pass.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reconciler.daemon.knowledge import Knowledge
from reconciler.holds.monitor import HoldMonitor
from reconciler.passes.outcome import Outcome
from reconciler.passes.running import Pass
from reconciler.status import Trigger

_LONGEST_DEBOUNCE = 20
"""How many times the debounce a stream of events can put a pass off."""
_SETTLES = frozenset({Trigger.FILE, Trigger.ENVIRONMENT})
"""Events that come in bursts."""
_TELLING = (Trigger.START, Trigger.FILE, Trigger.ENVIRONMENT, Trigger.INTERVAL)
"""Of several events, the first of these names the pass."""


Work = Callable[[HoldMonitor, Knowledge, Pass], Outcome]
"""What a pass does that was asked for; it is given the worker's own parts when it begins,
since another worker may do it than the one that was asked."""


@dataclass
class Order:
    """One pass that is to be: asked for by somebody, or due to events."""

    trigger: Trigger
    pass_id: int | None = None
    work: Work | None = None
    forced: bool = False
    """Whether it applies changes even where the environment is suspended or only observed."""
    audit: bool = False
    """Whether the presence of every installed file is to be checked."""

    def is_like(self, other: "Order") -> bool:
        """Whether one pass does for both."""
        plain = self.work is None and other.work is None
        return plain and self.forced == other.forced and self.audit >= other.audit


class Emptied(Exception):  # no defect: somebody else is to be asked
    """This worker has ended, and another has taken over."""


class Inbox:
    """What waits for one worker.

    Args:
        debounce: Seconds that events must be quiet before they make a pass.
    """

    def __init__(self, debounce: float) -> None:
        self._debounce = debounce
        self._condition = threading.Condition()
        self._orders: list[Order] = []
        self._events: set[Trigger] = set()
        self._first_event = 0.0
        self._last_event = 0.0
        self._emptied = False
        self.closed = False
        """Whether the worker is to end."""

    def wake(self, event: Trigger, quiet: float = 0.0) -> None:
        """Something may have changed: look soon.

        Args:
            event: What happened.
            quiet: Seconds for which nothing more has happened since.
        """
        with self._condition:
            moment = time.monotonic() - quiet
            if not self._events & _SETTLES:
                self._first_event = moment
            self._last_event = moment
            self._events.add(event)
            self._condition.notify_all()

    def like(self, order: Order) -> Order | None:
        """An order that waits already and does for this one as well.

        Raises:
            Emptied: Ask the worker's successor.
        """
        with self._condition:
            if self._emptied:
                raise Emptied
            return next((o for o in self._orders if o.is_like(order)), None)

    def put(self, order: Order) -> None:
        """Add an order.

        Raises:
            Emptied: Ask the worker's successor.
        """
        with self._condition:
            if self._emptied:
                raise Emptied
            self._orders.append(order)
            self._condition.notify_all()

    def empty(self) -> list[Order]:
        """Take out what nobody will do here any more, for the successor."""
        with self._condition:
            self._emptied = True
            orders, self._orders = self._orders, []
            return orders

    def fill(self, orders: Iterable[Order]) -> None:
        """Take over what a predecessor left."""
        with self._condition:
            self._orders += orders

    def close(self) -> None:
        """Let the worker end, after the pass that it is in."""
        with self._condition:
            self.closed = True
            self._condition.notify_all()

    def wait_closed(self, seconds: float) -> None:
        """Wait so long, but not past the end."""
        with self._condition:
            self._condition.wait_for(lambda: self.closed, seconds)

    def take(self, due: Callable[[], tuple[float, Trigger]]) -> Order | None:
        """Wait until there is a reason for a pass; None once the worker is to end.

        Args:
            due: When a pass is due if nothing happens (seconds since the epoch), and as what.
        """
        with self._condition:
            while not self.closed:
                if self._orders:
                    return self._orders.pop(0)
                at, trigger = due()
                wait = self._settled_in() if self._events else at - time.time()
                if wait <= 0:
                    return self._take_events() if self._events else Order(trigger)
                self._condition.wait(wait)
        return None

    def _settled_in(self) -> float:
        """Seconds until the events that have come may make a pass."""
        if self._events - _SETTLES:
            return 0.0
        quiet = self._last_event + self._debounce
        latest = self._first_event + _LONGEST_DEBOUNCE * self._debounce
        return min(quiet, latest) - time.monotonic()

    def _take_events(self) -> Order:
        events, self._events = self._events, set()
        # What others did to the environment shows only in its files; an edit of the project's
        # file and a mere interval say nothing about them.
        audit = bool(events & {Trigger.START, Trigger.ENVIRONMENT})
        return Order(next(t for t in _TELLING if t in events), audit=audit)
