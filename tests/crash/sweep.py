"""Runs scenarios with faults at their changes, one point after another, and has each judged."""

import os
import random
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, Self

from tests.crash.faults import FAULTS
from tests.crash.forking import import_everything
from tests.crash.injector import Change, Injector, Run
from tests.crash.judge import Judge
from tests.crash.scenarios import SCENARIOS, Next, Scenario
from tests.crash.worlds import World

_PREPARES = re.compile(r"cache/|tmp/|state/.*-shm$|project/[.]venv/[.]reconciler/work-")
"""What nothing refers to yet, or not after a crash; a rename out of there counts."""
_MEMORY = Path("/dev/shm")
_SHOWN = 20_000
"""Characters of what the commands said."""
_INTERRUPTED = 130
_UNCHANGED = "The environment is unchanged"
_KILLED = ("kill-all", "kill-command")
_LIKE_ANOTHERS_FILE = ("EACCES",)
"""Looks as if a file cannot be linked since it is another user's: then there is no stage."""


class Point(NamedTuple):
    """One run: a fault at one change of a scenario."""

    scenario: str
    fault: str
    at: int

    def replay(self) -> str:
        """The command that runs exactly this point."""
        return (
            f"uv run python -m tests.crash --scenario {self.scenario} --fault {self.fault} "
            f"--at {self.at}"
        )


class Verdict(NamedTuple):
    """What was found.

    Attributes:
        hit: The change at which the fault happened; empty: the run had ended before.
        wrong: What is wrong, one sentence each; empty if all is well.
        said: What the commands printed, if something is wrong.
    """

    point: Point
    hit: str
    wrong: tuple[str, ...]
    said: str = ""


@dataclass(frozen=True)
class Stand:
    """A prepared world, with what an undisturbed run does in it."""

    world: World
    scenario: Scenario
    judge: Judge
    changes: tuple[Change, ...]

    @classmethod
    def prepare(cls, scenario: Scenario, world: World) -> "Stand":
        """Prepare a world, and run the scenario once without a fault.

        Raises:
            AssertionError: Something is wrong even so.
        """
        world.empty()
        outside, inside = dict(os.environ), world.environ()
        os.environ.clear()
        os.environ.update(inside)
        try:
            scenario.prepare(world)
        finally:
            os.environ.clear()
            os.environ.update(outside)
        world.save(scenario.name)
        judge = Judge(world, scenario)
        assert judge.packages() == scenario.old, f"{scenario.name}: {judge.packages()}"
        world.restore(scenario.name)
        run = _injected(world, scenario)
        stand = cls(world, scenario, judge, tuple(run.changes))
        wrong = [
            *judge.after_fault(done=True, unchanged=False, helpless=False),
            *stand.next_start(done=True),
        ]
        judge.learn()
        wrong += judge.after_next_start()
        assert run.status == 0, f"{scenario.name}: {run.status}\n{world.said()}"
        assert not wrong, f"{scenario.name}: {wrong}\n{world.said()}"
        return stand

    def run(self, point: Point) -> Verdict:
        """Run one point and judge it."""
        world, scenario = self.world, self.scenario
        world.restore(scenario.name)
        run = _injected(world, scenario, point)
        done = run.status == 0 and scenario.until is None
        unchanged = run.status == _INTERRUPTED or (
            scenario.until is None and _UNCHANGED in world.said()
        )
        helpless = point.fault in _KILLED or FAULTS[point.fault].lasting
        wrong = ["it did not end"] if run.late else []
        without_stage = point.fault in _LIKE_ANOTHERS_FILE
        wrong += _seen(self.judge.after_fault(done=done, unchanged=unchanged, helpless=helpless))
        wrong += _seen(self.next_start(done=done))
        wrong += _seen(self.judge.after_next_start(without_stage=without_stage))
        hit = str(run.hit) if run.hit else ""
        return Verdict(point, hit, tuple(wrong), world.said()[-_SHOWN:] if wrong else "")

    def _status_of(self, step: Next) -> int:
        if self.scenario.exchanges:  # at once, without an injector
            return self.world.status_of(*step.command, until=step.until)
        return _injected(self.world, replace(self.scenario, command=step.command)).status

    def next_start(self, *, done: bool) -> Iterator[str]:
        """Do what comes next; yield what is wrong with it.

        Args:
            done: The command was answered, so what it did must hold.
        """
        for step in (*(self.scenario.stays if done else ()), *self.scenario.next):
            before = self.judge.packages()
            status = self._status_of(step)
            if step.fails is not None and step.fails != (status != 0):
                yield f"next: `{' '.join(step.command)}` ended with {status}"
            if step.fails is not False and self.judge.packages() != before:
                yield f"next: `{' '.join(step.command)}` changed what it must leave alone"


