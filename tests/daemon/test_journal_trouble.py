"""A history that cannot be used: what is asked for is refused, nothing is lost, and it recovers."""

import asyncio
import shutil
import sqlite3

import pytest

from reconciler.daemon.actions import Refusal, RequestRefused
from reconciler.daemon.requests import Pause, Reconcile, Resume, Rollback
from reconciler.journal.history import Journal
from reconciler.status import Reason, Trigger
from reconciler.web.api.problems import refused_by_service
from tests.daemon.test_supervisor import config, folder, supervising, until
from tests.daemon.test_worker import stand
from tests.support.processes import wait_until
from tests.support.wheels import make_wheel

__all__ = ["folder", "stand"]  # fixtures


async def refused(asked) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        await asked
    assert refused_by_service(caught.value).status == 503
    assert caught.value.reason is Refusal.JOURNAL_FAILED
    return caught.value


def test_a_locked_history_refuses_with_its_reason_and_recovers_by_itself(folder):
    journal = folder / "state" / "journal.sqlite3"

    async def run():
        async with supervising(config(folder, "studio")) as supervisor:
            await until(lambda: supervisor.environment("studio").last_pass is not None)
            locking = sqlite3.connect(journal, isolation_level=None)
            locking.execute("BEGIN EXCLUSIVE")
            try:
                for asked in (Pause(reason="training"), Resume(), Reconcile()):
                    why = await refused(supervisor.request("studio", asked))
                    assert "locked" in str(why)
                    assert str(journal) in str(why)
                assert supervisor.environment("studio").suspension is None
                problem = supervisor.status().service.journal_problem
                assert "locked" in problem.reason
                ready, reason = supervisor.ready()
                assert not ready
                assert "locked" in reason
            finally:
                locking.execute("ROLLBACK")
                locking.close()

            await until(lambda: supervisor.status().service.journal_problem is None)
            assert supervisor.history("studio", 5, None)
            await supervisor.request("studio", Pause(reason="training"))

    asyncio.run(run())
    found = Journal(journal)
    assert found.state(str(folder / "studio" / ".venv")).suspension.reason == "training"
    found.close()


def test_a_state_folder_that_is_removed_is_made_again_or_refused(folder):
    state = folder / "state"

    async def run():
        async with supervising(config(folder, "studio")) as supervisor:
            await until(lambda: supervisor.environment("studio").last_pass is not None)
            await supervisor.request("studio", Pause(reason="training"))
            shutil.rmtree(state)
            state.write_text("in the way")
            for asked in (Resume(), Pause(), Rollback(), Reconcile()):
                with pytest.raises(RequestRefused) as caught:
                    await supervisor.request("studio", asked)
                assert caught.value.reason in (
                    Refusal.JOURNAL_FAILED, Refusal.UNKNOWN_GENERATION,
                ), asked  # fmt: skip
            with pytest.raises(RequestRefused):
                supervisor.history("studio", 5, None)
            with pytest.raises(RequestRefused):
                supervisor.history_entry(1)
            assert supervisor.environment("studio").suspension.reason == "training"
            state.unlink()
            await until(lambda: supervisor.status().service.journal_problem is None)
            assert supervisor.history_entry(1) is not None

    asyncio.run(run())
    found = Journal(state / "journal.sqlite3")
    assert found.state(str(folder / "studio" / ".venv")).suspension.reason == "training"
    assert found.entry(1) is not None
    found.close()


def test_the_end_of_a_pass_is_recorded_once_the_history_is_free(stand, project, index, wheelhouse):
    """It is live by then, and would be told as interrupted."""
    index.add(make_wheel(wheelhouse / "journal", "alpha", "1.0"))
    project.write(["alpha"])
    made = stand()
    stall = index.stall_downloads()
    made.worker.start(Trigger.START)
    locking = sqlite3.connect(made.journal.path, isolation_level=None)
    try:
        stall.wait_reached()
        locking.execute("BEGIN EXCLUSIVE")
        index.heal()
        wait_until(
            lambda: any(
                c.reason is Reason.JOURNAL_FAILED
                for row in made.shown[-1:]
                for c in row.conditions
                if c.type == "Ready"
            ),
            what="the status to say that it cannot be recorded",
        )
        locking.execute("ROLLBACK")
        wait_until(lambda: made.shown[-1].phase == "InSync", what="the pass to be recorded")
    finally:
        index.heal()
        locking.close()
        assert made.worker.stop(30)

    [row] = made.journal.history(made.worker.environment.key, 5)
    assert [change.name for change in row.changes] == ["alpha"]
