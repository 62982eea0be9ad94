"""What waits for a worker: requests, each one pass, and events that only say "look".

Any thread may add to it; none ever waits for more than a lock. Requests come first, in
order; events settle for a moment, and all that have come by then make one pass.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from reconciler.daemon.requests import Accept, Reconcile, Request, Restore, Rollback, reason_of
from reconciler.status import Trigger

_LONGEST_DEBOUNCE = 20
"""How many times the debounce a stream of events can put a pass off."""
_SETTLES = frozenset({Trigger.FILE, Trigger.ENVIRONMENT})
"""Events that come in bursts."""
_TELLING = (
    Trigger.START,
    Trigger.RELOAD,
    Trigger.FILE,
    Trigger.ENVIRONMENT,
    Trigger.RETRY,
    Trigger.INTERVAL,
)
"""Of several events, the first of these names the pass."""


_MOST_REASONS = 10
"""Reasons that one pass remembers, when several requests share it."""


@dataclass
class Order:
    """One pass that is to be: asked for by someone, or due to events."""

    trigger: Trigger
    request: Request | None = None
    """What was asked for; None: nothing, it is due to events."""
    audit: bool = False
    """Whether the presence of every installed file is to be checked."""
    compare: bool = False
    """Whether every held file is to be compared."""
    pass_id: int | None = None
    reasons: list[str] = field(init=False)
    """Why, in the words of everyone who asked for it."""

    def __post_init__(self) -> None:
        reason = reason_of(self.request) if self.request is not None else None
        self.reasons = [reason] if reason else []

    @property
    def reason(self) -> str | None:
        """All the reasons that were given."""
        return "; ".join(self.reasons) or None

    @property
    def forced(self) -> bool:
        """Whether it applies changes even where the environment is suspended or only observed."""
        return isinstance(self.request, Reconcile) and self.request.apply

    @property
    def special(self) -> Rollback | Restore | Accept | None:
        """The request, if it is one that a pass of its own carries out."""
        return self.request if isinstance(self.request, Rollback | Restore | Accept) else None

    def does_for(self, other: "Order") -> bool:
        """Whether this pass does what the other one would do."""
        if self.special is not None or other.special is not None:
            return False
        return self.forced == other.forced and self.audit >= other.audit

    def share_with(self, other: "Order") -> None:
        """Do this pass for the other order as well, and remember why that was asked for."""
        fresh = [reason for reason in other.reasons if reason not in self.reasons]
        self.reasons = [*self.reasons, *fresh][:_MOST_REASONS]


class Emptied(Exception):  # no defect: someone else is to be asked
    """This worker has ended, and another has taken over."""


class Inbox:
    """What waits for one worker.

    Args:
        debounce: Seconds that events must be quiet before they make a pass.
        clock: The time, in seconds since the epoch.
        monotonic: Seconds that pass evenly, whatever happens to the clock.
    """

    def __init__(
        self,
        debounce: float,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._debounce = debounce
        self._clock = clock
        self._monotonic = monotonic
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
            moment = self._monotonic() - quiet
            if not self._events & _SETTLES:
                self._first_event = moment
            self._last_event = moment
            self._events.add(event)
            self._condition.notify_all()

    def share(self, order: Order) -> Order | None:
        """Let an order that waits already do this one's work as well, if there is one.

        Raises:
            Emptied: Ask the worker's successor.
        """
        with self._condition:
            if self._emptied:
                raise Emptied
            waiting = next((it for it in self._orders if it.does_for(order)), None)
            if waiting is not None:
                waiting.share_with(order)
            return waiting

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

    def wait(self, due: Callable[[], tuple[float, Trigger]]) -> bool:
        """Wait until there is a reason for a pass; whether there is, or the worker is to end.

        Args:
            due: When a pass is due if nothing happens (seconds since the epoch), and as what.
        """
        with self._condition:
            while not self.closed:
                left = self._due_in(due)
                if left <= 0:
                    return True
                self._condition.wait(left)
        return False

    def poll(self, due: Callable[[], tuple[float, Trigger]]) -> Order | float:
        """The next order, taken out; or the seconds until there may be one."""
        with self._condition:
            left = self._due_in(due)
            if left > 0:
                return left
            if self._orders:
                return self._orders.pop(0)
            return self._take_events() if self._events else Order(due()[1])

    def _due_in(self, due: Callable[[], tuple[float, Trigger]]) -> float:
        if self._orders:
            return 0.0
        return self._settled_in() if self._events else due()[0] - self._clock()

    def _settled_in(self) -> float:
        """Seconds until the events that have come may make a pass."""
        if self._events - _SETTLES:
            return 0.0
        quiet = self._last_event + self._debounce
        latest = self._first_event + _LONGEST_DEBOUNCE * self._debounce
        return min(quiet, latest) - self._monotonic()

    def _take_events(self) -> Order:
        events, self._events = self._events, set()
        # What others did to the environment shows only in its files; an edit of the project's
        # file and a mere interval say nothing about them.
        audit = bool(events & {Trigger.START, Trigger.ENVIRONMENT})
        # Nobody saw what happened while the watches were set again: this wakes with an interval.
        compare = audit or Trigger.INTERVAL in events
        return Order(next(t for t in _TELLING if t in events), audit=audit, compare=compare)
