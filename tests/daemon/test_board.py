"""The sentence that `systemctl status` shows."""

import pytest

from reconciler.daemon.board import in_one_sentence
from reconciler.status import (
    Condition,
    ConditionType,
    EnvironmentStatus,
    InterpreterStatus,
    Phase,
    Problem,
    ServiceStatus,
    Status,
)


def environment(name, phase=Phase.IN_SYNC, message="2 of 2 requirements satisfied, 0 held"):
    ready = Condition(
        type=ConditionType.READY,
        status="True" if phase is Phase.IN_SYNC else "False",
        reason=phase.value,
        message=message,
        last_transition_time="2026-01-01T12:00:00Z",
    )
    return EnvironmentStatus(
        name=name,
        pyproject="/srv/pyproject.toml",
        python=InterpreterStatus(executable="/srv/.venv/bin/python", version=None, platform=None),
        phase=phase,
        atomic=True,
        suspended=False,
        mode="apply",
        generation=0,
        conditions=(ready,),
    )


def sentence(*environments, problem=None):
    service = ServiceStatus(
        version="0", pid=1, started_at="2026-01-01T12:00:00Z", uv=None, config_problem=problem
    )
    return in_one_sentence(
        Status(generation=1, service=service, ready=True, environments=environments)
    )


def test_each_environment_is_told_with_its_reason():
    said = sentence(environment("studio"), environment("lab", Phase.FAILED, "uv is\nnot found."))

    assert said == (
        "studio: InSync (2 of 2 requirements satisfied, 0 held); lab: Failed (uv is not found.)"
    )


def test_of_many_environments_those_are_told_that_are_not_in_sync():
    many = [environment(f"lab{number}") for number in range(40)]
    many[30] = environment("lab30", Phase.DEGRADED, "foo could not be met")

    assert sentence(*many) == (
        "39 of 40 environments are in sync; lab30: Degraded (foo could not be met)"
    )


@pytest.mark.parametrize("count", [1, 200])
def test_it_stays_a_sentence_whatever_there_is_to_say(count):
    said = sentence(*(environment(f"lab{n}", Phase.FAILED, "no " * 999) for n in range(count)))

    assert len(said) < 3000
    assert "lab0: Failed (no no" in said
    assert count == 1 or said.endswith("192 more that are not in sync")


def test_a_rejected_configuration_comes_first():
    problem = Problem(file="/etc/r.toml", line=3, column=1, reason="unknown key", fix="")

    assert sentence(environment("studio"), problem=problem).startswith(
        "the configuration was rejected, the one before stays (/etc/r.toml: unknown key); studio:"
    )
