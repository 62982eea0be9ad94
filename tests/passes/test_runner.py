"""What is remembered of a pass after the next one."""

from pathlib import Path

import pytest

from reconciler.environment.environment import Environment
from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal
from reconciler.passes.reconcile import reconcile
from reconciler.passes.runner import PassRunner, Recorded
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import Result
from reconciler.trees import generations
from tests.support.environments import install, snapshot
from tests.support.passes import Follower, environment_for


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


def run(environment: Environment, journal: Journal) -> Recorded:
    def work(running: Pass):
        return reconcile(running, audit=True)

    recorder = PassRunner(
        environment, journal, HoldMonitor(environment),
        clock=lambda: 1000.0, jitter=lambda _, top: top,
    )  # fmt: skip
    return recorder.run(
        work, trigger="manual", pass_id=None, cancel=Cancellation(), listener=Follower()
    )


@pytest.fixture
def held(project, venv, universe, gpu_wheels) -> Environment:
    install(venv, *gpu_wheels)
    return environment_for(project)


def backs(recorded: Recorded) -> dict[str, str | None]:
    return {entry.name: entry.chosen for entry in recorded.state.held_back}


def test_what_is_held_back_is_remembered_when_a_later_pass_changes_something_else(
    held, project, journal, venv
):
    project.write(["accelerate", "numpy<2"])
    assert backs(run(held, journal)) == {"accelerate": "0.9"}
    project.write(["accelerate", "numpy<2", "tqdm"])
    recorded = run(held, journal)
    assert recorded.detail.result is Result.CHANGED
    assert "tqdm" in snapshot(venv)
    assert backs(recorded) == {"accelerate": "0.9"}
    assert journal.state(held.key).held_back == recorded.state.held_back


def test_what_nobody_needs_any_more_is_held_back_no_more(held, project, journal, venv):
    project.write(["accelerate", "numpy<2"])
    run(held, journal)
    project.write(["accelerate<1", "numpy<2", "tqdm"])
    assert backs(run(held, journal)) == {}
    pruning = environment_for(project, prune=True)
    project.write(["numpy<2"])
    assert backs(run(pruning, journal)) == {}
    assert "accelerate" not in snapshot(venv)


def test_a_pass_without_changes_removes_the_trees_that_an_interrupted_one_left(
    project, venv, universe, journal
):
    for requirements in (["numpy<2"], ["numpy<2", "tqdm"]):
        project.write(requirements)
        run(environment_for(project), journal)
    environment = environment_for(project, keep_generations=1)
    assert len(generations.kept(environment.workspace)) == 2

    assert run(environment, journal).detail.result is Result.UNCHANGED

    assert [kept.number for kept in generations.kept(environment.workspace)] == [1]


def test_a_failure_is_tried_again_later_and_later_and_anew_for_each_revision(
    held, project, journal
):
    project.write(["gone-forever"])
    waits = [run(held, journal).state.retry_at - 1000.0 for _ in range(3)]
    assert waits == [5.0, 10.0, 20.0]
    project.write(["lost-forever"])
    assert run(held, journal).state.retry_at == 1005.0
    project.write(["numpy<2"])
    state = run(held, journal).state
    assert (state.retry_at, state.failures) == (None, 0)
