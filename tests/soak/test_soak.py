"""The service under edits for a long time: nothing that it holds on to grows.

An ordinary run makes 20 edits, and looks at descriptors, threads, processes and files. From 200
edits on, memory is judged as well. A thousand, in the better part of an hour on two cores:

    RECONCILER_TEST_SOAK_EDITS=1000 uv run pytest -n 0 -s tests/soak

With the defaults, a day has 144 looks (`interval = "10m"`) and 24 audits (`audit_interval = "1h"`).
Here both come 600 times as often, once a second and once in six, in the same proportion; a thousand
edits end only after 144 looks that found nothing to do and 24 audits. Passes that are recorded are
forgotten after the latest 1,000, which a thousand edits exceed. A retry comes as in earnest: after
5 seconds at first, and at most 10 minutes.

Some memory fills up once, and belongs to the warm-up, the first fifth: 1,024 events and 64 passes
are remembered for clients, and SQLite keeps 2 MB of pages.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.soak.edits import Day, wheels
from tests.soak.gauges import Disk, Held, Memory, growth
from tests.support.attacks import COUNTED
from tests.support.environments import install
from tests.support.index import PackageIndex
from tests.support.processes import wait_until
from tests.support.projects import Project
from tests.support.service import ServiceFactory, ServiceProcess
from tests.support.torch import fake_torch
from tests.support.wheels import make_wheel

_EDITS = int(os.environ.get("RECONCILER_TEST_SOAK_EDITS", "20"))
_WARM_UP = max(10, _EDITS // 5)
_ENOUGH_FOR_MEMORY = 200
_MOST_GROWTH = 0.10
_DAY = {"interval": "1s", "audit_interval": "6s"}
_AUDIT_SECONDS = 6.0
_LOOKS, _AUDITS = 144 * _EDITS // 1000, 24 * _EDITS // 1000
_KEPT = 2
"""Generations that stay for a rollback."""
_MOST_KIB_OF_A_PASS = 16
_WAL_KIB = 5 * 1024
"""SQLite's own journal is written back every 1,000 pages of 4 KiB."""
_IDLE_THREADS_STAY = 12.0
_STEADY = 30
_POOL = min(32, (os.cpu_count() or 1) + 4)
"""The most threads of asyncio's pool, which are made when they are first needed, and then stay."""
_LINGERING = 3
"""Descriptors of watches that are just being given up: one each."""
_SHOWN_EVERY = 20


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    found = {name: tmp_path / name for name in ("temporary", "cache")}
    for folder in found.values():
        folder.mkdir(mode=0o700)
    return found


@pytest.fixture
def soaked(
    index: PackageIndex,
    project: Project,
    venv: Path,
    service: ServiceFactory,
    folders: dict[str, Path],
    tmp_path: Path,
) -> Iterator[ServiceProcess]:
    """A service with a held torch, in whose project a small package moves up and down."""
    index.add(*wheels(make_wheel, tmp_path / "wheels"))
    install(venv, fake_torch(tmp_path / "wheels"))
    project.write(["torch", "alder==1.0"])
    env = {"TMPDIR": str(folders["temporary"]), "UV_CACHE_DIR": str(folders["cache"])}
    process = service(env=env, keep_generations=_KEPT, on_hold_broken="restore", **_DAY)
    process.wait_for_phase("InSync")
    yield process


def test_nothing_that_the_service_holds_on_to_grows(
    soaked: ServiceProcess,
    project: Project,
    folders: dict[str, Path],
    record_property: Callable[[str, object], None],
) -> None:
    day, began, memory = Day(soaked, project), time.monotonic(), []
    places = {"ours": project.venv / ".reconciler", **folders}
    for number in range(_WARM_UP):
        day.edit(number)
    idle = _at_rest(soaked, day)
    before = {name: Disk.below(place) for name, place in places.items()}
    for number in range(_WARM_UP, _EDITS):
        day.edit(number)
        memory.append(Memory.of(soaked.pid))
        if number % _SHOWN_EVERY == 0:
            print(
                number, memory[-1], Held.by(soaked.pid), round(time.monotonic() - began), flush=True
            )
    wait_until(lambda: _looks(soaked) >= _LOOKS, timeout=_LOOKS + 60, what="a day of looks")
    wait_until(lambda: time.monotonic() - began > _AUDITS * _AUDIT_SECONDS, timeout=600)

    end = _at_rest(soaked, day)
    after = {name: Disk.below(place) for name, place in places.items()}
    state = Disk.below(soaked.directory / "state")
    grown = {kind: growth([getattr(m, kind) for m in memory]) for kind in ("resident", "anonymous")}
    print(f"{_EDITS} edits: {idle}, {end}, {memory[0]}, {memory[-1]}, {grown}, {state}")
    print(before, after)
    allowed = replace(idle, threads=idle.threads + _POOL, descriptors=idle.descriptors + _LINGERING)
    assert end.within(allowed), (idle, end)
    assert soaked.processes() == [soaked.pid]
    assert after["temporary"].files == 0
    assert after["ours"].files <= before["ours"].files * 1.1
    assert after["cache"].files <= before["cache"].files * 1.1
    assert state.kib <= _WAL_KIB + _passes(soaked) * _MOST_KIB_OF_A_PASS
    if _EDITS >= _ENOUGH_FOR_MEMORY:
        assert max(grown.values()) <= _MOST_GROWTH, grown
    record_property(COUNTED, ["edits soaked", "service", _EDITS])


def _at_rest(service: ServiceProcess, day: Day) -> Held:
    """What it holds on to once nothing is to be done.

    Threads of a pool are only let go by the next one who needs a thread, so every now and then the
    file is saved again; and only after 10 seconds.
    """
    until, seen = time.monotonic() + _IDLE_THREADS_STAY, []
    while time.monotonic() < until:
        time.sleep(_IDLE_THREADS_STAY / 4)
        day.save_again()
    wait_until(lambda: seen.append(Held.by(service.pid)) or _is_steady(seen), what="rest")
    return seen[-1]


def _is_steady(seen: list[Held]) -> bool:
    """Whether it was the same for more than a second, in which it has looked once."""
    return len(seen) >= _STEADY and len(set(seen[-_STEADY:])) == 1


def _looks(service: ServiceProcess) -> float:
    """The passes that found nothing to do."""
    text = service.client.get("/metrics").text
    wanted = 'reconciler_passes_total{environment="studio",result="unchanged"}'
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(wanted))


def _passes(service: ServiceProcess) -> int:
    """The passes in the history."""
    count, address = 0, "/history?limit=100"
    while address:
        page = service.client.get(address).json()
        count += len(page["passes"])
        address = page["next"]
    return count
