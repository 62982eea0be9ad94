"""Every event that the program can log is in the catalogue, and so in the documentation."""

import ast
import re
from pathlib import Path

import pytest

from reconciler.log.event_names import CATALOGUE, EVENT_NAMES, markdown

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "reconciler"
pytestmark = pytest.mark.xdist_group("source")  # one process reads the source

METHODS = {"debug", "info", "warning", "error", "critical", "exception", "log"}


def logging_calls(source):
    """The calls of a module's loggers: `log.info(...)`, `_LOG.warning(...)`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            owner = owner.func if isinstance(owner, ast.Call) else owner
            name = getattr(owner, "attr", getattr(owner, "id", ""))
            if node.func.attr in METHODS and name.strip("_").lower() in {
                "log",
                "logger",
                "get_logger",
            }:
                yield node


def names(call):
    """The event names that a call can log; None for what is no literal."""
    event = call.args[1 if call.func.attr == "log" else 0]
    choices = [event.body, event.orelse] if isinstance(event, ast.IfExp) else [event]
    return [choice.value if isinstance(choice, ast.Constant) else None for choice in choices]


@pytest.fixture(scope="module")
def logged():
    """Where each event is logged, and its name. (Not read while tests are collected.)"""
    return [
        (f"{path.relative_to(ROOT)}:{call.lineno}", name)
        for path in sorted(PACKAGE.rglob("*.py"))
        for call in logging_calls(path.read_text())
        for name in names(call)
    ]


def test_the_program_logs_something(logged):
    assert len(logged) > 10
    assert "library.message" in {name for _, name in logged}


def test_every_event_is_in_the_catalogue(logged):
    missing = [f"{where}: {name}" for where, name in logged if name not in EVENT_NAMES]

    assert missing == [], "add them to reconciler/log/event_names.py"


def test_names_that_are_not_literals_are_found():
    source = 'log.info(name)\nself._log.error("a.b" if x else y)\n_LOG.log(10, "c.d")'

    assert [names(call) for call in logging_calls(source)] == [[None], ["a.b", None], ["c.d"]]


def test_every_name_is_readable():
    form = re.compile(r"[a-z]+(-[a-z]+)*(\.[a-z]+(-[a-z]+)*)?")

    assert [name for name in sorted(EVENT_NAMES) if not form.fullmatch(name)] == []


def test_every_name_is_in_one_section_with_a_sentence():
    meanings = [(name, text) for names in CATALOGUE.values() for name, text in names.items()]

    assert len(meanings) == len(EVENT_NAMES)
    assert [name for name, text in meanings if not text.endswith(".")] == []


def test_the_documentation_is_up_to_date():
    documented = (ROOT / "docs/events.md").read_text()

    assert documented == markdown(), "run `python -m reconciler.log.event_names` in the repository"


def test_the_catalogue_promises_no_event_that_is_never_logged(logged):
    assert EVENT_NAMES - {name for _, name in logged} == set()
