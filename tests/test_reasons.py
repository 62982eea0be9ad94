"""Every reason that the program can give stands in the documentation, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.daemon.actions import Refusal
from reconciler.passes.outcome import Refused
from reconciler.passes.runner import Reason
from reconciler.uv.answers import UvError
from reconciler.web.api.problems import HttpReason

ROOT = Path(__file__).parents[1]
_WORD = re.compile(r"([A-Z][a-z]+){2,}")
_OF_A_PASS = (
    "passes/prove",
    "passes/gates",
    "passes/outcome",
    "passes/reconcile",
    "planning/counterfactual",
    "planning/planner",
    "passes/restore",
    "passes/rollback",
)
_OF_A_CONDITION = "daemon/view"
_ALL = "__all__"


def words_in(module: str) -> set[str]:
    """The CamelCase words that a module uses as values: its reasons."""
    tree = ast.parse((ROOT / "reconciler" / f"{module}.py").read_text())
    exported = {
        node
        for statement in tree.body
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == _ALL
        for node in ast.walk(statement)
    }
    return {
        node.value
        for node in ast.walk(tree)
        if node not in exported
        and isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _WORD.fullmatch(node.value)
    }


def below(kind: type) -> Iterator[type]:
    for child in kind.__subclasses__():
        yield child
        yield from below(child)


def reasons_of_a_pass() -> set[str]:
    found = {str(reason) for reason in Reason} | {UvError.reason}
    found |= {child.reason for child in (*below(UvError), *below(Refused))}
    return found.union(*(words_in(module) for module in _OF_A_PASS))


def reasons_of_a_condition() -> set[str]:
    return words_in(_OF_A_CONDITION) | {
        "Drifted",
        "Idle",
        "Intact",
        "Observing",
        "Paused",
        "Progressing",
        "Reconciling",
        "Starting",
    }


def section(file: str, heading: str) -> str:
    """The text below a heading, up to the next one."""
    text = (ROOT / "docs" / file).read_text()
    return text.partition(f"\n{heading}\n")[2].partition("\n## ")[0]


def in_first_column(text: str) -> set[str]:
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {word for cell in cells for word in re.findall(r"`(\w+)`", cell)}


def test_they_are_found():
    assert {"HeldBackTooFar", "InUse", "NotAsPlanned", "NoCopy"} <= reasons_of_a_pass()
    assert {"PackagesFailed", "HoldMismatch"} <= reasons_of_a_condition()


def test_troubleshooting_has_every_reason_of_a_pass():
    text = section("troubleshooting.md", "## Reasons of a pass that did not end well")

    assert in_first_column(text) == reasons_of_a_pass()


def test_troubleshooting_has_every_reason_of_a_condition():
    text = section("troubleshooting.md", "## Reasons of a condition")

    assert in_first_column(text) == reasons_of_a_condition() - reasons_of_a_pass()


def test_the_api_has_every_reason_of_a_pass():
    text = section("http.md", "## History").partition("### Reasons of failures")[2]

    assert set(re.findall(r"`(\w+)`", text)) >= reasons_of_a_pass()


@pytest.mark.parametrize("reason", [*Refusal, *HttpReason])
def test_the_api_has_every_reason_of_a_refusal(reason):
    assert f"`{reason}`" in (ROOT / "docs" / "http.md").read_text()
