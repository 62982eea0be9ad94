"""Counts attacks: each is tried for real, all that got in are listed, the counts are printed."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

_PROPERTY = "attacks refused"
_COUNTED = (_PROPERTY, "faults survived")
"""The properties of tests that are added up; the second is that of tests/crash."""


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
    record_property(_PROPERTY, [request.path.stem.removeprefix("test_"), noted.count])
    assert noted.got_in == []
    assert noted.count > 0, "no attack was tried"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many attacks of each kind were refused, and how many faults were survived."""
    counts = {name: Counter[str]() for name in _COUNTED}
    for report in terminalreporter.getreports(""):  # passed set-ups and teardowns
        for name, value in report.user_properties if report.when == "teardown" else ():
            if name in counts and report.passed:
                kind, count = value
                counts[name][kind] += count
    for name, found in counts.items():
        if found:
            kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(found.items()))
            terminalreporter.write_line(f"{name}: {found.total()} ({kinds})")
