"""What a route may know about the connection of a request."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

import msgspec
from starlette.types import Scope

from reconciler.web.security.crowd import Refusals
from reconciler.web.security.peers import Peer, UnknownPeer

_KEY = "reconciler.connection"
T = TypeVar("T")


class Connection(msgspec.Struct, frozen=True):
    """One connection.

    Attributes:
        peer: who is at the other end.
        user: who the connection counts for: a uid of this machine, or anything else.
        closing: set when the client is gone or the service ends, so that nothing keeps waiting.
        abort: drops the connection and everything still to be sent.
        refusals: counts the requests that are refused, and logs some of them.
    """

    peer: Peer = msgspec.field(default_factory=UnknownPeer)
    user: Hashable = "unknown"
    closing: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    abort: Callable[[], None] = lambda: None
    refusals: Refusals = msgspec.field(default_factory=Refusals)

    def state(self) -> dict[str, object]:
        """The state that the server passes to the application with each request."""
        return {_KEY: self}

    @classmethod
    def of(cls, scope: Scope) -> "Connection":
        """The connection of a request; under another server, one with an unknown peer."""
        found = scope.get("state", {}).get(_KEY)
        return found if isinstance(found, Connection) else cls()

    async def while_open(self, waiting: Coroutine[Any, Any, T]) -> T | None:
        """Wait for it while the connection is open; None if the connection closed first."""
        wanted = asyncio.ensure_future(waiting)
        closing = asyncio.ensure_future(self.closing.wait())
        try:
            await asyncio.wait((wanted, closing), return_when=asyncio.FIRST_COMPLETED)
            return wanted.result() if wanted.done() else None
        finally:
            wanted.cancel()
            closing.cancel()
