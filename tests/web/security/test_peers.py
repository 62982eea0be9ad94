"""Which user is at the other end: real sockets of every kind, and tables that mislead."""

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.web.security import sockdiag
from reconciler.web.security.owners import TABLES, Endpoint, Finder, SocketOwner, listed
from reconciler.web.security.peers import TcpPeer, UnixPeer, UnknownPeer, peer_of
from tests.web.hosting import as_user

NOBODY = 65534


@pytest.fixture(params=["127.0.0.1", "::1", "::"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """A listening socket; `::` takes IPv4 as well, as systemd's do."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family) as made:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(request.param == "::1"))
        made.bind((request.param, 0))
        made.listen()
        yield made


@pytest.fixture(params=[sockdiag.find, listed])
def find(request: pytest.FixtureRequest) -> Finder:
    """Both ways to ask the kernel."""
    found: Finder = request.param
    return found


def _uid(accepted: socket.socket, find: Finder) -> int | None:
    peer = peer_of(accepted)
    assert isinstance(peer, TcpPeer)
    return peer.uid(find)


def _addresses(listener: socket.socket) -> list[str]:
    host = listener.getsockname()[0]
    return {
        "127.0.0.1": ["127.0.0.1", "::ffff:127.0.0.1"],
        "::1": ["::1"],
        "::": ["127.0.0.1", "::1", "::ffff:127.0.0.1"],
    }[host]


def test_the_user_of_a_tcp_client(listener: socket.socket, find: Finder) -> None:
    port = listener.getsockname()[1]
    for address in _addresses(listener):
        with socket.create_connection((address, port)), listener.accept()[0] as accepted:
            assert _uid(accepted, find) == os.geteuid(), address
            assert peer_of(accepted).uid() == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_a_tcp_client(listener: socket.socket, find: Finder) -> None:
    port = listener.getsockname()[1]
    reading, writing = os.pipe()

    def connect_and_wait() -> bytes:
        with socket.create_connection((_addresses(listener)[0], port)):
            os.read(reading, 1)
        return b""

    found: list[int | None] = []

    def accept() -> None:
        with listener.accept()[0] as accepted:
            found.append(_uid(accepted, find))
        os.write(writing, b"x")

    accepting = threading.Thread(target=accept)
    accepting.start()
    as_user(NOBODY, connect_and_wait)
    accepting.join(10)
    assert found == [NOBODY]


def test_a_client_that_is_gone_is_nobody(listener: socket.socket, find: Finder) -> None:
    """Its socket is still known, with uid 0."""
    client = socket.create_connection((_addresses(listener)[0], listener.getsockname()[1]))
    accepted, _ = listener.accept()
    client.close()
    with accepted:
        assert _uid(accepted, find) is None


def test_a_client_that_is_gone_without_a_trace_is_nobody(
    listener: socket.socket, find: Finder
) -> None:
    client = socket.create_connection((_addresses(listener)[0], listener.getsockname()[1]))
    accepted, _ = listener.accept()
    with accepted:
        peer = peer_of(accepted)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert isinstance(peer, TcpPeer)
        assert peer.uid(find) is None


def test_a_listener_on_the_clients_port_is_not_the_client(find: Finder) -> None:
    """The kernel falls back to a listening socket where there is no connection."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        end = Endpoint.of(other.getsockname())
        assert end is not None
        assert TcpPeer(end, Endpoint(end.address, 1), lambda: True).uid(find) is None


def test_where_the_kernel_cannot_be_asked_its_tables_are_read(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockdiag, "works", lambda: False)
    port = listener.getsockname()[1]
    address = _addresses(listener)[0]
    with socket.create_connection((address, port)), listener.accept()[0] as accepted:
        assert peer_of(accepted).uid() == os.geteuid()


def test_the_other_end_of_a_unix_socket() -> None:
    here, there = socket.socketpair()
    with here, there:
        assert peer_of(here) == UnixPeer(os.geteuid())


def test_a_socket_without_other_end() -> None:
    with socket.socket() as lonely:
        assert peer_of(lonely) == UnknownPeer()
        assert peer_of(lonely).uid() is None


def _peer(remote: str = "127.0.0.1", local: str = "127.0.0.1") -> TcpPeer:
    ends = [Endpoint.of((remote, 40000)), Endpoint.of((local, 8765))]
    assert ends[0] is not None
    assert ends[1] is not None
    return TcpPeer(ends[0], ends[1], lambda: True)


def _tables(*tables: Path) -> Finder:
    return lambda local, remote: listed(local, remote, tables)


def _hex(address: str, port: int) -> str:
    packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


def _table(path: Path, *rows: tuple[str, str, str, int, int]) -> Path:
    lines = ["  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid"]
    for number, (local, remote, state, uid, inode) in enumerate(rows):
        lines.append(
            f"{number:4}: {local} {remote} {state} 00000000:00000000 00:00000000 00000000"
            f" {uid:5}        0 {inode} 1 0000000000000000 20 4 30 10 -1"
        )
    path.write_text("\n".join(lines) + "\n")
    return path


CLIENT, SERVER = _hex("127.0.0.1", 40000), _hex("127.0.0.1", 8765)
MAPPED = _hex("::ffff:127.0.0.1", 40000), _hex("::ffff:127.0.0.1", 8765)
ESTABLISHED, FIN_WAIT, TIME_WAIT = "01", "05", "06"


def test_only_the_clients_own_end_counts(tmp_path: Path) -> None:
    table = _table(
        tmp_path / "tcp",
        (SERVER, CLIENT, ESTABLISHED, 0, 11),
        (_hex("127.0.0.1", 40001), SERVER, ESTABLISHED, 0, 12),
        (CLIENT, SERVER, ESTABLISHED, 1000, 13),
    )
    assert _peer().uid(_tables(table)) == 1000


def test_a_mapped_address_is_the_address(tmp_path: Path) -> None:
    empty = _table(tmp_path / "tcp")
    six = _table(tmp_path / "tcp6", (*MAPPED, ESTABLISHED, 1000, 13))
    assert _peer().uid(_tables(empty, six)) == 1000
    assert _peer("::ffff:127.0.0.1").uid(_tables(empty, six)) == 1000


@pytest.mark.parametrize(
    ("state", "uid", "inode"),
    [(FIN_WAIT, 0, 0), (TIME_WAIT, 0, 0), (ESTABLISHED, 0, 0), (FIN_WAIT, 1000, 13)],
)
def test_a_socket_without_owner_says_nothing(
    tmp_path: Path, state: str, uid: int, inode: int
) -> None:
    assert (
        _peer().uid(_tables(_table(tmp_path / "tcp", (CLIENT, SERVER, state, uid, inode)))) is None
    )


def _in_turn(*tables: Path) -> Finder:
    """Tables that read differently each time."""
    rest = list(tables)

    def find(local: Endpoint, remote: Endpoint) -> SocketOwner | None:
        table = rest.pop(0) if len(rest) > 1 else rest[0]
        return listed(local, remote, (table,))

    return find


def test_a_socket_that_is_closed_during_the_look_is_nobodys(tmp_path: Path) -> None:
    half = _table(tmp_path / "1", (CLIENT, SERVER, ESTABLISHED, 0, 13))
    closed = _table(tmp_path / "2", (CLIENT, SERVER, FIN_WAIT, 0, 0))
    assert _peer().uid(_in_turn(half, closed)) is None


def test_a_row_that_was_skipped_is_found_at_the_second_look(tmp_path: Path) -> None:
    empty = _table(tmp_path / "1")
    there = _table(tmp_path / "2", (CLIENT, SERVER, ESTABLISHED, 1000, 13))
    assert _peer().uid(_in_turn(empty, there)) == 1000


def test_another_machine_is_nobody(tmp_path: Path) -> None:
    remote = _hex("192.0.2.1", 40000)
    table = _table(tmp_path / "tcp", (remote, SERVER, ESTABLISHED, 0, 13))
    assert _peer("192.0.2.1").uid(_tables(table)) is None


def test_where_nothing_can_be_found_out_it_is_nobody() -> None:
    def out_of_descriptors(_local: Endpoint, _remote: Endpoint) -> SocketOwner | None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    assert _peer().uid(out_of_descriptors) is None


def test_no_ipv6_on_the_machine(tmp_path: Path) -> None:
    assert _peer().uid(_tables(tmp_path / "none")) is None
    assert [table.name for table in TABLES] == ["tcp", "tcp6"]
