"""Every fault is named with what to do, changes nothing, and is over without a restart.

All faults of single environments happen at once, each to its own environment of one service.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.asking import condition
from tests.e2e.fault_table import (
    OF_ONE_ENVIRONMENT,
    OF_THE_SERVICE,
    Fault,
    Place,
    SharedFault,
    World,
    mount_small,
    unmount,
    uv_program,
)
from tests.support.environments import FileState, snapshot, tree_fingerprint
from tests.support.index import PackageIndex
from tests.support.service import Json, ServiceProcess, Table
from tests.support.thorough import only
from tests.support.wheels import make_wheel

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

QUICK = {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "3"}
DEADLINE = 120.0
_POLL_SECONDS = 0.2
CALM = Fault("calm", lambda _: None, "", ())


@dataclass
class Course:
    """One fault in its world, from its beginning to the end of what it caused."""

    fault: Fault | SharedFault
    world: World
    live: dict[str, FileState]
    place: Place
    undo: contextlib.ExitStack
    wrong: list[str] = field(default_factory=list)
    seen: str = "nothing"
    began: float = field(default_factory=time.monotonic)
    undone: float | None = None
    over: bool = False

    def follow(self, row: Json) -> None:
        """Go on, as far as the status allows."""
        if self.undone is None and self.fault.may_miss and self._is_in_sync(row):
            self.seen = "missed"
            self.undo.close()
            self.undone = time.monotonic()
        elif self.undone is None and self._is_told(row):
            self._judge(row)
            self.undo.close()
            self.undone = time.monotonic()
        elif self.undone is not None and self._is_in_sync(row):
            self.over = True
            self.seen += f", recovered after {time.monotonic() - self.undone:.1f} s"
            held = [path for path in self.live if "torch" in path]
            after = tree_fingerprint(self.world.venv)
            if {path: after.get(path) for path in held} != {p: self.live[p] for p in held}:
                self.wrong.append("held files changed")

    def _is_told(self, row: Json) -> bool:
        if row["phase"] == "InSync" and self._is_in_sync(row):
            self.wrong.append("the fault was not noticed")
            return True
        ready = condition(row, "Ready")
        return row["phase"] in ("Failed", "Degraded") and ready["reason"] != "NotLooked"

    def _judge(self, row: Json) -> None:
        ready = condition(row, "Ready")
        self.seen = f"{row['phase']}, {ready['reason']}: {ready['message']}"
        if row["phase"] != "Failed":
            self.wrong.append(f"phase {row['phase']}")
        if ready["reason"] != self.fault.reason:
            self.wrong.append(f"not {self.fault.reason}")
        places = {
            "world": self.world.folder, "index": self.world.index.url, "uv": self.place.uv,
        }  # fmt: skip
        for word in (word.format_map(places) for word in self.fault.words):
            if word not in ready["message"]:
                self.wrong.append(f"no {word!r} in the message")
        if _without_loop(tree_fingerprint(self.world.venv)) != self.live:
            self.wrong.append("the live tree changed")

    def _is_in_sync(self, row: Json) -> bool:
        return (
            row["phase"] == "InSync"
            and row["current_pass"] is None
            and snapshot(self.world.venv).get("alpha") == self.world.wanted
        )

    def __str__(self) -> str:
        return f"{self.fault.name}: {self.seen}"


def _without_loop(tree: dict[str, FileState]) -> dict[str, FileState]:
    return {path: state for path, state in tree.items() if "loop-1.0" not in path}


class Faults:
    """A service of many worlds, and the faults in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        made = folder / "wheels"
        self.torch = make_wheel(made, "torch", "2.3.1+rocm5.7")
        self.alphas = [make_wheel(made, "alpha", version) for version in ("1.0", "2.0")]
        self.place = Place(folder / "uv", folder / "state")
        self.worlds: dict[str, World] = {}
        self.service: ServiceProcess | None = None
        self.ending = contextlib.ExitStack()

    def add(self, fault: Fault, index: PackageIndex) -> World:
        """A world for a fault: torch was installed by hand, and is on no index."""
        index.add(*self.alphas)
        world = World(self.folder / "worlds" / fault.name, index)
        world.disk.mkdir(parents=True)
        if fault.small:
            of_cache = fault.small.startswith("cache:")
            place = world.cache if of_cache else world.disk
            self.ending.callback(unmount, place)
            mount_small(place, fault.small.removeprefix("cache:"))
        self.ending.push(world.undo)
        world.begin(self.torch, self.alphas[0])
        self.worlds[fault.name] = world
        return world

    def start(self, faults: tuple[Fault, ...]) -> ServiceProcess:
        """Start the service, and wait until all is in sync."""
        self.place.uv.write_text(uv_program(self.folder / "worlds"))
        self.place.uv.chmod(0o755)
        self.ending.callback(unmount, self.place.state)
        mount_small(self.place.state, "size=4m")
        tables: dict[str, Table] = {}
        for fault in (*faults, CALM):
            world = self.worlds[fault.name]
            tables[fault.name] = {
                "pyproject": str(world.folder / "pyproject.toml"), "python": str(world.venv),
                "debounce": "50ms", "interval": "1h", **fault.keys,
            }  # fmt: skip
        settings: Table = {
            "state_dir": str(self.place.state), "uv": str(self.place.uv), "max_passes": 100,
        }  # fmt: skip
        process = ServiceProcess(self.folder / "service", tables, service=settings, env=QUICK)
        self.ending.callback(process.close)
        process.start()
        process.wait_for(
            lambda document: all(
                row["phase"] == "InSync" and row["current_pass"] is None
                for row in document["environments"]
            ),
            timeout=DEADLINE,
        )
        self.service = process
        return process

    def follow(self, courses: list[Course]) -> list[str]:
        """Edit, wait for the ends of all, and say what was wrong."""
        assert self.service is not None
        for course in courses:
            course.world.declare("1.0" if course.world.wanted == "2.0" else "2.0")
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline and not all(course.over for course in courses):
            rows = {row["name"]: row for row in self.service.status()["environments"]}
            for course in courses:
                if not course.over:
                    course.follow(rows[course.world.name])
                    _give_up(course, deadline, rows[course.world.name])
            time.sleep(_POLL_SECONDS)
        print(*courses, sep="\n")
        stuck = [course for course in courses if not course.over]
        for course in stuck:
            what = "never over" if course.undone else "never told"
            course.wrong.append(f"{what}: {rows[course.world.name]['conditions'][0]}")
            course.undo.close()
        return [f"{course}\n    {', '.join(course.wrong)}" for course in courses if course.wrong]


