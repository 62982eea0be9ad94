"""Counts what is tried: attacks, power cuts and the like; the sums are printed in the end."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

COUNTED = "counted"
"""A test's property of this name is [what, kind, number]; the sums are printed."""


class Attacks:
    """The attacks that one test tries."""

    def __init__(self) -> None:
        self.count = 0
        self.got_in: list[str] = []

    def tried(self, name: str, *, refused: object, found: object = "") -> None:
        """Note one attack.

        Args:
            name: What was tried, for the list of those that got in.
            refused: Whether it was refused, as any value that is true or false.
            found: What was seen instead.
        """
        self.count += 1
        if not refused:
            self.got_in.append(f"{name}: {found}" if found else name)


@pytest.fixture
def attacks(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Iterator[Attacks]:
    """Note attacks here; the test fails with all those that got in, or if none was tried."""
    noted = Attacks()
    yield noted
    record_property(
        COUNTED, ["attacks refused", request.path.stem.removeprefix("test_"), noted.count]
    )
    assert noted.got_in == []
    assert noted.count > 0, "no attack was tried"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how much was tried, of each kind, in the tests that passed."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for report in terminalreporter.getreports(""):  # passed set-ups and teardowns
        for name, value in report.user_properties if report.when == "teardown" else ():
            if name == COUNTED and report.passed:
                what, kind, number = value
                counts[what][kind] += number
    for what, of_kinds in sorted(counts.items()):
        kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(of_kinds.items()))
        terminalreporter.write_line(f"{what}: {of_kinds.total()} ({kinds})")
