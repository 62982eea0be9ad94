"""`--reason` of every command that takes it arrives in the history, with a service or without."""

from collections.abc import Iterator

import pytest

from tests.cli.conftest import Studio
from tests.cli.test_with_service import Running

# In this order: a roll-back needs an earlier tree, and is what `resume` ends at last.
DIRECT = (
    ("apply", "manual"),
    ("pause", "manual"),
    ("resume", "resume"),
    ("hold restore torch", "restore"),
    ("hold accept torch", "accept"),
    ("rollback", "rollback"),
)
ASKING = (("trigger", "manual"), *DIRECT[1:])


@pytest.fixture
def served(applied: Studio) -> Iterator[Studio]:
    running = Running(applied)
    yield applied
    running.end()


def assert_told(studio: Studio, command: str, trigger: str) -> None:
    why = f"because of {command}"

    studio.ok(*command.split(), "--reason", why)

    passes = studio.json("history")["passes"]
    found = [entry for entry in passes if entry["reason_given"] == why]
    assert [entry["trigger"] for entry in found] == [trigger], (command, passes)
    assert found[0]["result"] in ("changed", "unchanged")
    assert why in studio.ok("history")
    number = str(found[0]["id"])
    assert studio.json("history", number)["reason_given"] == why
    assert f"Reason given: {why}\n" in studio.ok("history", number)


def test_without_a_service_the_history_says_why(applied: Studio) -> None:
    assert "Reason given" not in applied.ok("history"), "nobody has given one"
    for command, trigger in DIRECT:
        assert_told(applied, command, trigger)


def test_with_a_service_the_history_says_why(served: Studio) -> None:
    for command, trigger in ASKING:
        assert_told(served, command, trigger)


def test_a_pause_keeps_its_reason_and_shows_no_password(applied: Studio) -> None:
    applied.ok("pause", "--reason", "see https://me:hunter2secret@example.org/ticket")

    document = applied.json("history")

    assert "https://" in document["passes"][0]["reason_given"]
    assert "hunter2secret" not in str(document)
    refused = applied.run("apply")
    assert "hunter2secret" not in refused.stderr
    assert refused.returncode == 1