def _seen(sentences: Iterable[str]) -> Iterator[str]:
    """What is said; also that something is so broken that it cannot be looked at."""
    try:
        yield from sentences
    except (OSError, ValueError) as error:
        yield f"it cannot be looked at: {error!r}"


def _injected(world: World, scenario: Scenario, point: Point | None = None) -> Run:
    """Run the scenario's command; None: nothing goes wrong."""
    injector = Injector(
        world.root,
        None if point is None else FAULTS[point.fault],
        0 if point is None else point.at,
        until=world.until(scenario.until),
        exchanges=scenario.exchanges,
    )
    return injector.run(world.main(*scenario.command), world.environ(), world.log)


class Sweep:
    """Runs points in several processes.

    Args:
        jobs: How many at a time.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._folder = Path(tempfile.mkdtemp(prefix="crash-", dir=_place()))

    def close(self) -> None:
        """Remove all worlds."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        import_everything()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, points: Sequence[Point]) -> Iterator[Verdict]:
        """Run points; those of a scenario should follow each other."""
        if self._jobs == 1:
            yield from (_run(self._folder, point) for point in points)
            return
        with ProcessPoolExecutor(self._jobs, get_context("fork")) as pool:
            yield from pool.map(_run, [self._folder] * len(points), points)

    def changes(self, scenario: str) -> tuple[Change, ...]:
        """What a scenario does if nothing goes wrong, in this process."""
        return _stand(self._folder, scenario, os.getpid()).changes


def _place() -> Path | None:
    """Memory, if there is any: a real disk would be synced thousands of times."""
    return _MEMORY if os.access(_MEMORY, os.W_OK) else None


@cache
def _stand(folder: Path, scenario: str, owner: int) -> Stand:
    """A process's own world for a scenario."""
    return Stand.prepare(SCENARIOS[scenario], _world(folder, owner))


@cache
def _world(folder: Path, owner: int) -> World:
    return World.below(folder / str(owner))


def _run(folder: Path, point: Point) -> Verdict:
    return _stand(folder, point.scenario, os.getpid()).run(point)


def places(changes: Sequence[Change], *, critical: bool) -> list[int]:
    """The numbers of the changes, from 1 on, or of those that are not in a folder of the pass."""
    return [
        number
        for number, change in enumerate(changes, 1)
        if not critical or any(not _PREPARES.match(path) for path in change.paths)
    ]


def every_point(scenario: str, faults: Iterable[str], where: Sequence[int]) -> list[Point]:
    """Each fault at each change."""
    return [Point(scenario, fault, at) for fault in faults for at in where]


def spread(
    scenario: str, faults: Sequence[str], where: Sequence[int], points: int, chance: random.Random
) -> list[Point]:
    """Some points, evenly spread over the changes; each with another fault, if there are enough."""
    order = [fault for _ in range(points // len(faults) + 1) for fault in _shuffled(faults, chance)]
    chosen = (int((number + chance.random()) * len(where) / points) for number in range(points))
    return [Point(scenario, fault, where[n]) for fault, n in zip(order, chosen, strict=False)]


def _shuffled(faults: Sequence[str], chance: random.Random) -> list[str]:
    return chance.sample(faults, len(faults))


def kind_of(wrong: str) -> str:
    """A sentence without its names and numbers, so that equal faults can be counted."""
    return re.sub(r"[0-9]+", "#", wrong)
