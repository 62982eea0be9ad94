"""Who is at the other end of a connection: the uid of the local process that opened it.

Never guesses. A socket that its owner has closed has uid 0 to the kernel, so only an
established one that still belongs to a process counts, and only if a second look agrees.
"""

import socket
import struct
from dataclasses import dataclass

from reconciler.web.security import sockdiag
from reconciler.web.security.owners import Endpoint, Finder, listed

_ATTEMPTS = 3
"""The kernel lists thousands of sockets in several reads, and may skip one in between."""
_CREDENTIALS = struct.Struct("iII")


@dataclass(frozen=True, slots=True)
class TcpPeer:
    """A client on TCP: its end of the connection, and ours."""

    remote: Endpoint
    local: Endpoint

    def uid(self, find: Finder | None = None) -> int | None:
        """The user id of the process at the other end; None where it cannot be known.

        Asks the kernel, and may read files: not for the event loop.
        """
        if not self.remote.address.is_loopback:
            return None
        chosen = find or (sockdiag.find if sockdiag.works() else listed)
        try:
            return self._uid(chosen, 1 if chosen is sockdiag.find else _ATTEMPTS)
        except OSError:  # out of descriptors or memory: then it is not known
            return None

    def _uid(self, find: Finder, attempts: int) -> int | None:
        for _ in range(attempts):
            found = find(self.remote, self.local)
            if found is not None:
                # Closed while the kernel answers, it may have its inode still and uid 0 already.
                agreed = found.counts and found == find(self.remote, self.local)
                return found.uid if agreed else None
        return None


@dataclass(frozen=True, slots=True)
class UnixPeer:
    """A client on a unix socket, as the kernel knew it when it connected."""

    credential: int

    def uid(self) -> int:
        """The user id of the process at the other end."""
        return self.credential


@dataclass(frozen=True, slots=True)
class UnknownPeer:
    """A client that nothing is known of."""

    def uid(self) -> None:
        """None."""


Peer = TcpPeer | UnixPeer | UnknownPeer


def peer_of(connection: socket.socket) -> Peer:
    """The other end of an accepted connection; starts no look-up yet."""
    if connection.family == socket.AF_UNIX:
        packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return UnixPeer(_CREDENTIALS.unpack(packed)[1])
    try:
        remote = Endpoint.of(connection.getpeername())
        local = Endpoint.of(connection.getsockname())
    except OSError:  # it is gone already
        return UnknownPeer()
    return TcpPeer(remote, local) if remote and local else UnknownPeer()
