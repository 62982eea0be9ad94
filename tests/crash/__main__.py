"""`python -m tests.crash`: sweeps, prints what failed with the command that replays it, counts."""

import argparse
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.crash.faults import FAULTS
from tests.crash.scenarios import SCENARIOS
from tests.crash.sweep import Point, Sweep, Verdict, every_point, kind_of, places, spread


def main() -> int:
    """Run what the arguments ask for; 1 if anything is wrong."""
    options = _options()
    seed = options.seed if options.seed is not None else random.randrange(2**32)
    if options.points:
        print(f"seed {seed}")
    tally = Tally(options.results, lines_shown=1000 if options.at else 12)
    with Sweep(options.jobs) as sweep:
        if options.list:
            return _list(options.scenario or SCENARIOS, sweep)
        points = [point for point in _points(options, sweep, seed) if point not in tally.done]
        for verdict in sweep.run(points):
            tally.add(verdict)
    tally.print()
    return 1 if tally.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="default: all")
    parser.add_argument("--fault", action="append", choices=FAULTS, help="default: all")
    parser.add_argument("--at", type=int, help="only at this change, counted from 1")
    parser.add_argument("--points", type=int, help="only so many in each scenario, evenly spread")
    parser.add_argument(
        "--critical", action="store_true", help="only changes outside the folder of the pass"
    )
    parser.add_argument("--seed", type=int, help="for --points")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="print the changes, and run nothing")
    parser.add_argument("--results", type=Path, help="a file to go on from, one line per point")
    return parser.parse_args()


def _list(scenarios: Iterable[str], sweep: Sweep) -> int:
    for scenario in scenarios:
        for number, change in enumerate(sweep.changes(scenario), 1):
            print(f"{scenario} {number} {change}")
    return 0


def _points(options: argparse.Namespace, sweep: Sweep, seed: int) -> Iterator[Point]:
    faults = options.fault or list(FAULTS)
    chance = random.Random(seed)
    for scenario in options.scenario or SCENARIOS:
        if options.at:
            yield from (Point(scenario, fault, options.at) for fault in faults)
            continue
        where = places(sweep.changes(scenario), critical=options.critical)
        if options.points:
            yield from spread(scenario, faults, where, options.points, chance)
        else:
            yield from every_point(scenario, faults, where)


class Tally:
    """Counts verdicts, and keeps them in a file if there is one."""

    def __init__(self, results: Path | None, *, lines_shown: int) -> None:
        self._results = results
        self._lines_shown = lines_shown
        self.done: set[Point] = set()
        self.failed: list[Verdict] = []
        self._tried: Counter[str] = Counter()
        self._missed = 0
        for line in self._lines():
            row = json.loads(line)
            point = Point(*row["point"])
            self.done.add(point)
            self._count(Verdict(point, row["hit"], tuple(row["wrong"]), row["said"]))

    def add(self, verdict: Verdict) -> None:
        """Count one, and show it if something is wrong."""
        self._count(verdict)
        if self._results is not None:
            with self._results.open("a") as file:
                file.write(json.dumps(verdict._asdict()) + "\n")
        if verdict.wrong:
            print(f"\n{verdict.point.replay()}\n  at: {verdict.hit}")
            print(*(f"  {wrong}" for wrong in verdict.wrong), sep="\n")
            print(
                *(f"  | {line}" for line in verdict.said.splitlines()[-self._lines_shown :]),
                sep="\n",
                flush=True,
            )

    def print(self) -> None:
        """Print the counts, and each kind of failure with one point that shows it."""
        for wrong, (count, point) in _kinds(self.failed).items():
            print(f"{count} x {wrong}\n    {point.replay()}")
        tried = ", ".join(f"{name} {count}" for name, count in sorted(self._tried.items()))
        print(f"faults survived: {self._tried.total() - len(self.failed)} of "
              f"{self._tried.total()} ({tried}); {self._missed} came too late")  # fmt: skip

    def _lines(self) -> Iterable[str]:
        exists = self._results is not None and self._results.exists()
        return self._results.read_text().splitlines() if self._results and exists else ()

    def _count(self, verdict: Verdict) -> None:
        if verdict.hit:
            self._tried[verdict.point.scenario] += 1
        else:
            self._missed += 1
        if verdict.wrong:
            self.failed.append(verdict)


def _kinds(failed: Iterable[Verdict]) -> dict[str, tuple[int, Point]]:
    found: dict[str, tuple[int, Point]] = {}
    for verdict in failed:
        for wrong in {kind_of(wrong) for wrong in verdict.wrong}:
            count, point = found.get(wrong, (0, verdict.point))
            found[wrong] = (count + 1, point)
    return found


if __name__ == "__main__":
    sys.exit(main())
