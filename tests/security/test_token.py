"""The bearer token goes only to a program of root, of oneself, or of who is configured."""

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.cli.client import Client, NotRunning, RefusedByService, Untrusted
from reconciler.cli.terminal.failure import words_of
from reconciler.config import Address, Config, HttpConfig, ServiceConfig, TcpAddress, UnixAddress
from reconciler.daemon.requests import Resume
from tests.support.attacks import Attacks

NOBODY = 65534
TOKEN = "the-bearer-token-of-this-test"
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n%s\r\n{"pass": 1}'
KEEP, CLOSE = ANSWER % b"", ANSWER % b"Connection: close\r\n"

as_root = pytest.mark.usefixtures("needs_root")


@pytest.fixture
def needs_root() -> None:
    assert os.geteuid() == 0, "only root can become another user"


class Impostor:
    """A program of a user that takes every request, answers it, and passes on what it got."""

    def __init__(self, uid: int, address: Address, answer: bytes = KEEP) -> None:
        self._reading, writing = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            try:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                _serve(address, answer, writing)
            finally:
                os._exit(0)
        os.close(writing)
        self.port = int(os.read(self._reading, 5))

    def end(self) -> bytes:
        """What it was sent."""
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        with os.fdopen(self._reading, "rb") as got:
            return got.read()


def _serve(address: Address, answer: bytes, writing: int) -> None:
    if isinstance(address, UnixAddress):
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(address.path))
        address.path.chmod(0o666)
    else:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listening = socket.socket(family)
        listening.bind((address.host, 0))
    listening.listen()
    port = 0 if isinstance(address, UnixAddress) else listening.getsockname()[1]
    os.write(writing, f"{port:05}".encode())
    while True:
        connection, _ = listening.accept()
        while got := connection.recv(65536):
            os.write(writing, got)
            connection.sendall(answer)
            if answer is CLOSE:
                break
        connection.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:  # short enough for a unix socket (unix(7))
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.fixture
def asked(folder: Path) -> Callable[..., tuple[Exception | int, bytes]]:
    """Ask a program of a user for something; how it went, and what that program got."""
    token = folder / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)

    def ask(
        uid: int, address: Address, answer: bytes = KEEP, allowed: tuple[str | int, ...] = (),
        owner: int = 0,
    ) -> tuple[Exception | int, bytes]:  # fmt: skip
        os.chown(token, owner, owner)
        impostor = Impostor(uid, address, answer)
        if isinstance(address, TcpAddress):
            address = TcpAddress(address.host, impostor.port)
        http = HttpConfig(listen=address, token_file=token, allowed_users=allowed)
        config = Config(service=ServiceConfig(state_dir=folder), http=http, environments={},
                        path=None)  # fmt: skip
        try:
            result: Exception | int = Client(config).ask("studio", Resume())
        except (Untrusted, NotRunning, RefusedByService) as error:
            result = error
        return result, impostor.end()

    return ask


def places(folder: Path) -> dict[str, Address]:
    return {
        "loopback": TcpAddress("127.0.0.1", 0),
        "IPv6": TcpAddress("::1", 0),
        "every address": TcpAddress("0.0.0.0", 0),
        "a unix socket": UnixAddress(folder / "socket"),
    }


@as_root
def test_no_other_user_gets_the_token(
    asked: Callable[..., tuple[Exception | int, bytes]], folder: Path, attacks: Attacks
) -> None:
    for place, address in places(folder).items():
        for kind, answer in {"keeps": KEEP, "closes": CLOSE}.items():
            (folder / "socket").unlink(missing_ok=True)
            result, got = asked(NOBODY, address, answer)
            attacks.tried(f"{place}, {kind}",
                          refused=isinstance(result, Untrusted) and TOKEN.encode() not in got,
                          found=(result, got))  # fmt: skip
            assert "token was not sent" in (words_of(result) or "")


@as_root
def test_who_may_have_the_token_gets_it(
    asked: Callable[..., tuple[Exception | int, bytes]], folder: Path
) -> None:
    for place, address in places(folder).items():
        for who in ({"uid": 0}, {"uid": NOBODY, "allowed": (NOBODY,)},
                    {"uid": NOBODY, "owner": NOBODY}):  # fmt: skip
            (folder / "socket").unlink(missing_ok=True)
            result, got = asked(**who, address=address)
            assert result == 1, (place, who, result)
            assert got.count(TOKEN.encode()) == 1
