"""The environment is recreated: its copies are still in the vault, and come back from there."""

import shutil

import pytest

from reconciler.config import Notify, Occasion
from reconciler.daemon.claim import Claim
from reconciler.daemon.turns import Turns
from reconciler.daemon.worker import Worker
from reconciler.environment.environment import Environment
from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal
from reconciler.passes.reconcile import reconcile
from reconciler.passes.runner import PassRunner
from reconciler.processes import Cancellation
from reconciler.status import EnvironmentStatus, Hold, Trigger
from tests.support.environments import delete, install, make_venv
from tests.support.passes import Follower, environment_for
from tests.support.processes import wait_until
from tests.support.torch import TORCH, gpu_stack


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite3")
    yield journal
    journal.close()


@pytest.fixture
def torch(tmp_path):
    return gpu_stack(tmp_path / "torch", files=3)


def holds(environment: Environment, journal: Journal) -> dict[str, Hold]:
    """The holds after a pass of a process that has just started."""
    recorded = PassRunner(environment, journal, HoldMonitor(environment)).run(
        lambda running: reconcile(running, audit=True),
        trigger="manual", pass_id=None, cancel=Cancellation(), listener=Follower(),
    )  # fmt: skip
    assert recorded.holds is not None, recorded.trouble
    return {hold.name: hold for hold in recorded.holds}


def test_it_happened_while_no_service_ran(project, venv, journal, torch):
    install(venv, *torch)
    project.write([])
    environment = environment_for(project)
    before = holds(environment, journal)
    assert before["torch"].intact
    assert before["torch"].vaulted

    shutil.rmtree(venv)
    make_venv(venv)
    for _ in range(2):  # it stays known
        gone = holds(environment_for(project), journal)
        assert gone.keys() == before.keys()
        assert not any(hold.intact for hold in gone.values())
        assert all(hold.vaulted for hold in gone.values())
        assert f"torch {TORCH} has been removed" in gone["torch"].message
        assert "hold restore torch" in gone["torch"].message
        assert "hold accept torch" in gone["torch"].message

    shutil.rmtree(project.directory / ".reconciler-vault")
    gone = holds(environment_for(project), journal)
    assert f"torch {TORCH} was held here and is gone" in gone["torch"].message
    assert "its copy is no longer in the vault" in gone["torch"].message
    assert holds(environment_for(project, hold=("other",)), journal) == {}

    shutil.rmtree(venv)
    make_venv(venv)
    install(venv, *torch)
    assert holds(environment_for(project), journal)["torch"].intact


def test_a_running_service_says_so_and_sends_a_notice(project, venv, journal, torch, tmp_path):
    install(venv, *torch)
    project.write(["torch"])
    notice = tmp_path / "notice"
    command = ("/bin/sh", "-c", f"cat > {notice}.new && mv {notice}.new {notice}")
    notify = Notify(on=(Occasion.HOLD_BROKEN,), command=command)
    environment = environment_for(project, notify=(notify,), interval=0.5)
    shown: list[EnvironmentStatus] = []
    worker = Worker(
        environment, journal, Claim(environment), shown.append, lambda *_: None, Turns(1)
    )
    worker.start(Trigger.START)
    try:
        wait_until(lambda: journal.state(environment.key).held, what="a hold that is remembered")
        delete(venv)
        make_venv(venv)
        wait_until(lambda: shown[-1].phase == "Degraded", what="a missed hold")
        wait_until(notice.exists, what="a notice")
    finally:
        assert worker.stop(30)
    assert "torch" in shown[-1].conditions[-1].message
    [row] = [package for package in shown[-1].packages if package.name == "torch"]
    assert row.status == "held-missing"
    assert f"{TORCH} has been removed" in row.message
    assert f"{TORCH} has been removed" in notice.read_text()
