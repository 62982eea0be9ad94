"""What is known of an environment: whole changes, none lost, and the lasting part on disk."""

import threading

import pytest
from msgspec.structs import replace

from reconciler.daemon.knowledge import Knowledge
from reconciler.daemon.steady import SteadyTimes
from reconciler.journal.history import Journal
from reconciler.log.logger import configure, tapped
from reconciler.passes.endings import Trouble
from reconciler.status import EnvironmentStatus, Problem, Reason
from tests.support.passes import environment_for


class Stand:
    """The knowledge of one environment, what it has shown, and a time that the test sets."""

    def __init__(self, project, journal: Journal) -> None:
        self.environment = environment_for(project)
        self.journal = journal
        self.shown: list[EnvironmentStatus] = []
        self.now = 1_767_268_800.0
        self.knowledge = self.another()

    def another(self) -> Knowledge:
        def clock() -> float:
            return self.now

        times = SteadyTimes(clock, elapsed=clock)
        return Knowledge(self.environment, self.journal, self.shown.append, clock, times)


@pytest.fixture
def stand(project, tmp_path):
    journal = Journal(tmp_path / "journal.sqlite3")
    yield Stand(project, journal)
    journal.close()


def test_only_what_shows_is_published(stand: Stand) -> None:
    stand.knowledge.show()
    stand.knowledge.show()
    stand.knowledge.update(lambda known: replace(known, step="plan"))
    assert len(stand.shown) == 1, "the step shows only while a pass runs"
    stand.knowledge.update(lambda known: replace(known, atomic=False))
    assert [row.atomic for row in stand.shown] == [True, False]


def test_no_change_is_lost_whoever_makes_it(stand: Stand) -> None:
    def count() -> None:
        for _ in range(200):
            stand.knowledge.update(
                lambda known: replace(known, next_check_at=(known.next_check_at or 0) + 1)
            )

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert stand.knowledge.known.next_check_at == 800
    assert len(stand.shown) == 800, "nor is one shown twice"


def test_a_pause_ends_with_its_time(stand: Stand) -> None:
    stand.knowledge.pause("a training run", 60.0)
    assert stand.shown[-1].suspension.reason == "a training run"
    assert stand.shown[-1].suspension.until == "2026-01-01T12:01:00.000Z"

    stand.now += 59
    stand.knowledge.settle(None)
    assert stand.shown[-1].suspended
    stand.now += 1
    stand.knowledge.settle(None)
    assert not stand.shown[-1].suspended


def test_a_roll_back_ends_with_the_next_edit_and_the_pause_beneath_it_stays(stand: Stand) -> None:
    stand.knowledge.pause("a training run", None)
    stand.knowledge.roll_back(3, "revision-1", "beta broke it")
    assert stand.shown[-1].suspension.reason == "rolled back to generation 3: beta broke it"

    stand.knowledge.settle("revision-1")
    assert stand.shown[-1].suspension.revision == "revision-1"
    stand.knowledge.settle("revision-2")
    assert stand.shown[-1].suspension.reason == "a training run"
    stand.knowledge.resume("done")
    assert stand.shown[-1].suspension is None


def test_the_log_says_who_paused_and_resumed_and_why(stand: Stand) -> None:
    records: list = []
    configure()
    with tapped(records.append):
        stand.knowledge.pause("a run", 60.0)
        stand.knowledge.resume("it is over")
    assert [(it["event"], it["reason"]) for it in records] == [
        ("environment.paused", "a run"), ("environment.resumed", "it is over"),
    ]  # fmt: skip


def test_what_another_process_wrote_is_known_after_a_reload(stand: Stand) -> None:
    stand.knowledge.show()
    stand.another().pause("from the command line", None)
    assert stand.knowledge.known.state.suspension is None
    stand.knowledge.reload(lambda known: replace(known, atomic=False))
    assert stand.knowledge.known.state.suspension.reason == "from the command line"
    assert stand.knowledge.known.atomic is False


def test_who_inherits_goes_on_and_the_old_one_says_nothing_more(stand: Stand) -> None:
    stand.knowledge.pause("a run", None)
    stand.knowledge.update(lambda known: replace(known, atomic=False, step="plan"))
    heir = stand.another()
    heir.inherit(stand.knowledge)
    count = len(stand.shown)

    stand.knowledge.update(lambda known: replace(known, atomic=True))
    heir.show()

    assert len(stand.shown) == count, "all of it was shown already"
    assert heir.known.state.suspension.reason == "a run"
    assert (heir.known.atomic, heir.known.step) == (False, "")


def test_a_files_problem_is_logged_once_and_its_end_as_well(stand: Stand) -> None:
    problem = Problem(file="/srv/pyproject.toml", line=3, column=1, reason="no TOML", fix="Fix it")
    trouble = Trouble(Reason.BAD_FILE, "no TOML", problem)
    records: list = []
    configure()
    with tapped(records.append):
        for _ in range(2):
            stand.knowledge.update(lambda known: replace(known, trouble=trouble))
        stand.knowledge.update(lambda known: replace(known, trouble=trouble, atomic=False))
        stand.knowledge.update(lambda known: replace(known, trouble=None))
    assert [(it["event"], it["file"]) for it in records] == [
        ("file.problem", "/srv/pyproject.toml"), ("file.mended", "/srv/pyproject.toml"),
    ]  # fmt: skip
