"""What a worker says is whole: nobody sees one half of it before the other."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from reconciler.daemon.claim import Claim
from reconciler.daemon.turns import Turns
from reconciler.daemon.worker import Worker
from reconciler.journal.history import Journal
from reconciler.status import EnvironmentStatus, Trigger
from tests.support.passes import environment_for
from tests.support.processes import wait_until
from tests.support.wheels import make_wheel


class Stand:
    """A worker of its own, with all that it publishes."""

    def __init__(self, project, folder, clock=time.time, **settings) -> None:
        environment = environment_for(project, interval=3600.0, **settings)
        self.journal = Journal(folder / "journal.sqlite3")
        self.shown: list[EnvironmentStatus] = []
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.worker = Worker(
            environment,
            self.journal,
            Claim(environment),
            self.shown.append,
            lambda kind, data: self.events.append((kind, data)),
            Turns(1),
            clock=clock,
        )

    def run_until(self, phase: str) -> EnvironmentStatus:
        """Start it, and end it once it has shown this phase after a pass."""
        self.worker.start(Trigger.START)
        return self.end_in(phase)

    def end_in(self, phase: str) -> EnvironmentStatus:
        """End it once it has shown this phase after a pass."""
        try:
            wait_until(lambda: self._ended_in(phase), what=f"phase {phase}")
        finally:
            assert self.worker.stop(30)
        return self._ended_in(phase)[0]

    def _ended_in(self, phase: str) -> list[EnvironmentStatus]:
        return [row for row in self.shown if row.phase == phase and row.last_pass is not None]


@pytest.fixture
def stand(project, venv, tmp_path):
    stands = []

    def make(**settings) -> Stand:
        stands.append(Stand(project, tmp_path, **settings))
        return stands[-1]

    yield make
    for each in stands:
        each.journal.close()


def test_a_failure_is_never_shown_without_the_time_of_its_retry(stand, project, index):
    project.write(["alpha"])
    index.down()
    failing = stand()

    failing.run_until("Failed")

    failed = [row for row in failing.shown if row.phase == "Failed"]
    assert failed, "a failure was shown"
    for row in failed:
        assert row.current_pass is None
        since = datetime.fromisoformat(row.last_pass.started_at)
        assert (datetime.fromisoformat(row.next_check_at) - since).total_seconds() < 60


def test_progress_is_told_by_the_plan_once_and_then_by_what_uv_does(
    stand, project, index, wheelhouse
):
    """With a hold, uv plans several times; what is to be installed is told once."""
    for name in ("alpha", "beta"):
        index.add(make_wheel(wheelhouse / "worker", name, "1.0"))
    project.write(["alpha", "beta"])
    working = stand(hold=("torch",))

    working.run_until("InSync")

    told = [data for kind, data in working.events if kind == "progress"]
    planned = [data for data in told if data["step"] == "planned"]
    assert sorted(data["package"] for data in planned) == ["alpha", "beta"]
    assert {(data["done"], data["total"]) for data in planned} == {(0, 2)}
    installed = [data for data in told if data["step"] == "installed"]
    assert sorted(data["package"] for data in installed) == ["alpha", "beta"]
    assert [(data["done"], data["total"]) for data in installed] == [(1, 2), (2, 2)]
    assert {(data["environment"], data["pass"]) for data in told} == {("studio", 1)}


def test_no_wait_depends_on_the_clock(stand, project, index, wheelhouse):
    """It is set back by a day while a retry and a pause are waited for."""
    index.add(make_wheel(wheelhouse / "steady", "alpha", "1.0"))
    project.write(["alpha"])
    index.down()
    set_by = [0.0]
    waiting = stand(clock=lambda: time.time() + set_by[0])
    waiting.worker.start(Trigger.START)
    wait_until(lambda: waiting._ended_in("Failed"), what="a failure")
    waiting.worker.knowledge.pause("a while", 4.0)
    began = time.monotonic()
    waiting.worker.inbox.wake(Trigger.INTERVAL)
    wait_until(lambda: waiting.shown[-1].phase == "Paused", what="a pause")
    wait_until(lambda: waiting.shown[-1].current_pass is None, what="the end of a pass")
    set_by[0] = -86400.0
    index.up()

    waiting.end_in("InSync")

    assert time.monotonic() - began > 4, "it was paused for so long"
    assert all(pass_.duration_seconds >= 0 for pass_ in waiting.journal.history(
        waiting.worker.environment.key, 10) if pass_.duration_seconds is not None)  # fmt: skip
