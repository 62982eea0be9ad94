"""When a worker looks again, at times that the test makes up."""

import time

import pytest

from reconciler.daemon.known import Known
from reconciler.daemon.schedule import due, next_check, waits_for_retry
from reconciler.daemon.steady import SteadyTimes
from reconciler.daemon.timetable import Timetable
from reconciler.journal.history import State
from reconciler.passes.endings import Trouble
from reconciler.status import Reason, Suspension, Trigger
from tests.support.passes import environment_for

NOW = 1000.0
SUSPENDED = Suspension(reason="a run", since="2026-01-01T12:00:00Z")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State(), 1600.0),
        (State(retry_at=1005.0), 1005.0),
        (State(retry_at=1700.0), 1600.0),
        (State(retry_at=999.5), 1000.2),  # it is overdue, but no pass follows another at once
        (State(retry_at=990.0), 1600.0),  # it was due when this pass began: it has had its turn
        (State(retry_at=1005.0, suspension=SUSPENDED), 1600.0),
        (State(suspension=SUSPENDED, suspended_until=1060.0), 1060.0),
    ],
)
def test_the_next_check_is_at_the_first_of_what_is_due(state: State, expected: float) -> None:
    assert next_check(state, 600.0, began=995.0, now=NOW) == expected


def test_what_is_due_names_the_pass(project) -> None:
    config = environment_for(project).config
    for state, at, trigger in (
        (State(), None, Trigger.INTERVAL),
        (State(), 1600.0, Trigger.INTERVAL),
        (State(retry_at=1005.0), 1005.0, Trigger.RETRY),
        (State(retry_at=1005.000_01), 1005.0, Trigger.RETRY),  # the same moment, measured twice
        (State(retry_at=1700.0), 1600.0, Trigger.INTERVAL),
    ):
        known = Known(config, state=state, next_check_at=at)
        assert due(known, NOW) == (at or NOW, trigger), state


def test_a_retry_is_always_a_retry_by_real_clocks(project) -> None:
    config = environment_for(project).config
    found = set()
    for _ in range(200):
        table, began = Timetable(SteadyTimes(), time.time), time.monotonic()
        state = State(retry_at=time.time() + 3.0)
        at = table.next_check(state, 3600.0, began)
        found.add(table.due(Known(config, state=state, next_check_at=at))[1])
    assert found == {Trigger.RETRY}


def test_only_a_failed_attempt_at_the_same_files_waits(project, venv) -> None:
    project.write([])
    environment = environment_for(project)
    snapshot = environment.look()
    failed = Trouble(Reason.FILE_SYSTEM, "the disk is slow")
    same = State(last_attempted_revision=snapshot.revision, retry_at=NOW + 5)
    known = Known(environment.config, state=same, trouble=failed)

    assert waits_for_retry(known, snapshot, NOW)
    assert not waits_for_retry(known, snapshot, NOW + 5)
    other = State(last_attempted_revision="another", retry_at=NOW + 5)
    assert not waits_for_retry(Known(environment.config, state=other), snapshot, NOW)
    busy = Trouble(Reason.BUSY, "another uv is running")
    assert not waits_for_retry(
        Known(environment.config, state=same, trouble=busy), snapshot, NOW
    ), "it never began"
