"""Carries what happens from the workers' threads to everyone who listens on the event loop.

It never waits for a listener: one that reads too slowly is dropped and resumes from the ring.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Self

import msgspec

from reconciler.log.redact import without_secrets

RING = 1024
"""Events that are remembered for those who come back with the last id that they saw."""
QUEUE = 256
"""Events that may wait for one reader before it counts as slow."""
SUBSCRIBERS = 64


class Event(msgspec.Struct, frozen=True):
    """Something that happened.

    Attributes:
        id: rises by one with every event, also over restarts of the service.
        kind: `status`, `log`, `progress`, `event`; or `reset`, to a reader that missed some
            and has to look at the whole status again.
        data: what JSON can say, without any secret.
    """

    id: int
    kind: str
    data: Mapping[str, Any]


class TooManySubscribers(Exception):  # a limit, not a defect
    """As many listen as are allowed to; the message says how many."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} readers follow the events already; close one and try again")
        self.limit = limit


class EventHub:
    """Numbers events, remembers the latest and hands them to every subscriber.

    Args:
        first_id: id of the first event; by default the time, so that an id of an earlier
            life of the service is never taken for one of this life.
        ring: how many events are remembered.
        queue: how many events may wait for one reader.
        subscribers: how many may listen at once.
    """

    def __init__(
        self,
        *,
        first_id: int | None = None,
        ring: int = RING,
        queue: int = QUEUE,
        subscribers: int = SUBSCRIBERS,
    ) -> None:
        self._lock = threading.Lock()
        self._first = time.time_ns() // 1_000_000 if first_id is None else first_id
        self._next = self._first
        self._ring: deque[Event] = deque(maxlen=ring)
        self._queue = queue
        self._limit = subscribers
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    def publish(self, kind: str, data: Mapping[str, Any]) -> None:
        """Tell everyone; from any thread, without waiting. `data` must not change afterwards."""
        data = without_secrets(data)
        with self._lock:
            event = Event(self._next, kind, data)
            self._next += 1
            self._ring.append(event)
            for subscription in tuple(self._subscriptions):
                if not subscription._offer(event):  # noqa: SLF001  # two halves of one thing
                    self._subscriptions.discard(subscription)

    def subscribe(self, last_id: int | None = None) -> "Subscription":
        """Listen, from the running event loop; close the subscription when done.

        Args:
            last_id: the last event that was seen; what came after it is handed over first.

        Raises:
            TooManySubscribers: the limit is reached.
        """
        with self._lock:
            if len(self._subscriptions) >= self._limit:
                raise TooManySubscribers(self._limit)
            missed = self._missed(last_id)
            subscription = Subscription(self, asyncio.get_running_loop(), self._queue, missed)
            if self._closed:
                subscription._end()  # noqa: SLF001
            else:
                self._subscriptions.add(subscription)
            return subscription

    def close(self) -> None:
        """End every subscription, after what waits for it; later ones end at once."""
        with self._lock:
            self._closed = True
            for subscription in self._subscriptions:
                subscription._end()  # noqa: SLF001
            self._subscriptions.clear()

    def _missed(self, last_id: int | None) -> tuple[Event, ...]:
        if last_id is None:
            return ()
        oldest = self._ring[0].id if self._ring else self._next
        if oldest - 1 <= last_id < self._next and last_id >= self._first - 1:
            return tuple(event for event in self._ring if event.id > last_id)
        return (Event(self._next - 1, "reset", {}),)

    def _forget(self, subscription: "Subscription") -> None:
        with self._lock:
            self._subscriptions.discard(subscription)


class Subscription:
    """The events for one reader, as an asynchronous iterator that ends when it is dropped.

    Attributes:
        dropped: whether it ended because it was read too slowly.
    """

    def __init__(
        self,
        hub: EventHub,
        loop: asyncio.AbstractEventLoop,
        limit: int,
        missed: tuple[Event, ...],
    ) -> None:
        self._hub = hub
        self._loop = loop
        self._limit = limit
        self._missed = deque(missed)
        self._waiting: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self.dropped = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self.dropped:
            if self._missed:
                return self._missed.popleft()
            self._wake.clear()
            if self._waiting:
                return self._waiting.popleft()
            if self._ended:
                break
            await self._wake.wait()
        raise StopAsyncIteration

    def close(self) -> None:
        """Listen no longer."""
        self._hub._forget(self)  # noqa: SLF001
        self._end()

    def _offer(self, event: Event) -> bool:
        """Queue the event, under the hub's lock; False: the reader is too slow, and dropped."""
        if len(self._waiting) >= self._limit:
            self.dropped = True
        else:
            self._waiting.append(event)
        return self._notify() and not self.dropped

    def _end(self) -> None:
        self._ended = True
        self._notify()

    def _notify(self) -> bool:
        """Wake the reader up; False where its loop is gone."""
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:
            return False
        return True
