"""kill -9 at random moments of a pass: the environment is the old one or the new one."""

import random
from pathlib import Path

import pytest

from tests.support.environments import (
    FileState,
    assert_whole,
    install,
    snapshot,
    strays,
    tree_fingerprint,
)
from tests.support.index import PackageIndex
from tests.support.processes import wait_until
from tests.support.projects import Project
from tests.support.service import ServiceFactory, ServiceProcess
from tests.support.thorough import only
from tests.support.wheels import bulk_files, make_wheel

FILES = 600
"""In each of four packages, all of them different between the two versions."""
NAMES = ("alder", "birch", "cedar", "elm")
LONGEST_SECONDS = 1.2
"""A pass takes about a second here: the moments lie all over it, and a little beyond."""


@pytest.fixture
def forest(index: PackageIndex, wheelhouse: Path) -> PackageIndex:
    for name in NAMES:
        for version in ("1.0", "2.0"):
            index.add(
                make_wheel(
                    wheelhouse / "forest",
                    name,
                    version,
                    files={
                        f"{name}/__init__.py": f"__version__ = {version!r}\n",
                        **bulk_files(name, FILES, mark=version),
                    },
                    scripts={name: f"{name}:main"},
                    data={f"share/{name}/notes.txt": version.encode()},
                )
            )
    return index


@pytest.fixture
def running(
    forest: PackageIndex,
    project: Project,
    venv: Path,
    gpu_wheels: list[Path],
    service: ServiceFactory,
) -> ServiceProcess:
    install(venv, *gpu_wheels)
    project.write([f"{name}==1.0" for name in NAMES])
    process = service(interval="1h", keep_generations=1)
    process.wait_for_phase("InSync")
    return process


def held_files(venv: Path) -> dict[str, FileState]:
    return {p: s for n in ("torch", "torchvision") for p, s in tree_fingerprint(venv, n).items()}


def leftovers(venv: Path) -> list[str]:
    names = [path.name for path in (venv / ".reconciler").iterdir()]
    return [name for name in names if name.startswith(("work-", "stage-", "intent"))]


def trees(venv: Path) -> dict[str, str]:
    found = snapshot(venv)
    return {name: found.get(name, "missing") for name in NAMES}


@pytest.mark.parametrize("kills", [10, pytest.param(30, marks=only)])
def test_kills_leave_the_old_tree_or_the_new_one_and_every_start_converges(
    kills: int, running: ServiceProcess, project: Project, venv: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    torch = held_files(venv)
    live, killed_midway = "1.0", 0
    for number in range(kills):
        wanted = "2.0" if live == "1.0" else "1.0"
        wait_until(
            lambda: running.environment()["current_pass"] is None, what="the end of the last pass"
        )
        kill_on_the_way(running, project, wanted, moments.uniform(0, LONGEST_SECONDS))

        assert_whole(venv)
        found = trees(venv)
        old = found == dict.fromkeys(NAMES, live)
        new = found == dict.fromkeys(NAMES, wanted)
        assert old or new, f"kill {number} (seed {seed}): a mixture: {found}"
        assert held_files(venv) == torch
        killed_midway += old

        running.start()
        running.wait_for_environment(lambda row, wanted=wanted: in_sync(row, wanted))
        live = wanted
    assert killed_midway, "no kill hit a pass before its exchange"
    assert trees(venv) == dict.fromkeys(NAMES, live)
    assert_whole(venv)
    assert strays(venv) == set()
    wait_until(lambda: leftovers(venv) == [], what="a workspace without leftovers")
    assert held_files(venv) == torch


def kill_on_the_way(running: ServiceProcess, project: Project, wanted: str, seconds: float) -> None:
    """Save the file, and kill the service and all that it started some time after it began."""
    project.save([f"{name}=={wanted}" for name in NAMES])
    running.wait_for_environment(lambda row: row["phase"] == "Reconciling" or in_sync(row, wanted))
    # The moment of death is what this is about, and it is any: unless all is over before.
    wait_until_or(seconds, lambda: in_sync(running.environment(), wanted))
    running.kill()


def in_sync(row: dict, version: str) -> bool:
    versions = {p["name"]: p["installed"] for p in row["packages"]}
    return row["phase"] == "InSync" and all(versions.get(name) == version for name in NAMES)


def wait_until_or(seconds: float, condition) -> None:
    """Let some time pass, unless everything is over before."""
    try:
        wait_until(condition, timeout=seconds)
    except AssertionError:
        return
