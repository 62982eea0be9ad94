"""A journal that is removed or locked under a running process loses nothing in silence."""

import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from reconciler.journal.history import Journal, iso
from reconciler.journal.suspension import paused
from reconciler.status import PassDetail, Result

ENVIRONMENT = "/srv/studio/.venv"
OTHER = "/srv/other/.venv"
NOW = 1_750_000_000.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "journal.sqlite3"


@pytest.fixture
def journal(path):
    """With a pass, and a pause."""
    journal = Journal(path)
    record(journal)
    pause(journal, ENVIRONMENT, "training")
    yield journal
    journal.close()


def record(journal, environment=ENVIRONMENT):
    number = journal.begin(environment, "manual", time.time())
    started = iso(time.time())
    done = PassDetail(id=number, trigger="manual", result=Result.CHANGED, started_at=started)
    journal.finish(environment, done)
    return number


def pause(journal, environment, reason):
    journal.update_state(environment, lambda state: paused(state, reason, None, NOW), durable=True)


def found_by_the_next_start(path):
    journal = Journal(path)
    try:
        ids = sorted(row.id for row in journal.history_of([ENVIRONMENT, OTHER], 10))
        pauses = {
            environment: suspension.reason
            for environment in (ENVIRONMENT, OTHER)
            if (suspension := journal.state(environment).suspension)
        }
        return ids, pauses
    finally:
        journal.close()


def without_folder(path):
    shutil.rmtree(path.parent)


def without_file(path):
    path.unlink()


def without_wal(path):
    Path(f"{path}-wal").unlink()


def without_shm(path):
    Path(f"{path}-shm").unlink()


def renamed(path):
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("harm", [without_folder, without_file, without_wal, without_shm, renamed])
def test_what_was_removed_is_there_again_and_what_follows_is_kept(journal, path, harm):
    moved = []
    journal.when_moved(lambda: moved.append(True))
    running = journal.begin(ENVIRONMENT, "manual", NOW)
    harm(path)

    pause(journal, OTHER, "maintenance")
    last = record(journal)

    assert last == running + 1, "no number is used twice"
    assert journal.state(ENVIRONMENT).suspension.reason == "training"
    assert len(moved) == (harm not in (without_wal, without_shm))
    assert found_by_the_next_start(path) == (
        [1, last], {ENVIRONMENT: "training", OTHER: "maintenance"},
    )  # fmt: skip
    assert record(journal) == last + 1, "it goes on with the same file"


def test_what_another_process_wrote_to_the_new_file_counts(journal, path):
    without_folder(path)
    other = Journal(path)
    pause(other, ENVIRONMENT, "by hand")
    number = record(other, OTHER)

    record(journal)

    assert other.state(ENVIRONMENT).suspension.reason == "by hand"
    assert journal.state(ENVIRONMENT).suspension.reason == "by hand"
    assert journal.entry(number).result is Result.CHANGED
    other.close()
    ids, _ = found_by_the_next_start(path)
    assert ids == [1, 2]


def test_a_folder_that_cannot_be_made_again_is_an_error_until_it_can(journal, path):
    told = []
    journal.when_unavailable(told.append)
    without_folder(path)
    path.parent.write_text("in the way")

    for _ in range(2):
        with pytest.raises(sqlite3.Error, match=str(path)):
            pause(journal, OTHER, "maintenance")
    with pytest.raises(sqlite3.Error, match=str(path)):
        journal.history(ENVIRONMENT, 10)
    path.parent.unlink()

    assert [row.id for row in journal.history(ENVIRONMENT, 10)] == [1]
    assert [bool(error) for error in told] == [True, True, True, False]
    assert journal.state(OTHER).suspension is None, "it was refused"
    assert found_by_the_next_start(path) == ([1], {ENVIRONMENT: "training"})


def test_a_locked_journal_is_an_error_within_seconds_and_works_once_it_is_free(journal, path):
    told = []
    journal.when_unavailable(told.append)
    with sqlite3.connect(path, isolation_level=None) as locking:
        locking.execute("BEGIN EXCLUSIVE")
        took = []
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(sqlite3.Error, match="locked"):
                pause(journal, OTHER, "maintenance")
            took.append(time.monotonic() - began)
        assert journal.state(OTHER).suspension is None
        with pytest.raises(sqlite3.Error):
            journal.check()
        locking.execute("ROLLBACK")
    locking.close()

    journal.check()

    assert told[-1] is None
    assert took[0] < 20, "once, it waited for half a minute"
    assert sum(took[1:]) < took[0], "who asks next does not wait as long"
    pause(journal, OTHER, "maintenance")
    assert found_by_the_next_start(path)[1] == {ENVIRONMENT: "training", OTHER: "maintenance"}


def test_a_file_that_is_replaced_by_garbage_is_set_aside_and_costs_nothing(journal, path):
    without_folder(path)
    path.parent.mkdir()
    path.write_bytes(b"garbage" * 1000)

    assert record(journal) == 2

    assert journal.set_aside.read_bytes().startswith(b"garbage")
    assert found_by_the_next_start(path) == ([1, 2], {ENVIRONMENT: "training"})


def test_a_new_file_that_is_locked_gets_what_the_old_one_had_once_it_is_free(journal, path):
    without_folder(path)
    Journal(path).close()
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.Error):
            pause(journal, OTHER, "lost")
        other.execute("ROLLBACK")
    other.close()

    pause(journal, OTHER, "moving")

    ids, pauses = found_by_the_next_start(path)
    assert len(ids) == 1
    assert pauses == {ENVIRONMENT: "training", OTHER: "moving"}
