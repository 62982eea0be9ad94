"""`/events`: a stream of server-sent events (WHATWG HTML, 9.2).

A client that does not keep up is dropped; it can reconnect with Last-Event-ID.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import msgspec
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from reconciler.daemon.events import Event, EventHub, Subscription, TooManySubscribers
from reconciler.log.logger import get_logger
from reconciler.web.api.parameters import LARGEST_INTEGER
from reconciler.web.api.problems import HttpProblem, HttpReason
from reconciler.web.security.connection import Connection
from reconciler.web.security.crowd import STREAMS, Crowd

_LOG = get_logger(__name__)
HEARTBEAT = 15.0
"""Seconds between two comments, so that each side notices when the other is gone."""
SEND_WITHIN = 10.0
"""Seconds that a client's socket may stay full."""
_LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
"""Line ends to `splitlines()`, and so to many clients, but not to the standard or JSON."""


class Streaming:
    """Streams the events of `hub`.

    Args:
        hub: the source of the events.
        heartbeat: seconds between two comments.
    """

    def __init__(self, hub: EventHub, heartbeat: float = HEARTBEAT) -> None:
        self._hub = hub
        self._heartbeat = heartbeat
        self._crowd = Crowd(STREAMS)

    async def events(self, request: Request) -> Response:
        """All events from now on, or since the last one seen."""
        if request.method == "HEAD":
            return Response(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        connection = Connection.of(request.scope)
        if not self._crowd.enter(connection.user):
            raise _too_many("Too many event streams are open, of you or of everyone; close one")
        try:
            subscription = self._hub.subscribe(_last_id(request))
        except TooManySubscribers as error:
            self._crowd.leave(connection.user)
            raise _too_many(str(error)) from error
        left = partial(self._crowd.leave, connection.user)
        return _Stream(subscription, connection, self._heartbeat, left)


def _too_many(detail: str) -> HttpProblem:
    reason = HttpReason.TOO_MANY_SUBSCRIBERS
    return HttpProblem(503, reason, f"{detail}.", {"Retry-After": "10"})


class _Stream(EventSourceResponse):
    """The events of one subscription, until either side closes it."""

    def __init__(
        self,
        subscription: Subscription,
        connection: Connection,
        heartbeat: float,
        left: Callable[[], None],
    ) -> None:
        super().__init__(
            _written(subscription, connection),
            ping=heartbeat,
            ping_message_factory=lambda: ServerSentEvent(comment="still here"),
            send_timeout=SEND_WITHIN,
        )
        self._subscription = subscription
        self._connection = connection
        self._left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            self._drop("its socket stayed full")
            await asyncio.sleep(0)  # let the server notice that the connection is gone
        else:
            if self._subscription.dropped:
                self._drop("too many events are waiting for it")
        finally:
            self._subscription.close()
            self._left()

    def _drop(self, why: str) -> None:
        _LOG.info("client.dropped", reason=why)
        self._connection.abort()

    @staticmethod
    async def _listen_for_exit_signal() -> None:
        """Wait forever: `Connection.closing` ends the stream; the library polls twice a second."""
        await asyncio.Event().wait()


async def _written(
    subscription: Subscription, connection: Connection
) -> AsyncIterator[ServerSentEvent]:
    """The events as they are sent; ends with the connection or the subscription."""
    yield ServerSentEvent(comment="connected")
    while not connection.closing.is_set():
        event = await connection.while_open(_next(subscription))
        if event is None:
            return
        data = msgspec.json.encode(event.data).decode().translate(_LINE_ENDS)
        yield ServerSentEvent(data, event=event.kind, id=str(event.id))


async def _next(subscription: Subscription) -> Event | None:
    return await anext(subscription, None)


def _last_id(request: Request) -> int | None:
    """The id of the last event seen; an id that we never sent counts as very old."""
    text = request.headers.get("last-event-id")
    if text is None:
        return None
    known = text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= LARGEST_INTEGER
    return int(text) if known else -1
