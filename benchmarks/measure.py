"""Two sides measured in turn, A B B A, so that what else the machine does falls on both."""

import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

Action = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the results: what was measured, beside what, and the bound it must keep."""

    what: str
    value: str
    target: str
    met: bool | None

    def __str__(self) -> str:
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        return f"| {self.what} | {self.value} | {self.target} | {verdict} |"


@dataclass
class Side:
    """The times of one side, in seconds."""

    name: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self, action: Action) -> None:
        """Time one run: by the clock, and in processor time with all its children."""
        started, used = time.perf_counter(), cpu_seconds()
        action()
        self.cpu.append(cpu_seconds() - used)
        self.wall.append(time.perf_counter() - started)

    def start(self, command: Sequence[str], folder: Path) -> None:
        """Time a program, from its start to its end."""
        quiet = subprocess.DEVNULL
        self.run(lambda: subprocess.run(command, cwd=folder, check=True, stdout=quiet))

    def add(self, seconds: float) -> None:
        """A time that was measured elsewhere."""
        self.wall.append(seconds)

    @property
    def median(self) -> float:
        """The median of the times by the clock."""
        return statistics.median(self.wall)

    @property
    def spent(self) -> float:
        """The median of the processor times, in milliseconds."""
        return statistics.median(self.cpu) * 1000


def cpu_seconds() -> float:
    """Processor time of this process and of all children that have ended."""
    spent = (getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def in_turn(rounds: int, one: Action, other: Action) -> None:
    """Run both as often, the order changing from round to round."""
    for number in range(rounds):
        for action in (one, other) if number % 2 == 0 else (other, one):
            action()


def ratio(what: str, ours: Side, theirs: Side, at_most: float | None) -> Row:
    """Ours beside theirs: the medians, and how they relate."""
    found = ours.median / theirs.median
    value = (
        f"{found:.2f} ({ours.name} {_shown(ours.median)}, {theirs.name} {_shown(theirs.median)}; "
        f"best of each {min(ours.wall) / min(theirs.wall):.2f}"
    )
    if ours.cpu and theirs.cpu:
        spent = statistics.median(ours.cpu) / statistics.median(theirs.cpu)
        value += f", processor time {spent:.2f}"
    target = "" if at_most is None else f"at most {at_most}"
    return Row(what, value + ")", target, None if at_most is None else found <= at_most)


def bound(what: str, found: float, unit: str, at_most: float) -> Row:
    """A number that must not be larger than a bound."""
    return Row(what, f"{found:.3g} {unit}", f"at most {at_most:g} {unit}", found <= at_most)


def _shown(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
