"""The service may end in the middle of anything, gently or by kill -9: the live tree is whole."""

import signal
from pathlib import Path

import pytest

from tests.e2e.asking import in_sync_with
from tests.e2e.moments import (
    Moment,
    Stage,
    building,
    cloning,
    downloading,
    resolving,
    verifying,
)
from tests.support.environments import FileState, assert_whole, snapshot, strays, tree_fingerprint
from tests.support.index import PackageIndex
from tests.support.processes import wait_until
from tests.support.projects import Project
from tests.support.service import ServiceFactory, ServiceProcess
from tests.support.thorough import sample

MOMENTS = [resolving, downloading, building, verifying, cloning]
AT_MOST = 5.0
"""Seconds that the end may take."""


@pytest.fixture
def stage(small: PackageIndex, project: Project, service: ServiceFactory, tmp_path: Path) -> Stage:
    return Stage(project, small, tmp_path, service)


def live(venv: Path) -> dict[str, FileState]:
    return {path: state for path, state in tree_fingerprint(venv).items() if "ballast" not in path}


def leftovers(venv: Path) -> list[str]:
    """What an unfinished pass leaves behind in the workspace."""
    names = [path.name for path in (venv / ".reconciler").iterdir()]
    return [name for name in names if name.startswith(("work-", "stage-", "intent"))]


def unrecorded(venv: Path) -> set[str]:
    return {path for path in strays(venv) if "ballast" not in path}


def converges(process: ServiceProcess, venv: Path) -> None:
    process.start()
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]))
    assert_whole(venv)
    assert unrecorded(venv) == set()
    wait_until(lambda: leftovers(venv) == [], what="a workspace without leftovers")
    assert process.stop() == 0
    assert process.processes() == []


@pytest.mark.parametrize(
    ("number", "moment"),
    [*sample([(signal.SIGTERM, m) for m in MOMENTS], every=3), (signal.SIGINT, verifying)],
    ids=lambda it: getattr(it, "name", None) or it.__name__,
)
def test_a_signal_ends_it_within_five_seconds(
    number: signal.Signals, moment: Moment, stage: Stage
) -> None:
    process, mend = moment(stage)

    process.signal(number)
    code = process.wait(AT_MOST)

    assert code == 0
    assert process.processes() == [], "no uv, and nothing that uv started"
    assert live(stage.project.venv) == stage.before
    assert_whole(stage.project.venv)
    assert leftovers(stage.project.venv) == []
    names = [record["event"] for record in process.events()]
    assert names[-1] == "service.stopped"
    assert "worker.stuck" not in names
    assert process.noise() == []

    mend()
    converges(process, stage.project.venv)


@pytest.mark.parametrize("moment", sample(MOMENTS, every=4), ids=lambda moment: moment.__name__)
def test_kill_9_leaves_a_whole_tree_and_the_next_start_converges(
    moment: Moment, stage: Stage
) -> None:
    process, mend = moment(stage)
    running = process.environment()["current_pass"]["id"]

    process.signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: "uv" not in names_of(process.processes()), what="the end of uv")

    assert live(stage.project.venv) == stage.before
    assert_whole(stage.project.venv)
    process.kill()

    mend()
    process.start()
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]))
    assert_whole(stage.project.venv)
    assert unrecorded(stage.project.venv) == set()
    entry = process.client.get(f"/history/{running}").json()
    assert entry["result"] == "failed"
    assert "Interrupted" in entry["message"]
    assert leftovers(stage.project.venv) == []
    assert process.stop() == 0


def names_of(pids: list[int]) -> list[str]:
    found = []
    for pid in pids:
        try:
            found.append(Path(f"/proc/{pid}/comm").read_text().strip())
        except OSError:
            continue
    return found


def test_a_signal_while_nothing_happens_ends_it_at_once(
    running: ServiceProcess, project: Project
) -> None:
    before = live(project.venv)

    assert running.stop(AT_MOST) == 0

    assert running.processes() == []
    assert live(project.venv) == before
    assert snapshot(project.venv).keys() == {"alpha"}


def test_a_second_signal_does_not_disturb_the_end(stage: Stage) -> None:
    process, _ = downloading(stage)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.signal(number)

    assert process.wait(AT_MOST) == 0
    assert process.processes() == []
    assert_whole(stage.project.venv)


def test_readers_that_wait_are_let_go_at_the_end(running: ServiceProcess) -> None:
    with running.client.stream("GET", "/events") as stream:
        assert stream.status_code == 200

        assert running.stop(AT_MOST) == 0
