"""What a running service holds on to, and whether that grows."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Held:
    """What the process has open at one moment."""

    descriptors: int
    threads: int
    children: int

    @classmethod
    def by(cls, pid: int) -> Self:
        """Ask the kernel about a process."""
        tasks = [*Path(f"/proc/{pid}/task").iterdir()]
        children = 0
        for task in tasks:
            with suppress(FileNotFoundError):  # a thread that has just ended
                children += len((task / "children").read_text().split())
        return cls(len([*Path(f"/proc/{pid}/fd").iterdir()]), len(tasks), children)

    def within(self, other: Self) -> bool:
        """Whether nothing of it is more than in the other."""
        return all(getattr(self, f.name) <= getattr(other, f.name) for f in fields(self))


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of a process, in KiB."""

    resident: int
    anonymous: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """Ask the kernel about a process."""
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return cls(_kib(rollup, "Rss"), _kib(rollup, "Anonymous"))


def _kib(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None, text
    return int(found[1])


@dataclass(frozen=True, slots=True)
class Disk:
    """What is below a folder."""

    files: int
    kib: int

    @classmethod
    def below(cls, folder: Path) -> Self:
        """Count the files and their bytes; one with several names counts once."""
        found: dict[int, int] = {}
        for at, _, names in os.walk(folder):
            for name in names:
                try:
                    stat = os.lstat(f"{at}/{name}")
                except FileNotFoundError:  # a pass is at work
                    continue
                found[stat.st_ino] = stat.st_size
        return cls(len(found), sum(found.values()) // 1024)


def growth(values: Sequence[float]) -> float:
    """How much a series grows from its first to its last value, as a part of the first.

    Both are taken from the line of least squares, so that no single value decides.
    """
    count = len(values)
    middle, mean = (count - 1) / 2, sum(values) / count
    spread = sum((n - middle) ** 2 for n in range(count))
    slope = sum((n - middle) * (value - mean) for n, value in enumerate(values)) / spread
    return slope * (count - 1) / (mean - slope * middle)
