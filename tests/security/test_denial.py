"""What one user can do to keep others out, or the service waiting: each has a limit."""

import asyncio
import contextlib
import encodings.idna  # noqa: F401  # another user may not read where it is
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from reconciler.config import HttpConfig, Notify, Occasion, TcpAddress, UnixAddress
from reconciler.daemon.notifications import Undelivered, deliver
from reconciler.environment.usage import users_of
from reconciler.log import logger as log
from reconciler.processes import Cancellation
from reconciler.trees.workspace import Busy, Workspace
from reconciler.web.security import crowd
from tests.support.attacks import Attacks
from tests.support.logs import logging_restored
from tests.support.processes import wait_until
from tests.web.hosting import Host, as_user, connect, exchange, read_answer

NOBODY = 65534
PATIENCE = 20.0


@contextmanager
def _as_nobody(script: str) -> Iterator[int]:
    """A process of another user that nothing of ours has started, as long as this lasts."""
    started = subprocess.run(
        ["bash", "-c", f"({script}) >/dev/null 2>&1 & echo $!"],
        user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", text=True, check=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    pid = int(started.stdout)
    wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() != "bash\n")
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def prefix() -> Iterator[Path]:
    """An environment that every user can see, as far as it matters here."""
    with TemporaryDirectory(prefix="reconciler-test-") as folder:
        made = Path(folder).resolve() / ".venv"
        (made / "bin").mkdir(parents=True)
        made.parent.chmod(0o755)
        for name in ("python", "tool"):
            shutil.copy("/bin/sleep", made / "bin" / name)
        yield made


def test_a_stranger_who_calls_himself_a_job_puts_nothing_off(
    attacks: Attacks, prefix: Path
) -> None:
    claims = {
        "its interpreter": f"exec -a {prefix}/bin/python sleep 600",
        "its script": f"exec -a python tail -f {prefix}/bin/tool",
        "a folder": f"cd {prefix} && exec -a bin/python sleep 600",
        "a file in its memory": f"exec -a innocent {prefix}/bin/tool 600",
    }
    for name, words in claims.items():
        with _as_nobody(words):
            attacks.tried(name, refused=not users_of(prefix), found=users_of(prefix))


def test_the_owner_s_jobs_count_though_the_service_is_root_s(prefix: Path) -> None:
    os.chown(prefix, NOBODY, NOBODY)
    with _as_nobody(f"exec -a {prefix}/bin/python sleep 600") as job:
        assert [user.pid for user in users_of(prefix)] == [job]


def test_a_stranger_s_lock_has_a_limit_and_a_name(attacks: Attacks, prefix: Path) -> None:
    workspace = Workspace(prefix)
    workspace.create()
    lock = prefix / ".lock"
    lock.touch(0o644)
    with _as_nobody(f"exec 9<{lock}; flock 9; exec sleep 600") as stranger:
        started = time.monotonic()
        with (
            pytest.raises(Busy) as caught,
            workspace.uv_lock(Cancellation(), timeout=0.2),
        ):
            pass
    attacks.tried("uv's lock", refused=time.monotonic() - started < PATIENCE)
    assert f"{lock} is held by process {stranger} (sleep, uid {NOBODY})" in str(caught.value)


def _opened(port: int | Path, count: int) -> bytes:
    """How many of these connections were not refused, as another user sees it."""
    clients = [connect(port) for _ in range(count)]
    for client in clients:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    allowed = sum(b" 200 " in read_answer(client)[:20] for client in clients)
    for client in clients:
        client.close()
    return str(allowed).encode()


