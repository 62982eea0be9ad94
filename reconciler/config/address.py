"""Where the service listens, as text and as a type; opens no socket."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from reconciler.config.problem import Unfit
from reconciler.patterns import regex

LONGEST_SOCKET_PATH = 107
"""In bytes: what fits into sockaddr_un (unix(7)), without the final NUL."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP port on an IP address of this machine, or on `localhost`."""

    host: str
    """Without brackets, also for IPv6."""
    port: int
    """0 lets the kernel choose."""

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A unix socket, at an absolute path."""

    path: Path

    @property
    def loopback(self) -> bool:
        """Always: a unix socket never leaves the machine."""
        return True

    def __str__(self) -> str:
        return f"unix:{self.path}"


_TCP = regex(r"(?:\[(?P<six>[^\]]+)\]|(?P<four>[^:\[\]]+)):(?P<port>\d{1,5})")

_ZONE = regex(r"[^%]*(?:%[A-Za-z0-9][A-Za-z0-9._-]*)?")
"""Python accepts anything as the zone of an IPv6 address (RFC 4007)."""

Address = TcpAddress | UnixAddress


def parse_tcp(text: str) -> TcpAddress:
    """Read `127.0.0.1:8765`, `localhost:8765` or `[::1]:8765`.

    Raises:
        Unfit: It is none of these.
    """
    match = _TCP.fullmatch(text)
    if match is None:
        raise Unfit('an address like "127.0.0.1:8765", "[::1]:8765" or "unix:PATH"')
    host, port = match["six"] or match["four"], int(match["port"])
    if port > 65535:
        raise Unfit("a port between 0 and 65535")
    if host != "localhost" or match["six"]:
        _require_ip(host, 6 if match["six"] else 4)
    return TcpAddress(host, port)


def _require_ip(host: str, version: int) -> None:
    try:
        found = ipaddress.ip_address(host).version if _ZONE.fullmatch(host) else None
    except ValueError:
        found = None
    if found != version:
        raise Unfit(
            f"an IPv{version} address before the port",
            fix='Write an IP address of this machine, or "localhost".',
        )