def _give_up(course: Course, deadline: float, row: Json) -> None:
    """Take a fault away that nobody has told in half of the time."""
    if course.undone is None and time.monotonic() > deadline - DEADLINE / 2:
        course.wrong.append(f"not told: {row['phase']}, {condition(row, 'Ready')['message']}")
        course.undo.close()
        course.undone = time.monotonic()


@pytest.fixture
def faults(tmp_path: Path) -> Iterator[Faults]:
    made = Faults(tmp_path)
    with made.ending:
        yield made


@pytest.mark.parametrize("all_of_them", [False, pytest.param(True, marks=only)])
def test_every_fault_is_told_changes_nothing_and_is_over_without_a_restart(
    faults: Faults,
    index: PackageIndex,
    make_index: Callable[..., PackageIndex],
    all_of_them: bool,
) -> None:
    rows = tuple(fault for fault in OF_ONE_ENVIRONMENT if all_of_them or not fault.thorough)
    for fault in (*rows, CALM):
        faults.add(fault, make_index() if fault.own_index else index)
    process = faults.start(rows)
    pid = process.pid

    courses = []
    for fault in rows:
        world = faults.worlds[fault.name]
        fault.happens(world)
        live = _without_loop(tree_fingerprint(world.venv))
        courses.append(Course(fault, world, live, faults.place, world.undo))
    wrong = faults.follow(courses)

    calm = faults.worlds[CALM.name]
    for shared in (row for row in OF_THE_SERVICE if all_of_them or not row.thorough):
        undo = faults.ending.enter_context(contextlib.ExitStack())
        shared.happens(faults.place, undo)
        live = tree_fingerprint(calm.venv)
        wrong += faults.follow([Course(shared, calm, live, faults.place, undo)])

    assert not wrong, "\n".join(wrong)
    assert process.pid == pid
    assert not process.events("pass.unexpected")
    assert not process.events("worker.failed")