def test_no_user_takes_the_connections_of_the_others(attacks: Attacks, tmp_path: Path) -> None:
    """Each keeps as many open as it can get; then another one, and then root."""
    with TemporaryDirectory(prefix="reconciler-test-") as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "socket"
        for listen in (TcpAddress("127.0.0.1", 0), UnixAddress(path)):
            with Host(HttpConfig(listen=listen)) as host:
                place = path if isinstance(listen, UnixAddress) else host.port
                if place == path:
                    path.chmod(0o666)
                allowed = as_user(
                    NOBODY, lambda place=place: _opened(place, crowd.CONNECTIONS.each + 20)
                )
                attacks.tried(f"one user, {listen}", refused=int(allowed) <= crowd.CONNECTIONS.each,
                              found=allowed)  # fmt: skip
                assert as_user(NOBODY - 1, lambda place=place: _opened(place, 5)) == b"5"
                assert (
                    _opened(place, crowd.CONNECTIONS.each + 20)
                    == str(crowd.CONNECTIONS.each + 20).encode()
                )
                if place != path:
                    port = host.port
                    metrics = exchange(port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    assert (
                        b'reconciler_requests_refused_total{reason="TooManyConnections"} 20'
                        in metrics
                    )


def _following(port: int, count: int) -> bytes:
    """How many event streams this user gets at once."""
    clients = [connect(port) for _ in range(count)]
    for client in clients:
        client.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    allowed = sum(client.recv(12).endswith(b"200") for client in clients)
    for client in clients:
        client.close()
    return str(allowed).encode()


def test_no_user_takes_the_event_streams_of_the_others(attacks: Attacks) -> None:
    with Host() as host:
        port, room = host.port, crowd.STREAMS
        allowed = int(as_user(NOBODY, lambda: _following(port, room.each + 10)))
        attacks.tried("one user", refused=allowed == room.each, found=allowed)
        open_streams = host.service.events._subscriptions
        wait_until(lambda: not open_streams)
        assert int(_following(port, room.each + 10)) == room.each + 10, "root has no such limit"
        wait_until(lambda: not open_streams)
        assert int(as_user(NOBODY, lambda: _following(port, room.each))) == room.each, "they closed"

    full = crowd.Crowd(room)
    for stranger in range(1000, 1010):
        while full.enter(stranger):
            pass
    attacks.tried("several users", refused=full.enter(0), found="nothing is left for root")


def test_what_is_kept_for_the_service_and_for_root() -> None:
    room = crowd.CONNECTIONS
    full = crowd.Crowd()
    strangers = range(1000, 1100)
    for stranger in strangers:
        while full.enter(stranger):
            pass
    assert full._open.total() == room.most - room.kept
    assert [full.enter(0) for _ in range(room.kept)] == [True] * room.kept
    assert not full.enter(0)
    full.leave(0)
    assert full.enter(0)


def test_many_refusals_are_a_few_lines(attacks: Attacks) -> None:
    written: list[str] = []

    async def refuse() -> None:
        refusals = crowd.Refusals()
        for _ in range(1000):
            refusals.note("ForeignHost", lambda: written.append("access.refused"))
        with log.tapped(lambda record: written.append(record["event"])):
            refusals.sum_up()

    restoring = logging_restored()
    next(restoring)
    log.configure(stream=sys.stderr)
    asyncio.run(refuse())
    next(restoring, None)
    attacks.tried("1000 refusals", refused=len(written) == crowd.LOGGED + 1, found=len(written))
    assert written.count("access.refused-more") == 1


def _dripping(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        client.sendall(b"X: 1\r\n")
        time.sleep(0.05)


def _silent(client: socket.socket) -> None:
    while client.recv(1 << 16):
        pass


def _one_long_line(client: socket.socket) -> None:
    while True:
        client.sendall(b"H")
        time.sleep(0.05)


def _many_informations(client: socket.socket) -> None:
    while True:
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.05)


def _a_slow_handshake(client: socket.socket) -> None:
    client.sendall(b"\x16\x03\x03\x40\x00")
    while True:
        client.sendall(b"\x00")
        time.sleep(0.05)


@contextmanager
def _server(act: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does this to each client until it is gone."""

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                with client:
                    act(client)
                    client.recv(1)
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_webhook_s_limit_is_for_the_whole_request(attacks: Attacks) -> None:
    behaviours = (_dripping, _silent, _one_long_line, _many_informations, _a_slow_handshake)
    for act in behaviours:
        kind = "https" if act is _a_slow_handshake else "http"
        with _server(act) as port:
            hook = Notify(on=(Occasion.FAILED,), url=f"{kind}://127.0.0.1:{port}/", timeout=0.5)
            started = time.monotonic()
            with pytest.raises(Undelivered) as caught:
                deliver(hook, b"{}")
            took = time.monotonic() - started
            name = act.__name__.strip("_")
            attacks.tried(name, refused=took < 3,
                          found=f"{took:.1f} s, {caught.value}")  # fmt: skip


def test_a_name_that_is_looked_up_without_an_end_has_the_same_limit(
    attacks: Attacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look-up cannot be cut: its thread stays, and then connects to nothing."""
    answered = threading.Event()
    received: list[bytes] = []
    before = set(threading.enumerate())

    def wait(*_: object, **__: object) -> list[object]:
        answered.wait(PATIENCE)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", listener.getsockname())]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(socket, "getaddrinfo", wait)
        hook = Notify(on=(Occasion.FAILED,), url="http://slow.example/", timeout=0.3)
        started = time.monotonic()
        with pytest.raises(Undelivered, match="longer than"):
            deliver(hook, b"{}")
        took = time.monotonic() - started
        attacks.tried("a slow resolver", refused=took < 3, found=f"{took:.1f} s")
        answered.set()
        for thread in set(threading.enumerate()) - before:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        listener.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            client, _ = listener.accept()
            with client:
                received.append(client.recv(100))
    attacks.tried("a request after all", refused=not any(received), found=received)
