"""Where the service listens: sockets that it opens, takes over, refuses and leaves behind."""

import socket
import stat
from pathlib import Path

import httpx
import pytest

from reconciler.config import HttpConfig, TcpAddress, UnixAddress
from reconciler.web.security.token import TokenUnusable, read_token
from reconciler.web.server.listen import (
    CannotListen,
    identity_of,
    open_sockets,
    refuse_strangers,
    remove_unix_socket,
)
from tests.web.hosting import Host, exchange

STATUS = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_localhost_is_both_families() -> None:
    with Host(HttpConfig(listen=TcpAddress("localhost", 0))) as host:
        assert len(host.server.addresses) == 2
        for address in ("127.0.0.1", "[::1]"):
            assert httpx.get(f"http://{address}:{host.port}/livez").status_code == 200
        listening = [one["address"] for one in host.records if one["event"] == "listening"]
        assert listening == [f"127.0.0.1:{host.port}", f"[::1]:{host.port}"]


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen) as caught:
            open_sockets(TcpAddress("127.0.0.1", port))
    assert f"127.0.0.1:{port}: Address already in use" in str(caught.value)
    assert "http.listen" in caught.value.fix


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(CannotListen, match="an address that this machine has"):
        open_sockets(TcpAddress("192.0.2.1", 0))


def test_a_unix_socket_is_private_and_goes_with_the_service(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with Host(HttpConfig(listen=UnixAddress(path))):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert exchange(path, STATUS).startswith(b"HTTP/1.1 200")
    assert not path.exists()


def test_a_socket_that_a_killed_service_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
    with Host(HttpConfig(listen=UnixAddress(path))):
        assert exchange(path, STATUS).startswith(b"HTTP/1.1 200")


def test_a_service_that_answers_keeps_its_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with Host(HttpConfig(listen=UnixAddress(path))):
        with pytest.raises(CannotListen, match="Address already in use"):
            open_sockets(UnixAddress(path))
        assert exchange(path, STATUS).startswith(b"HTTP/1.1 200")


def test_the_next_services_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with Host(HttpConfig(listen=UnixAddress(path))):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    assert path.exists()


def test_a_file_in_the_way_stays(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.write_text("precious")
    with pytest.raises(CannotListen, match="the file at this path is not a socket"):
        open_sockets(UnixAddress(path))
    assert path.read_text() == "precious"


def test_no_folder_for_the_socket(tmp_path: Path) -> None:
    with pytest.raises(CannotListen, match="Create the folder"):
        open_sockets(UnixAddress(tmp_path / "none" / "socket"))


def test_sockets_of_systemd_are_taken_over_and_left(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    tcp = socket.create_server(("127.0.0.1", 0))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(path))
    unix.listen()
    with Host(sockets=[tcp, unix]) as host:
        assert exchange(host.port, STATUS).startswith(b"HTTP/1.1 200")
        assert exchange(path, STATUS).startswith(b"HTTP/1.1 200")
    assert path.exists(), "it is the manager's"


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_strangers_need_a_token(address: str, tmp_path: Path) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as opened:
        opened.bind((address, 0))
        opened.listen()
        with pytest.raises(CannotListen, match="no token_file"):
            refuse_strangers([opened])
        with pytest.raises(CannotListen), Host(sockets=[opened.dup()]):
            pass
        http = HttpConfig(token_file=tmp_path / "token")
        with Host(http, token="x" * 20, sockets=[opened.dup()]) as host:
            assert exchange(host.port, STATUS).startswith(b"HTTP/1.1 200")


def test_a_token_is_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("  s3cret-of-some-length \nand a remark\n")
    path.chmod(0o640)
    assert read_token(path) == "s3cret-of-some-length"


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        ("s3cret-of-some-length", 0o644, "other users may read or change it"),
        ("s3cret-of-some-length", 0o620, "other users may read or change it"),
        ("short", 0o600, "its first line is not a token"),
        ("", 0o600, "its first line is not a token"),
        ("two words are no token", 0o600, "its first line is not a token"),
        ("schlüssel-mit-umlauten", 0o600, "its first line is not a token"),
    ],
)
def test_a_token_that_is_none(tmp_path: Path, content: str, mode: int, reason: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(TokenUnusable, match=reason) as caught:
        read_token(path)
    assert str(path) in str(caught.value)
    assert not content or content not in str(caught.value)


def test_no_token_file(tmp_path: Path) -> None:
    with pytest.raises(TokenUnusable, match="No such file"):
        read_token(tmp_path / "none")


def test_a_socket_that_cannot_be_removed_does_not_make_the_end_a_failure(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as opened:
        folder = tmp_path / "run"
        folder.mkdir()
        opened.bind(str(folder / "socket"))
        identity = identity_of(folder / "socket")
        folder.rename(tmp_path / "away")
        folder.touch()

        remove_unix_socket(opened, identity)
    assert (tmp_path / "away" / "socket").exists()
