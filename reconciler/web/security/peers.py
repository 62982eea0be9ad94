"""Finds who is at the other end of a connection: the uid of the local process that opened it.

Never guesses. The kernel reports uid 0 for a socket that its owner has closed, so a socket only
counts if it is established and still belongs to a process, and if a second query agrees. As soon as
a connection is reset, its port may be another user's, so our own end must still be established
after the queries: the kernel gives no two connections the same ends at once.
"""

import socket
import struct
from collections.abc import Callable

import msgspec

from reconciler.web.security import sockdiag
from reconciler.web.security.owners import ESTABLISHED, Endpoint, Finder, listed

_ATTEMPTS = 3
"""The kernel lists thousands of sockets in several reads, and may skip one between them."""
_CREDENTIALS = struct.Struct("iII")


class TcpPeer(msgspec.Struct, frozen=True):
    """A TCP client: its end of the connection, and ours."""

    remote: Endpoint
    local: Endpoint
    is_open: Callable[[], bool]
    """Whether our end is still established."""

    def uid(self, find: Finder | None = None) -> int | None:
        """The user id of the process at the other end; None if it cannot be known.

        Asks the kernel and may read files, so it must not run on the event loop.
        """
        if not self.remote.address.is_loopback:
            return None
        chosen = find or (sockdiag.find if sockdiag.works() else listed)
        try:
            return self._uid(chosen, 1 if chosen is sockdiag.find else _ATTEMPTS)
        except OSError:  # out of descriptors or memory: unknown
            return None

    def _uid(self, find: Finder, attempts: int) -> int | None:
        for _ in range(attempts):
            found = find(self.remote, self.local)
            if found is not None:
                # If it closes while the kernel answers, it may already have uid 0 and still have
                # its inode.
                agreed = found.counts and found == find(self.remote, self.local)
                # Last: what was found could be the next connection from this port.
                return found.uid if agreed and self.is_open() else None
        return None


class UnixPeer(msgspec.Struct, frozen=True):
    """A client on a unix socket, as the kernel reported it when it connected."""

    credential: int

    def uid(self) -> int:
        """The user id of the process at the other end."""
        return self.credential


class UnknownPeer(msgspec.Struct, frozen=True):
    """A client that nothing is known about."""

    def uid(self) -> None:
        """Return None: the user is unknown."""


Peer = TcpPeer | UnixPeer | UnknownPeer


def peer_of(connection: socket.socket) -> Peer:
    """The other end of an accepted connection; looks nothing up yet."""
    if connection.family == socket.AF_UNIX:
        packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return UnixPeer(_CREDENTIALS.unpack(packed)[1])
    try:
        remote = Endpoint.of(connection.getpeername())
        local = Endpoint.of(connection.getsockname())
    except OSError:  # it is already gone
        return UnknownPeer()
    if remote is None or local is None:
        return UnknownPeer()
    return TcpPeer(remote, local, lambda: _is_established(connection))


def _is_established(connection: socket.socket) -> bool:
    """Whether neither side has closed or reset it (tcp(7), TCP_INFO: its first byte)."""
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED
    except OSError:  # we have closed it
        return False
