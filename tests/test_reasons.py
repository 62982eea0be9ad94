"""Every reason that the program can give is in the documentation, and no other."""

import re
from pathlib import Path

import msgspec

from reconciler.daemon.actions import Refusal
from reconciler.status import Failure, Reason
from reconciler.web.api.problems import HttpReason

DOCS = Path(__file__).parents[1] / "docs"


def section(file: str, heading: str) -> str:
    """The text below a heading, up to the next one of any level."""
    text = (DOCS / file).read_text()
    return re.split(r"\n##", text.partition(f"\n{heading}\n")[2])[0]


def in_column(number: int, text: str) -> list[str]:
    """The words in backticks in one column of a table, counted from 1."""
    rows = [line for line in text.splitlines() if line.startswith("|") and "`" in line]
    return [word for row in rows for word in re.findall(r"`(\w+)`", row.split("|")[number])]


def test_troubleshooting_explains_each_reason_once():
    of_a_pass = section("troubleshooting.md", "## Reasons of a pass that did not end well")
    of_a_condition = section("troubleshooting.md", "## Reasons of a condition")

    explained = [*in_column(1, of_a_pass), *in_column(1, of_a_condition)]

    assert sorted(explained) == sorted(Reason)


def test_the_api_lists_every_reason_and_no_other():
    failures = re.findall(r"`(\w+)`", section("http.md", "### Reasons of failures"))
    conditions = in_column(2, section("http.md", "### Conditions"))

    assert {*failures, *conditions} == set(Reason)


def test_the_api_lists_every_refusal_and_no_other():
    listed = in_column(2, section("http.md", "## Errors"))

    assert sorted(listed) == sorted({*Refusal, *HttpReason})


def test_a_reason_of_a_newer_service_is_read_as_it_is():
    text = b'{"name":"numpy","requirement":"numpy>=2","reason":"QuotaExceeded","message":"no"}'

    failure = msgspec.json.decode(text, type=Failure)

    assert failure.reason == "QuotaExceeded"
    assert msgspec.json.encode(failure).startswith(text[:-1])
    assert "QuotaExceeded" not in set(Reason)
