"""Who may change things: attacks on the look-up of the user, and on where a request ends."""

import asyncio
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from reconciler.log import logger as log
from reconciler.web.security import sockdiag
from reconciler.web.security.owners import listed
from reconciler.web.security.peers import TcpPeer, peer_of
from tests.support.attacks import Attacks
from tests.support.logs import logging_restored
from tests.support.processes import free_port, wait_until
from tests.web.hosting import Host, connect, read_all

RECONCILE = "/environments/studio/reconcile"
POST = f"POST {RECONCILE} HTTP/1.1\r\nHost: localhost\r\n".encode()
_RESET = struct.pack("ii", 1, 0)
ROUNDS = 20


@pytest.fixture
def host() -> Iterator[Host]:
    """A server on a loopback port, without a token, whose records the tests see."""
    restoring = logging_restored()
    next(restoring)
    log.configure(stream=sys.stderr)
    with Host() as running:
        yield running
    next(restoring, None)


def _connection(port: int, to: tuple[str, int]) -> socket.socket:
    """A connection from this port."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    made.connect(to)
    return made


def _reset(client: socket.socket) -> None:
    """Close it without a trace: its port is free at once."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    client.close()


def test_whoever_has_the_port_of_a_reset_connection_now_is_not_its_user(attacks: Attacks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for find in (sockdiag.find, listed):
            for number in range(ROUNDS):
                port, server = free_port(), listener.getsockname()
                client = _connection(port, server)
                accepted, _ = listener.accept()
                peer = peer_of(accepted)
                assert isinstance(peer, TcpPeer)
                _reset(client)
                with accepted, _connection(port, server), listener.accept()[0]:
                    found = peer.uid(find)
                name = f"port used again, {find.__module__}, {number}"
                attacks.tried(name, refused=found is None, found=found)


def test_a_request_of_a_reset_connection_is_not_carried_out(attacks: Attacks, host: Host) -> None:
    """The look-up is kept waiting until someone else's connection has the port."""
    for number in range(ROUNDS):
        free = threading.Event()
        host.do(lambda free=free: _occupy(free))
        port, server = free_port(), ("127.0.0.1", host.port)
        client = _connection(port, server)
        client.sendall(POST + b"\r\n")
        wait_until(lambda: _is_asking(host))
        _reset(client)
        with _connection(port, server):
            free.set()
            wait_until(lambda number=number: len(_decisions(host)) > number)
        granted = _decisions(host)[-1]["event"] == "access.granted"
        attacks.tried(f"port used again, {number}", refused=not granted)
        wait_until(lambda: not host.server.server_state.connections)
    assert host.service.asked == []


def _occupy(free: threading.Event) -> None:
    """Keep every thread that looks users up busy until then."""
    for _ in range(64):
        asyncio.get_running_loop().run_in_executor(None, free.wait)


def _is_asking(host: Host) -> bool:
    return any(one.cycle is not None for one in host.server.server_state.connections)


def _decisions(host: Host) -> list[log.Record]:
    return [one for one in host.records if one["event"] in {"access.granted", "access.refused"}]


def test_a_request_that_ends_in_two_places_is_refused(attacks: Attacks, host: Host) -> None:
    """What one program takes for its body is another program's next request (RFC 9112, 6.1)."""
    hidden = POST + b"Content-Length: 0\r\n\r\n"
    chunks = b"0\r\n\r\n"
    forms: dict[str, Callable[[], bytes]] = {
        "both": lambda: b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunks,
        "both, the other way": lambda: (
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
        ),
        "no length": lambda: b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n" + chunks,
        "case": lambda: b"transfer-ENCODING: CHUNKED\r\ncontent-LENGTH: 5\r\n\r\n" + chunks,
        "two lengths": lambda: b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
        "a list of lengths": lambda: b"Content-Length: 0, 5\r\n\r\n",
        "signed length": lambda: b"Content-Length: +0\r\n\r\n",
        "two encodings": lambda: (
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunks
        ),
        "space before the colon": lambda: b"Content-Length : 0\r\n\r\n",
    }
    for line in (b"GET /status HTTP/1.1\r\nHost: localhost\r\n", POST):
        for name, rest in forms.items():
            with connect(host.port) as client:
                client.sendall(line + rest() + hidden)
                received = read_all(client)
            refused = received.startswith(b"HTTP/1.1 400") and b"}HTTP/1.1" not in received
            attacks.tried(
                f"{line[:4]!r} {name}",
                refused=refused and not host.service.asked,
                found=received[:60],
            )
            host.service.asked.clear()


def test_a_request_whose_encoding_is_of_a_later_version_is_refused(
    attacks: Attacks, host: Host
) -> None:
    """HTTP/1.0 knows no Transfer-Encoding: whoever passes it on may not have read it."""
    request = POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    with connect(host.port) as client:
        client.sendall(request)
        received = read_all(client)
    refused = received.startswith(b"HTTP/1.1 400") and not host.service.asked
    attacks.tried("HTTP/1.0 with chunks", refused=refused, found=received[:60])
