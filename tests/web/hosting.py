"""A real server on a loopback port or a unix socket, and plain ways to talk to it."""

import asyncio
import contextlib
import os
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Self

from reconciler.config import HttpConfig, TcpAddress
from reconciler.daemon.events import EventHub
from reconciler.log import logger as log
from reconciler.web.server.application import create_app
from reconciler.web.server.http_server import Server, make_server
from tests.support.processes import wait_until
from tests.web.steered import SteeredService

DEADLINE = 20
Serving = Callable[[], contextlib.AbstractAsyncContextManager[Any]]
"""Makes the service on the server's event loop, and ends it; by default one that tests steer."""


class Host:
    """The service behind its server, on an event loop of its own.

    Attributes:
        records: everything that was logged meanwhile.
    """

    def __init__(
        self,
        http: HttpConfig | None = None,
        *,
        token: str | None = None,
        heartbeat: float = 15.0,
        sockets: list[socket.socket] | None = None,
        hub: Callable[[], EventHub] = EventHub,
        service: Serving | None = None,
    ) -> None:
        self.http = http or HttpConfig(listen=TcpAddress("127.0.0.1", 0))
        self.records: list[log.Record] = []
        self.service: Any
        self.server: Server
        self._options = {"token": token, "heartbeat": heartbeat}
        self._sockets = sockets
        self._serving = service or (lambda: _steered(hub()))
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._main, name="server")

    def __enter__(self) -> Self:
        self._tap = log.tapped(self.records.append)
        self._tap.__enter__()
        self._thread.start()
        wait_until(lambda: self._failure or self._up)
        if self._failure is not None:
            self._tap.__exit__(None, None, None)
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._tap.__exit__(None, None, None)

    @property
    def _up(self) -> bool:
        return hasattr(self, "server") and self.server.started

    def stop(self) -> None:
        """End the server, as the service does."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self.server.stop)
            self._thread.join(DEADLINE)
        assert not self._thread.is_alive()

    @property
    def port(self) -> int:
        """Where it listens on TCP."""
        return int(self.server.addresses[0].rpartition(":")[2])

    def do(self, function: Callable[[], Any]) -> Any:
        """Call something on the service's loop."""

        async def call() -> Any:
            return function()

        return self.wait(call())

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run something on the service's loop, to its end."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(DEADLINE)

    def refusals(self, reason: str) -> list[log.Record]:
        """What was refused for this reason; waits until there is one."""

        def found() -> list[log.Record]:
            events = [one for one in self.records if one["event"] == "access.refused"]
            return [one for one in events if one["reason"] == reason]

        wait_until(found, timeout=DEADLINE, what=f"access.refused {reason}")
        return found()

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:  # noqa: BLE001  # handed over to the test
            self._failure = failure

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self._serving() as self.service:
            app = create_app(self.service, self.http, metrics=self.service.metrics, **self._options)
            self.server = make_server(app, self.http, self._sockets, self.service.metrics)
            await self.server.serve()


@contextlib.asynccontextmanager
async def _steered(hub: EventHub) -> AsyncIterator[SteeredService]:
    yield SteeredService(events=hub)


def exchange(port: int | Path, request: bytes) -> bytes:
    """Send bytes and return the one answer to them, or what came before the line was cut."""
    with connect(port) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(request)  # what is refused before it was all said has an answer too
        return read_answer(client)


def read_answer(client: socket.socket) -> bytes:
    """One answer, as long as its Content-Length says."""
    received = b""
    while not _whole(received):
        try:
            chunk = client.recv(65536)
        except ConnectionResetError:
            break
        if not chunk:
            break
        received += chunk
    return received


def _whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return bool(end) and length is not None and len(body) >= int(length[1])


def connect(port: int | Path) -> socket.socket:
    """A plain connection."""
    if isinstance(port, int):
        return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(DEADLINE)
    client.connect(str(port))
    return client


def read_all(client: socket.socket) -> bytes:
    """Everything until the other side closes or resets."""
    received = b""
    try:
        while chunk := client.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def as_user(uid: int, function: Callable[[], bytes]) -> bytes:
    """Call something in a process of another user, and return what it returns."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(writing, function())
        except BaseException as failure:  # noqa: BLE001  # the test sees it
            os.write(writing, f"{type(failure).__name__}: {failure}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        received = answers.read()
    os.waitpid(child, 0)
    return received
