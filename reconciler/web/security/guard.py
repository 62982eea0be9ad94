"""HTTP/1.1 on one connection, with limits against hostile or broken clients.

A client must send its whole request head within a time limit, a client that does not read its
response is dropped, and the number of connections is limited.
"""

import asyncio
import sys
from collections.abc import Hashable
from contextlib import suppress
from functools import partial
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from reconciler.web.api.problems import MEDIA_TYPE, HttpProblem, HttpReason, body_of
from reconciler.web.security.access import log_refusal
from reconciler.web.security.connection import Connection
from reconciler.web.security.crowd import Crowd, Refusals
from reconciler.web.security.headers import protective_headers
from reconciler.web.security.peers import Peer, TcpPeer, UnknownPeer, peer_of

HEAD_WITHIN = 10.0
"""Seconds in which a request head has to arrive, and a response has to be read."""
LINGER = 2.0
"""Seconds that a refused client gets to read why; anything it still sends is discarded."""

_FULL = HttpProblem(
    503,
    HttpReason.TOO_MANY_CONNECTIONS,
    "Too many connections are open, of you or of everyone. Close some and try again.",
    {"Retry-After": "5"},
)
_TOO_LARGE = HttpProblem(
    431, HttpReason.HEADERS_TOO_LARGE, "The headers are too large. Send fewer (cookies, say)."
)
_MALFORMED = HttpProblem(
    400, HttpReason.BAD_REQUEST, "This is not a valid HTTP/1.1 request. Send a valid one."
)


class GuardedProtocol(H11Protocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        crowd: Crowd | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._crowd = crowd or Crowd()
        self._refusals = refusals or Refusals()
        self._user: Hashable = None
        """Who is counted for this connection; None: nobody."""
        self._connection = Connection()
        self._deadline: asyncio.TimerHandle | None = None
        self._unread = 0
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        accepted = transport.get_extra_info("socket")
        peer = UnknownPeer() if accepted is None else peer_of(accepted)
        user = _user_of(peer)
        self._connection = Connection(peer, user, abort=transport.abort, refusals=self._refusals)
        if not self._crowd.enter(user):
            self.transport = transport
            self._log(_FULL.reason)
            transport.write(_raw(_FULL))
            transport.close()
            return
        self._user = user
        super().connection_made(transport)
        self.app_state = {**self.app_state, **self._connection.state()}
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._clear_deadline()
        self._connection.closing.set()
        if self._user is not None:
            self._crowd.leave(self._user)
            self._user = None
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The service is stopping."""
        self._connection.closing.set()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        """The client sent something."""
        if self._refused:
            return
        super().data_received(data)
        if self._serving and not self._refused:
            self._clear_deadline()

    def on_response_complete(self) -> None:
        """The response is written; now it is the client's turn."""
        self._set_deadline()
        super().on_response_complete()
        if self._serving:  # the next request has already arrived
            self._clear_deadline()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # ours is clearer
        """Refuse what is not a valid request."""
        error = sys.exception()
        large = isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431
        self._refuse(_TOO_LARGE if large else _MALFORMED)

    def _unsupported_upgrade_warning(self) -> None:
        """Do nothing: the request is served as if it asked for no upgrade (RFC 9110, 7.8)."""

    @property
    def _serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, problem: HttpProblem) -> None:
        """Respond without the application, and close."""
        self._refused = True
        self._log(problem.reason)
        if self._serving and self.cycle.response_started:
            self.transport.abort()
            return
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(_raw(problem))
        with suppress(OSError):  # the client is gone already
            self.transport.write_eof()
        self._clear_deadline()
        self._deadline = self.loop.call_later(LINGER, self.transport.abort)

    def _set_deadline(self) -> None:
        self._clear_deadline()
        self._unread = self.transport.get_write_buffer_size()
        self._deadline = self.loop.call_later(HEAD_WITHIN, self._too_late)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        if 0 < self.transport.get_write_buffer_size() < self._unread:
            self._set_deadline()  # a slow line, but the client is reading
            return
        self._log(HttpReason.SLOW_REQUEST)
        self.transport.abort()

    def _log(self, reason: HttpReason | str) -> None:
        log = partial(log_refusal, reason, self._connection, None, None)
        self._refusals.note(str(reason), log)


def _user_of(peer: Peer) -> Hashable:
    """Who a connection is counted for: a user of this machine, or another machine.

    It asks the kernel on the event loop, in a tenth of a millisecond where sock_diag works: a
    connection that waits for its user would take another user's place.
    """
    if isinstance(peer, TcpPeer) and not peer.remote.address.is_loopback:
        return str(peer.remote.address)
    uid = peer.uid()
    return "unknown" if uid is None else uid


def _raw(problem: HttpProblem) -> bytes:
    body = body_of(problem)
    headers = {
        **protective_headers(),
        **problem.headers,
        "Cache-Control": "no-store",
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    lines = [
        f"HTTP/1.1 {problem.status} ",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
