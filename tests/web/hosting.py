"""A real server on a loopback port or a unix socket, in front of a service that tests steer.

The service is an object of the tests' own: at this level only the protocol counts.
"""

import asyncio
import contextlib
import os
import re
import socket
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from reconciler import log
from reconciler.config import HttpConfig, TcpAddress
from reconciler.daemon.actions import Action, RequestRefused
from reconciler.daemon.events import EventHub
from reconciler.metrics import Metrics
from reconciler.status import (
    Change,
    Condition,
    ConditionType,
    Environment,
    Hold,
    Interpreter,
    Package,
    PackageStatus,
    Pass,
    PassDetail,
    Phase,
    Result,
    Service,
    Status,
)
from reconciler.web.app import create_app
from reconciler.web.server import Server, make_server
from tests.support.processes import wait_until

STARTED = "2026-01-01T12:00:00Z"
DEADLINE = 20


def environment(name: str = "studio", **fields: Any) -> Environment:
    """An environment with two held packages, one that is there and one that is missing."""
    known: dict[str, Any] = {
        "name": name,
        "pyproject": f"/srv/{name}/pyproject.toml",
        "python": Interpreter(executable="/venv/bin/python", version="3.11.7", platform="linux"),
        "phase": Phase.DRIFTED,
        "atomic": True,
        "suspended": False,
        "mode": "apply",
        "generation": 7,
        "next_check_at": "2026-01-01T12:10:00Z",
        "conditions": (
            Condition(
                type=ConditionType.READY,
                status="False",
                reason="Drifted",
                message="1 of 2 requirements satisfied",
                last_transition_time=STARTED,
            ),
        ),
        "packages": (
            row("torch", "==2.3.1+rocm5.7", "2.3.1+rocm5.7", PackageStatus.HELD),
            row("diffusers", ">=0.28.0", "0.35.1"),
            row("numpy", ">=1.24.0,<2.0", None, PackageStatus.MISSING),
        ),
        "holds": (
            Hold(name="torch", version="2.3.1+rocm5.7", intact=True),
            Hold(name="torchvision", version="0.18.1+rocm5.7", intact=True),
            Hold(name="pytorch-triton-rocm", version="2.3.1", intact=True, pinned_by="torch"),
        ),
    }
    return Environment(**{**known, **fields})


def row(
    name: str,
    required: str | None,
    installed: str | None,
    status: PackageStatus = PackageStatus.OK,
    **fields: Any,
) -> Package:
    """One line of the package table."""
    ok = status in {PackageStatus.OK, PackageStatus.HELD}
    return Package(
        name=name, required=required, installed=installed, status=status, ok=ok, **fields
    )


@dataclass
class SteeredService:
    """A `ServiceProtocol` whose passes end when a test says so, or at once.

    Attributes:
        asked: every request with what came with it.
        begin: what a pass changes; by default it installs numpy.
        hold_passes: whether passes wait for `release`.
    """

    environments: tuple[Environment, ...] = (environment(),)
    events: EventHub = field(default_factory=EventHub)
    metrics: Metrics = field(default_factory=Metrics)
    asked: list[tuple[str, Action, dict[str, Any]]] = field(default_factory=list)
    refuse: RequestRefused | None = None
    hold_passes: bool = False
    live: bool = True
    reason: str | None = None
    history_fails: bool = False

    def __post_init__(self) -> None:
        self.passes: dict[int, PassDetail] = {}
        self._over: dict[int, asyncio.Event] = {}
        self._changed = asyncio.Event()
        self._status = self._made(1)

    def _made(self, generation: int) -> Status:
        service = Service(version="0.1.0", pid=os.getpid(), started_at=STARTED, uv="0.13.9")
        return Status(
            generation=generation, service=service, ready=True, environments=self.environments
        )

    def publish(self, *environments: Environment) -> None:
        """Show other environments; on the loop."""
        self.environments = environments or self.environments
        self._status = self._made(self._status.generation + 1)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        self.events.publish("status", {"generation": self._status.generation})

    def status(self) -> Status:
        return self._status

    def environment(self, name: str) -> Environment:
        return next(row for row in self.environments if row.name == name)

    async def wait_for_status(self, since: int, timeout: float) -> Status:  # noqa: ASYNC109
        if self._status.generation <= since:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), timeout)
        return self._status

    async def request(self, environment: str, action: Action, **wanted: Any) -> int:
        if self.refuse is not None:
            raise self.refuse
        self.asked.append((environment, action, wanted))
        number = len(self.passes) + 12
        changes = (Change(name="numpy", action="install", to="1.26.4"),) if not self.passes else ()
        self.passes[number] = PassDetail(
            id=number,
            trigger="manual",
            result=None,
            started_at=STARTED,
            changes=changes,
            log="Resolved 34 packages",
        )
        self._over[number] = asyncio.Event()
        if self.hold_passes:
            self._show_running(environment, number)
        else:
            self.release(environment, number)
        return number

    def _show_running(self, name: str, number: int) -> None:
        running = Pass(id=number, trigger="manual", result=None, started_at=STARTED)
        self._change(name, current_pass=running, phase=Phase.RECONCILING)

    def _change(self, name: str, **changed: Any) -> None:
        self.publish(
            *(_with(one, **changed) if one.name == name else one for one in self.environments)
        )

    def release(self, name: str, number: int) -> None:
        """Let a pass come to its end; on the loop."""
        made = self.passes[number]
        result = Result.CHANGED if made.changes else Result.UNCHANGED
        done = PassDetail(**{**_fields(made), "result": result, "duration_seconds": 2.1})
        self.passes[number] = done
        self.metrics.observe_pass(name, done)
        found = self.environment(name)
        self._change(
            name,
            current_pass=None,
            last_pass=done,
            packages=tuple(
                row("numpy", one.required, "1.26.4") if one.name == "numpy" else one
                for one in found.packages
            ),
            phase=Phase.IN_SYNC,
            generation=found.generation + 1,
        )
        self._over[number].set()

    async def wait_for_pass(self, environment: str, pass_id: int) -> PassDetail:
        await self._over[pass_id].wait()
        return self.passes[pass_id]

    def history(self, environment: str | None, limit: int, before: int | None) -> list[Pass]:
        if self.history_fails:
            raise OSError("the disk is on fire: secret-path")
        found = [one for number, one in self.passes.items() if before is None or number < before]
        return sorted((one for one in found if one.result), key=lambda one: -one.id)[:limit]

    def history_entry(self, pass_id: int) -> PassDetail | None:
        found = self.passes.get(pass_id)
        return found if found is not None and found.result else None

    def alive(self) -> bool:
        return self.live

    def ready(self) -> tuple[bool, str]:
        return self.reason is None, self.reason or ""


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _with(struct: Environment, **changed: Any) -> Environment:
    return Environment(**{**_fields(struct), **changed})


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
    ) -> None:
        self.http = http or HttpConfig(listen=TcpAddress("127.0.0.1", 0))
        self.records: list[log.Record] = []
        self.service: SteeredService
        self.server: Server
        self._options = {"token": token, "heartbeat": heartbeat}
        self._sockets = sockets
        self._hub = hub
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
        self.service = SteeredService(events=self._hub())
        app = create_app(self.service, self.http, metrics=self.service.metrics, **self._options)
        self.server = make_server(app, self.http, self._sockets)
        await self.server.serve()


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
