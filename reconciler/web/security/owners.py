"""What the kernel knows about a TCP socket on this machine: its state, its user, its inode.

`listed` reads /proc/net/tcp and tcp6. That works everywhere, but its time grows with the
kernel's hash table, not with the number of sockets: 50 ms with 262144 buckets.
"""

import ipaddress
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
ESTABLISHED = 1
"""TCP_ESTABLISHED, both in the tables and in sock_diag."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Endpoint(msgspec.Struct, frozen=True):
    """One end of a TCP connection; an IPv4 address mapped into IPv6 is the IPv4 address."""

    address: IpAddress
    port: int

    @classmethod
    def of(cls, name: object) -> "Endpoint | None":
        """From a result of `getpeername()` or `getsockname()`; None if not a TCP address."""
        if not isinstance(name, tuple) or len(name) < 2:
            return None
        address = ipaddress.ip_address(str(name[0]).partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return cls(mapped or address, int(name[1]))


class SocketOwner(msgspec.Struct, frozen=True):
    """The owner of a socket, as reported by the kernel at one moment."""

    state: int
    uid: int
    inode: int

    @property
    def counts(self) -> bool:
        """Whether a process has the socket open; otherwise its uid means nothing."""
        return self.state == ESTABLISHED and self.inode != 0


Finder = Callable[[Endpoint, Endpoint], SocketOwner | None]
"""Finds the owner of a socket by its local and remote end; None: there is no such socket."""


def listed(
    local: Endpoint, remote: Endpoint, tables: Iterable[Path] = TABLES
) -> SocketOwner | None:
    """The owner according to the tables of proc(5)."""
    lines = [
        b" %s %s " % (_shown(local, mapped=mapped), _shown(remote, mapped=mapped))
        for mapped in (False, True)
    ]
    for table in tables:
        text = _read(table)
        for line in lines:
            place = text.find(line)
            if place >= 0:
                fields = text[place : text.index(b"\n", place)].split()
                return SocketOwner(
                    state=int(fields[2], 16), uid=int(fields[6]), inode=int(fields[8])
                )
    return None


def _read(table: Path) -> bytes:
    try:
        return table.read_bytes()
    except FileNotFoundError:  # IPv6 is disabled
        return b""


def _shown(endpoint: Endpoint, *, mapped: bool) -> bytes:
    """The endpoint as in proc(5): 32-bit words of the address in the machine's byte order."""
    packed = endpoint.address.packed
    if mapped and endpoint.address.version == 4:
        packed = bytes(10) + b"\xff\xff" + packed
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    text = "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
    return f"{text}:{endpoint.port:04X}".encode()
