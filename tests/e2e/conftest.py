"""A studio with a GPU build of torch, and small packages that cost nothing to install."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.environments import install
from tests.support.index import PackageIndex
from tests.support.processes import wait_until
from tests.support.projects import Project
from tests.support.service import ServiceFactory, ServiceProcess, Table
from tests.support.wheels import make_wheel

SMALL = ("alpha", "beta", "gamma", "delta")

Services = Callable[..., ServiceProcess]


@pytest.fixture
def small(index: PackageIndex, wheelhouse: Path) -> PackageIndex:
    """The index with four packages: delta requires gamma, the others nothing."""
    for name in SMALL:
        requires = ["gamma"] if name == "delta" else []
        index.add(make_wheel(wheelhouse / "small", name, "1.0", requires=requires))
        index.add(make_wheel(wheelhouse / "small", name, "2.0", requires=requires))
    return index


@pytest.fixture
def studio(venv: Path, universe: PackageIndex, gpu_wheels: list[Path]) -> Path:
    """An environment with the GPU stack, installed by hand, beside the universe's index."""
    install(venv, *gpu_wheels)
    return venv


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Make services of several environments: `services({"one": {...}}, listen=...)`."""
    made: list[ServiceProcess] = []

    def make(environments: dict[str, Table], **http: str) -> ServiceProcess:
        folder = tmp_path / f"several-{len(made)}"
        made.append(ServiceProcess(folder, environments, http=http))
        return made[-1]

    yield make
    for process in made:
        process.close()


@pytest.fixture
def running(small: PackageIndex, project: Project, service: ServiceFactory) -> ServiceProcess:
    """A service that has brought its own new environment to `alpha`."""
    project.write(["alpha"])
    process = service(interval="1h")
    process.wait_for_phase("InSync")
    wait_until(lambda: process.environment()["next_check_at"], what="the end of the first pass")
    return process
