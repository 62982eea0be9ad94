"""How many passes run at once, and that everyone gets their turn."""

import math
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from reconciler.config import EnvironmentConfig
from reconciler.daemon.claim import Claim
from reconciler.daemon.turns import LAPSES_SECONDS, Turns
from reconciler.daemon.worker import Worker
from reconciler.environment.environment import Environment
from reconciler.journal.history import Journal
from reconciler.status import EnvironmentStatus, Phase, Reason, Trigger
from tests.support.environments import make_venv, snapshot
from tests.support.processes import wait_until
from tests.support.projects import Project
from tests.support.wheels import make_wheel

MANY = 6


def never() -> bool:
    return False


class Clock:
    """A time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_turns_come_in_order_and_one_that_ends_makes_room() -> None:
    turns = Turns(2, Clock())
    with turns.queue() as first, turns.queue() as second, ExitStack() as later:
        third = later.enter_context(turns.queue())
        with turns.queue() as fourth:
            assert not third.wait(0, never), "not before those who came first"
            assert [turn.wait(0, never) for turn in (first, second)] == [True, True]
            assert not third.wait(0, never)
            later.close()  # it gave up
            assert not fourth.wait(0, never)
            turns.most = 3
            assert fourth.wait(0, never)
        with turns.queue() as again:
            assert again.wait(0, never), "what has ended counts no more"


def test_one_that_is_always_edited_comes_after_everyone_who_waits() -> None:
    turns, came = Turns(1), []
    with turns.queue() as busy:
        assert busy.wait(0, never)
        with turns.queue() as other, turns.queue() as again:
            waiting = [
                threading.Thread(target=lambda t=turn, n=name: came.append((n, t.wait(30, never))))
                for name, turn in (("again", again), ("other", other))
            ]
            for thread in waiting:
                thread.start()
            turns._running.pop(busy)
            turns.look_again()
            waiting[1].join(30)
            assert came == [("other", True)]
            turns._running.pop(other)
            turns.look_again()
            waiting[0].join(30)
    assert came == [("other", True), ("again", True)]


def test_a_pass_that_takes_long_counts_no_more() -> None:
    clock = Clock()
    turns = Turns(1, clock)
    with turns.queue() as slow, turns.queue() as waiting:
        assert slow.wait(0, never)
        clock.now += LAPSES_SECONDS - 1
        assert not waiting.wait(0, never)
        clock.now += 1
        assert waiting.wait(0, never)


def test_the_end_of_a_worker_ends_its_wait() -> None:
    turns, ended, found = Turns(1), threading.Event(), []
    with turns.queue() as running, turns.queue() as waiting:
        assert running.wait(0, never)
        thread = threading.Thread(target=lambda: found.append(waiting.wait(math.inf, ended.is_set)))
        thread.start()
        ended.set()
        turns.look_again()
        thread.join(30)
    assert found == [False]


@pytest.fixture
def studios(tmp_path, index, wheelhouse) -> list[Project]:
    """Six projects that each lack one package."""
    index.add(make_wheel(wheelhouse / "turns", "alpha", "1.0"))
    projects = [Project(tmp_path / f"studio-{number}", index.url) for number in range(MANY)]
    for project in projects:
        project.write(["alpha"])
        make_venv(project.venv)
    return projects


def test_many_environments_wait_for_their_turn_say_so_and_all_converge(
    studios: list[Project], index, tmp_path
) -> None:
    journal, turns = Journal(tmp_path / "journal.sqlite3"), Turns(2)
    shown: dict[str, EnvironmentStatus] = {}
    at_once: list[int] = []

    def publish(row: EnvironmentStatus) -> None:
        shown[row.name] = row
        at_once.append(sum(it.current_pass is not None for it in list(shown.values())))

    workers = [_worker(project, journal, turns, publish) for project in studios]
    stall = index.stall_downloads()

    for worker in workers:
        worker.start(Trigger.START)
    try:
        stall.wait_reached()
        wait_until(lambda: len(_waiting(shown)) == MANY - 2, what="four of them to wait")
        said = next(c for c in _waiting(shown)[0].conditions if c.type == "Reconciling")
        index.heal()
        wait_until(
            lambda: all(row.phase is Phase.IN_SYNC for row in shown.values()),
            what="all of them in sync",
        )
    finally:
        index.heal()
        ended = [worker.stop(30) for worker in workers]
    journal.close()

    assert all(ended)
    assert (said.status, said.reason) == ("True", Reason.WAITS_FOR_TURN)
    assert "at most 2 passes run at once" in said.message
    assert all(snapshot(project.venv).keys() == {"alpha"} for project in studios)
    assert max(at_once) == 2, "two at once, and never more"


def _worker(
    project: Project,
    journal: Journal,
    turns: Turns,
    publish: Callable[[EnvironmentStatus], None],
) -> Worker:
    name = project.directory.name
    python = project.venv / "bin" / "python"
    config = EnvironmentConfig(name=name, pyproject=project.path, python=python)
    environment = Environment(config, dict(os.environ))
    return Worker(environment, journal, Claim(environment), publish, lambda *_: None, turns)


def _waiting(shown: dict[str, EnvironmentStatus]) -> list[EnvironmentStatus]:
    """Those that say so now."""
    return [
        row
        for row in list(shown.values())
        if row.phase is Phase.RECONCILING
        and any(c.reason is Reason.WAITS_FOR_TURN for c in row.conditions if c.type == "Ready")
    ]
