"""What a route may know of the connection that a request came over."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.types import Scope

from reconciler.web.security.peers import Peer, UnknownPeer

_KEY = "reconciler.connection"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection.

    Attributes:
        peer: who is at the other end.
        closing: set when the client is gone or the service ends, so that nothing waits on.
        abort: drops the connection with all that is still to be sent.
    """

    peer: Peer = field(default_factory=UnknownPeer)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    abort: Callable[[], None] = lambda: None

    def state(self) -> dict[str, object]:
        """As the server hands it to the application with each request."""
        return {_KEY: self}

    @classmethod
    def of(cls, scope: Scope) -> "Connection":
        """The connection of a request; one with an unknown peer under a foreign server."""
        found = scope.get("state", {}).get(_KEY)
        return found if isinstance(found, Connection) else cls()

    async def while_open(self, waiting: Coroutine[Any, Any, T]) -> T | None:
        """Wait for it, but no longer than the connection is of use; None: it is not any more."""
        wanted = asyncio.ensure_future(waiting)
        closing = asyncio.ensure_future(self.closing.wait())
        try:
            await asyncio.wait((wanted, closing), return_when=asyncio.FIRST_COMPLETED)
            return wanted.result() if wanted.done() else None
        finally:
            wanted.cancel()
            closing.cancel()
