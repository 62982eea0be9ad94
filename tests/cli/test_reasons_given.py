"""`--reason` of every command that takes it arrives in the history, with a service or without."""

from collections.abc import Iterator, Sequence

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


def assert_told(studio: Studio, commands: Sequence[tuple[str, str]]) -> None:
    """Run the commands, then find in the history why."""
    for command, _ in commands:
        studio.ok(*command.split(), "--reason", why(command))

    passes = studio.json("history")["passes"]
    told = {p["reason_given"]: p for p in passes if p["reason_given"]}
    assert {reason: p["trigger"] for reason, p in told.items()} == {
        why(command): trigger for command, trigger in commands
    }
    assert {p["result"] for p in told.values()} <= {"changed", "unchanged"}
    table = studio.ok("history")
    assert [reason for reason in told if reason not in table] == []
    reason, last = next(iter(told.items()))
    number = str(last["id"])
    assert studio.json("history", number)["reason_given"] == reason
    assert f"Reason given: {reason}\n" in studio.ok("history", number)


def why(command: str) -> str:
    return f"because of {command}"


def test_without_a_service_the_history_says_why(applied: Studio) -> None:
    assert "Reason given" not in applied.ok("history"), "nobody has given one"
    assert_told(applied, DIRECT)


def test_with_a_service_the_history_says_why(served: Studio) -> None:
    assert_told(served, ASKING)


def test_a_pause_keeps_its_reason_and_shows_no_password(applied: Studio) -> None:
    applied.ok("pause", "--reason", "see https://me:hunter2secret@example.org/ticket")

    document = applied.json("history")

    assert "https://" in document["passes"][0]["reason_given"]
    assert "hunter2secret" not in str(document)
    refused = applied.run("apply")
    assert "hunter2secret" not in refused.stderr
    assert refused.returncode == 1
