"""Who is at the other end of a connection: the uid of the local process that opened it.

Never guesses. A socket that its owner has closed shows uid 0 in /proc/net/tcp, so only an
established one that still belongs to a process counts, and only if a second look agrees.
"""

import ipaddress
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED = b"01"
_ATTEMPTS = 3
"""The kernel lists thousands of sockets in several reads, and may skip one in between."""
_CREDENTIALS = struct.Struct("iII")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a TCP connection; an IPv4 address mapped into IPv6 is the IPv4 address."""

    address: IpAddress
    port: int

    @classmethod
    def of(cls, name: object) -> "Endpoint | None":
        """From what `getpeername()` or `getsockname()` gives; None if that is no TCP address."""
        if not isinstance(name, tuple) or len(name) < 2:
            return None
        address = ipaddress.ip_address(str(name[0]).partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return cls(mapped or address, int(name[1]))


@dataclass(frozen=True, slots=True)
class TcpPeer:
    """A client on TCP: its end of the connection, and ours."""

    remote: Endpoint
    local: Endpoint

    def uid(self, tables: Iterable[Path] = TABLES) -> int | None:
        """The user id of the process at the other end; None where it cannot be known.

        Reads files: not for the event loop.
        """
        if not self.remote.address.is_loopback:
            return None
        for _ in range(_ATTEMPTS):
            found = _find(self, tables)
            if found is not None:
                # Closed between two columns, it would have its inode still and uid 0 already.
                return found.uid if found.owned and found == _find(self, tables) else None
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


@dataclass(frozen=True, slots=True)
class _Row:
    """What the kernel lists of one socket."""

    state: bytes
    uid: int
    inode: int

    @property
    def owned(self) -> bool:
        """Whether a process has it open; otherwise its uid says nothing."""
        return self.state == _ESTABLISHED and self.inode != 0


def _find(peer: TcpPeer, tables: Iterable[Path]) -> _Row | None:
    """The client's own socket: its local end is our remote one."""
    ends = [
        b" %s %s " % (_shown(peer.remote, mapped=mapped), _shown(peer.local, mapped=mapped))
        for mapped in (False, True)
    ]
    for table in tables:
        text = _read(table)
        for end in ends:
            place = text.find(end)
            if place >= 0:
                fields = text[place : text.index(b"\n", place)].split()
                return _Row(state=fields[2], uid=int(fields[6]), inode=int(fields[8]))
    return None


def _read(table: Path) -> bytes:
    try:
        return table.read_bytes()
    except FileNotFoundError:  # IPv6 is switched off
        return b""


def _shown(endpoint: Endpoint, *, mapped: bool) -> bytes:
    """As proc(5) writes it: 32-bit words of the address in the machine's own byte order."""
    packed = endpoint.address.packed
    if mapped and endpoint.address.version == 4:
        packed = bytes(10) + b"\xff\xff" + packed
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    text = "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
    return f"{text}:{endpoint.port:04X}".encode()
