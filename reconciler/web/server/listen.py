"""Opens the sockets that the service listens on, and removes its unix socket at the end.

Never removes the socket of a service that still answers on it.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reconciler.config.address import Address, TcpAddress, UnixAddress
from reconciler.web.security.owners import Endpoint

BACKLOG = 128
UNIX_MODE = 0o660
"""The service's user and group may connect; their uid decides what they may change."""
_FIXES = {
    errno.EADDRINUSE: "Stop the program that uses it, or set http.listen to another address.",
    errno.EACCES: "Set http.listen to an address that the service's user may use.",
    errno.EADDRNOTAVAIL: "Set http.listen to an address that this machine has.",
    errno.ENOENT: "Create the folder, or set http.listen to another path.",
}


@dataclass(slots=True, eq=False)
class CannotListen(Exception):
    """The service cannot listen where it should."""

    address: str
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"cannot listen on {self.address}: {self.reason}. {self.fix}"


def open_sockets(address: Address) -> list[socket.socket]:
    """Open listening sockets for the address: two for `localhost`, on IPv4 and on IPv6.

    Raises:
        CannotListen: it cannot listen there; has the reason and what to do.
    """
    try:
        if isinstance(address, UnixAddress):
            return [_unix(address.path)]
        if address.host == "localhost":
            return _localhost(address.port)
        return [_tcp(address.host, address.port)]
    except OSError as error:
        fix = _FIXES.get(error.errno or 0, "Set http.listen to another address.")
        raise CannotListen(str(address), error.strerror or str(error), fix) from error


def refuse_strangers(sockets: Iterable[socket.socket]) -> None:
    """Refuse sockets that other machines can reach; called if there is no token.

    Raises:
        CannotListen: other machines can reach one of them.
    """
    for opened in sockets:
        bound = Endpoint.of(opened.getsockname())
        if bound is not None and not bound.address.is_loopback:
            raise CannotListen(
                address_of(opened),
                "other machines can reach it, and there is no token_file",
                "Listen on 127.0.0.1 (also in the socket unit), or set http.token_file.",
            )


def address_of(opened: socket.socket) -> str:
    """Where it listens, written as in the configuration."""
    if opened.family == socket.AF_UNIX:
        return str(UnixAddress(Path(os.fsdecode(opened.getsockname()))))
    host, port = opened.getsockname()[:2]
    return str(TcpAddress(host, port))


def remove_unix_socket(opened: socket.socket, identity: tuple[int, int] | None) -> None:
    """Remove the path of a unix socket, if it is still the one that we created.

    If that fails, the next service replaces it.
    """
    if opened.family == socket.AF_UNIX and identity is not None:
        path = os.fsdecode(opened.getsockname())
        with contextlib.suppress(OSError):
            if identity_of(path) == identity:
                os.unlink(path)  # noqa: PTH108  # the kernel's name, unchanged


def identity_of(path: str | Path) -> tuple[int, int]:
    """What distinguishes a file from another one at the same path."""
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _localhost(port: int) -> list[socket.socket]:
    four = _tcp("127.0.0.1", port)
    try:
        return [four, _tcp("::1", four.getsockname()[1])]
    except OSError as error:
        if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:  # IPv6 is disabled
            return [four]
        four.close()
        raise


def _tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as undo:
        opened = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((host, port))
        opened.listen(BACKLOG)
        undo.pop_all()
    return opened


def _unix(path: Path) -> socket.socket:
    _clear(path)
    with contextlib.ExitStack() as undo:
        opened = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        opened.bind(os.fsencode(path))
        path.chmod(UNIX_MODE)  # nobody can connect before listen()
        opened.listen(BACKLOG)
        undo.pop_all()
    return opened


def _clear(path: Path) -> None:
    """Remove the socket that a killed service left there, and nothing else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        fix = "Move it away, or set http.listen to another path."
        raise CannotListen(f"unix:{path}", "the file at this path is not a socket", fix)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fsencode(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
