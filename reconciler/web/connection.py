"""What a route may know of the connection that a request came over."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import Scope

from reconciler.web.peers import Peer, UnknownPeer

_KEY = "reconciler.connection"


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection.

    Attributes:
        peer: who is at the other end.
        stopping: set when the service ends, so that what waits for news does not hold it up.
        abort: drops the connection with all that is still to be sent.
    """

    peer: Peer = field(default_factory=UnknownPeer)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    abort: Callable[[], None] = lambda: None

    def state(self) -> dict[str, object]:
        """As the server hands it to the application with each request."""
        return {_KEY: self}

    @classmethod
    def of(cls, scope: Scope) -> "Connection":
        """The connection of a request; one with an unknown peer under a foreign server."""
        found = scope.get("state", {}).get(_KEY)
        return found if isinstance(found, Connection) else cls()
