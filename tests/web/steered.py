"""A `ServiceProtocol` that tests steer: it knows no package, and its passes end when told to."""

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass, field
from typing import Any

from reconciler.daemon.actions import RequestRefused
from reconciler.daemon.events import EventHub
from reconciler.daemon.metrics import Metrics
from reconciler.daemon.requests import Request
from reconciler.journal.history import iso
from reconciler.status import (
    Change,
    Condition,
    ConditionType,
    EnvironmentStatus,
    Hold,
    InterpreterStatus,
    Package,
    PackageStatus,
    PassDetail,
    PassStatus,
    Phase,
    Result,
    ServiceStatus,
    Status,
)

STARTED = "2026-01-01T12:00:00Z"


def environment(name: str = "studio", **fields: Any) -> EnvironmentStatus:
    """An environment with two held packages, one that is there and one that is missing."""
    known: dict[str, Any] = {
        "name": name,
        "pyproject": f"/srv/{name}/pyproject.toml",
        "python": InterpreterStatus(
            executable="/venv/bin/python", version="3.11.7", platform="linux"
        ),
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
    return EnvironmentStatus(**{**known, **fields})


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
        asked: every request, and about which environment.
        begin: what a pass changes; by default it installs numpy.
        hold_passes: whether passes wait for `release`.
    """

    environments: tuple[EnvironmentStatus, ...] = (environment(),)
    events: EventHub = field(default_factory=EventHub)
    metrics: Metrics = field(default_factory=Metrics)
    asked: list[tuple[str, Request]] = field(default_factory=list)
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
        service = ServiceStatus(version="0.1.0", pid=os.getpid(), started_at=STARTED, uv="0.13.9")
        return Status(
            generation=generation, service=service, ready=True, environments=self.environments
        )

    def publish(self, *environments: EnvironmentStatus) -> None:
        """Show other environments; on the loop."""
        self.environments = environments or self.environments
        self._status = self._made(self._status.generation + 1)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        self.events.publish("status", {"generation": self._status.generation})

    def status(self) -> Status:
        return self._status

    def environment(self, name: str) -> EnvironmentStatus:
        return next(row for row in self.environments if row.name == name)

    async def wait_for_status(self, since: int, timeout: float) -> Status:  # noqa: ASYNC109
        if self._status.generation <= since:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), timeout)
        return self._status

    async def request(self, environment: str, asked: Request) -> int:
        if self.refuse is not None:
            raise self.refuse
        self.asked.append((environment, asked))
        number = len(self.passes) + 12
        changes = (Change(name="numpy", action="install", to="1.26.4"),) if not self.passes else ()
        self.passes[number] = PassDetail(
            id=number,
            trigger="manual",
            result=None,
            started_at=iso(time.time()),
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
        running = PassStatus(id=number, trigger="manual", result=None, started_at=STARTED)
        self._change(name, current_pass=running, phase=Phase.RECONCILING)

    def _change(self, name: str, **changed: Any) -> None:
        self.publish(
            *(_with(one, **changed) if one.name == name else one for one in self.environments)
        )

    def release(self, name: str, number: int) -> None:
        """Let a pass come to its end; on the loop."""
        made = self.passes[number]
        result = Result.CHANGED if made.changes else Result.UNCHANGED
        times = {"started_at": iso(time.time() - 2.1), "duration_seconds": 2.1}
        done = PassDetail(**{**_fields(made), **times, "result": result})
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

    def history(self, environment: str | None, limit: int, before: int | None) -> list[PassStatus]:
        if self.history_fails:
            raise OSError("the disk is on fire: on-fire/at-this-place")
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


def _with(struct: EnvironmentStatus, **changed: Any) -> EnvironmentStatus:
    return EnvironmentStatus(**{**_fields(struct), **changed})
