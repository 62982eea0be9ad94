"""A rollback that is killed at its commit: the next start knows that it was rolled back."""

import os
import signal
from pathlib import Path

import pytest

from reconciler.environment.environment import Environment
from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal
from reconciler.journal.suspension import rolling_back
from reconciler.passes import rollback
from reconciler.passes.reconcile import observe, reconcile
from reconciler.passes.rollback import roll_back
from reconciler.passes.runner import PassRunner, Recorded, Work
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from tests.support.environments import snapshot
from tests.support.passes import Follower, environment_for
from tests.support.wheels import make_wheel


def run(environment: Environment, file: Path, work: Work) -> Recorded:
    journal = Journal(file)
    try:
        recorder = PassRunner(environment, journal, HoldMonitor(environment))
        return recorder.run(
            work, trigger="manual", pass_id=None, cancel=Cancellation(), listener=Follower()
        )
    finally:
        journal.close()


def look(running: Pass) -> rollback.Outcome:
    return reconcile(running, audit=False)


def observed(running: Pass) -> rollback.Outcome:
    return observe(running.look(audit=False))


def killed_rollback(environment: Environment, file: Path, *, after: bool) -> None:
    """Roll back in a child that is killed before or after its change is live."""
    child = os.fork()
    if child == 0:
        publish = rollback._publish

        def dying(*arguments: object) -> None:
            if after:
                publish(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)

        rollback._publish = dying
        journal = Journal(file)

        def begun(about_to: object) -> None:
            journal.update_state(environment.key, lambda s: rolling_back(s, about_to), durable=True)

        run(environment, file, lambda running: roll_back(running, None, "2.0 is bad", begun))
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)


@pytest.mark.parametrize("after", [True, False])
def test_a_rollback_killed_at_its_commit_is_kept_or_never_was(
    project, venv, index, tmp_path, after
):
    index.add(*(make_wheel(tmp_path, "thing", version) for version in ("1.0", "2.0")))
    environment, file = environment_for(project), tmp_path / "journal.sqlite3"
    for version in ("1.0", "2.0"):
        project.write([f"thing=={version}"])
        run(environment, file, look)

    killed_rollback(environment, file, after=after)

    state = run(environment_for(project), file, observed).state
    assert snapshot(venv)["thing"] == ("1.0" if after else "2.0")
    assert state.rolling_back is None
    if after:
        assert state.suspension is not None
        assert state.suspension.reason == "rolled back to generation 1: 2.0 is bad"
        assert state.rolled_back_revision == environment.saved_revision
    else:
        assert state.suspension is None
