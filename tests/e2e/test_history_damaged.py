"""A history that cannot be used costs no request, and the status says what is wrong."""

import sqlite3
from pathlib import Path

from tests.e2e.asking import ask, condition, in_sync_with, post
from tests.support.projects import Project
from tests.support.service import ServiceProcess
from tests.support.thorough import only

pytestmark = only


def journal_of(process: ServiceProcess) -> Path:
    return process.directory / "state" / "journal.sqlite3"


def test_a_history_that_is_destroyed_is_begun_anew_and_the_pause_stays(
    running: ServiceProcess, project: Project
) -> None:
    last = ask(running, "pause", reason="training")["id"]
    journal = journal_of(running)
    with sqlite3.connect(journal) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    journal.write_bytes(b"\xff" * journal.stat().st_size)

    entry = ask(running, "reconcile")

    assert entry["id"] > last
    document = running.wait_for(lambda status: status["service"]["journal_problem"])
    problem = document["service"]["journal_problem"]
    assert problem["file"] == str(journal)
    assert "set aside as journal.sqlite3.corrupt-" in problem["reason"]
    assert running.events("journal.corrupt")[0]["kept"].startswith(f"{journal}.corrupt-")
    assert running.environment()["suspension"]["reason"] == "training"
    assert running.client.get("/history").json()["passes"][0]["id"] == entry["id"]


def test_a_history_that_cannot_be_written_is_told_and_the_edit_is_not_lost(
    running: ServiceProcess, project: Project
) -> None:
    with sqlite3.connect(journal_of(running)) as connection:
        connection.execute("ALTER TABLE passes RENAME TO elsewhere")
    project.save(["alpha", "beta"])

    row = running.wait_for_environment(
        lambda row: condition(row, "Ready")["reason"] == "JournalFailed"
    )

    assert "cannot be written" in condition(row, "Ready")["message"]
    assert running.events("journal.failed")
    with sqlite3.connect(journal_of(running)) as connection:
        connection.execute("ALTER TABLE elsewhere RENAME TO passes")
    connection.close()
    running.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]))
    assert post(running, "reconcile")
