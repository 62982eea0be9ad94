"""The history outlives kills and damage; what must not be lost with it is taken over."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from reconciler.journal.database import Database, Newer
from reconciler.journal.history import MAX_AGE_SECONDS, MAX_PASSES, Journal, State, iso
from reconciler.journal.suspension import paused
from reconciler.status import Change, PassDetail, Result, Suspension

ENVIRONMENT = "/srv/studio/.venv"
NOW = 1_700_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


def record(journal: Journal, started: float | None = None, environment: str = ENVIRONMENT) -> int:
    started = time.time() if started is None else started
    number = journal.begin(environment, "manual", started)
    changes = (Change(name="numpy", action="install", to="1.26.4"),)
    journal.finish(
        environment,
        PassDetail(
            id=number, trigger="manual", result=Result.CHANGED, started_at=iso(started),
            changes=changes, log="uv said so\n" * 200,
        ),
    )  # fmt: skip
    return number


def filled(path: Path) -> Journal:
    journal = Journal(path)
    for _ in range(40):
        record(journal)
    journal.update_state(ENVIRONMENT, lambda state: paused(state, "training", None, NOW))
    return journal


def test_a_pass_is_found_again_whole(path):
    journal = Journal(path)
    number = record(journal)
    journal.close()

    found = Journal(path)

    assert found.entry(number).log.startswith("uv said so\n")
    [row] = found.history(ENVIRONMENT, 10)
    assert (row.id, row.changes[0].to) == (number, "1.26.4")
    assert not hasattr(row, "log")
    assert found.set_aside is None


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database at all, it only looks like a file\n" * 100)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwritten_in_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 20_000)


def without_its_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * 100)


HARM = [garbage, truncated, overwritten_in_the_middle, without_its_header]


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(path, harm):
    filled(path).close()
    harm(path)
    harmed = path.read_bytes()

    journal = Journal(path)

    assert journal.set_aside.read_bytes()[:4096] == harmed[:4096]
    assert journal.history(ENVIRONMENT, 10) == []
    number = record(journal)
    assert journal.entry(number).result is Result.CHANGED
    journal.close()
    assert Journal(path).set_aside is None


@pytest.mark.parametrize("harm", [truncated, overwritten_in_the_middle])
def test_a_pause_outlives_the_damage_and_numbers_go_on(path, harm):
    """Else a roll-back would be undone because the history was damaged."""
    filled(path).close()
    harm(path)

    journal = Journal(path)

    assert journal.state(ENVIRONMENT).suspension.reason == "training"
    assert record(journal) == 41


def test_damage_under_a_running_service_costs_the_history_and_no_pass(path):
    journal = filled(path)
    told = []
    journal.when_set_aside(told.append)
    number = journal.begin(ENVIRONMENT, "manual", NOW)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    path.write_bytes(b"\xff" * path.stat().st_size)

    journal.finish(
        ENVIRONMENT,
        PassDetail(id=number, trigger="manual", result=Result.CHANGED, started_at=iso(time.time())),
    )

    assert told == [journal.set_aside]
    assert [row.id for row in journal.history(ENVIRONMENT, 10)] == [number]
    assert record(journal) > number
    assert journal.state(ENVIRONMENT).suspension.reason == "training", "it knew that itself"


def test_a_row_that_cannot_be_read_hides_no_other(path):
    journal = Journal(path)
    numbers = [record(journal) for _ in range(3)]
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE passes SET detail = x'00ff' WHERE id = ?", (numbers[1],))
        connection.execute("INSERT INTO environments VALUES (?, x'00')", (ENVIRONMENT,))

    assert [row.id for row in journal.history(ENVIRONMENT, 10)] == numbers[::-1]
    assert journal.entry(numbers[1]).message.startswith("Unreadable")
    assert journal.state(ENVIRONMENT) == State()


def test_what_a_newer_version_wrote_is_left_alone(path):
    Journal(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(Newer, match=r"schema 99\). Use that version, or move the file away"):
        Journal(path)

    assert [p.name for p in path.parent.iterdir() if "corrupt" in p.name] == []


def test_old_passes_are_forgotten_by_count_and_by_age(path):
    journal = Journal(path)
    record(journal, time.time() - MAX_AGE_SECONDS - 60, "/srv/no-longer-looked-after")
    first = record(journal)
    for _ in range(MAX_PASSES):
        record(journal)

    rows = journal.history(ENVIRONMENT, 2 * MAX_PASSES)

    assert (len(rows), rows[-1].id) == (MAX_PASSES, first + 1)
    assert journal.history("/srv/no-longer-looked-after", 10) == []


_KILLED = """
import sys, time
from pathlib import Path
from reconciler.journal.history import Journal
journal = Journal(Path(sys.argv[1]))
print(journal.begin(sys.argv[2], "manual", time.time()), flush=True)
while True:
    journal.update_state(sys.argv[2], lambda state: state)
"""


def test_a_pass_that_was_killed_is_told_as_interrupted(path):
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, path, ENVIRONMENT], stdout=subprocess.PIPE, text=True
    ) as writer:
        number = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)

    journal = Journal(path)

    assert journal.set_aside is None
    assert journal.history(ENVIRONMENT, 10) == []
    running = journal.begin(ENVIRONMENT, "manual", NOW)
    assert journal.has_interrupted(ENVIRONMENT)
    assert journal.close_interrupted(ENVIRONMENT) == [number]
    assert journal.entry(number).result is Result.FAILED
    assert journal.entry(number).message.startswith("Interrupted")
    assert journal.entry(running).result is None
    assert not journal.has_interrupted(ENVIRONMENT)


def test_the_state_of_an_earlier_version_is_read(path):
    journal = Journal(path)
    earlier = {"suspension": {"reason": "r", "since": "s"}, "rolled_back_revision": "sha256:1"}
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO environments VALUES (?, ?)", (ENVIRONMENT, msgspec.json.encode(earlier))
        )

    assert journal.state(ENVIRONMENT).suspension == Suspension(reason="r", since="s")


def test_a_pause_is_written_through_to_the_disk_and_a_pass_is_not(tmp_path):
    """SQLite flushes its log at each commit only with `synchronous = FULL`, which is 2."""
    database = Database(tmp_path / "journal.sqlite3")

    def setting(connection):
        return connection.execute("PRAGMA synchronous").fetchone()[0]

    found = [database.write(setting, durable=durable) for durable in (False, True, False)]
    database.close()
    assert found == [1, 2, 1]
