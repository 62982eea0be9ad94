"""Fixtures that every test may use: an index, wheels, environments, projects, services."""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.environments import make_venv, pythons
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.service import ServiceFactory
from tests.support.torch import gpu_stack
from tests.support.universe import build_universe

pytest_plugins = ["tests.support.attacks", "tests.support.needs"]

_FOREIGN = ("UV_", "PIP_", "RECONCILER_", "PYTHON", "XDG_")
_FOREIGN_NAMES = frozenset(
    {"VIRTUAL_ENV", "CONDA_PREFIX", "NOTIFY_SOCKET", "WATCHDOG_USEC", "NETRC"}
    | {"TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}
)
_OPT_IN = "RECONCILER_TEST_"


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Keep the collector off what stays to the end: each pass forks, and would copy its pages."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give every test a home of its own, so that no user's or machine's uv settings leak in."""
    pythons()  # found by the real home, and remembered
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            foreign = name.startswith(_FOREIGN) and not name.startswith(_OPT_IN)
            if foreign or name in _FOREIGN_NAMES:
                patch.delenv(name)
        patch.setenv("HOME", str(home))
        # Whatever proxy leads to the registry, the tests' own servers are here.
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        patch.setenv("no_proxy", "127.0.0.1,localhost")
        for kind in ("CONFIG", "CACHE", "DATA", "STATE", "RUNTIME"):
            folder = home / kind.lower()
            folder.mkdir(mode=0o700)
            patch.setenv(f"XDG_{kind}_{'DIR' if kind == 'RUNTIME' else 'HOME'}", str(folder))
        # An empty file here keeps uv from reading the machine's /etc/uv/uv.toml.
        (home / "etc" / "uv").mkdir(parents=True)
        (home / "etc" / "uv" / "uv.toml").touch()
        patch.setenv("XDG_CONFIG_DIRS", str(home / "etc"))
        patch.setenv("UV_CACHE_DIR", str(home / "uv-cache"))
        patch.setenv("UV_PYTHON_DOWNLOADS", "never")
        yield home


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for wheels that several tests share; the same name is always the same bytes."""
    return tmp_path_factory.mktemp("wheelhouse")


@pytest.fixture(scope="session")
def universe_wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheels of the machine-learning universe."""
    return build_universe(tmp_path_factory.mktemp("universe"))


@pytest.fixture(scope="session")
def gpu_wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """torch 2.3.1+rocm5.7, its torchvision and its triton: on no index."""
    return gpu_stack(tmp_path_factory.mktemp("gpu"))


@pytest.fixture
def make_index() -> Iterator[Callable[..., PackageIndex]]:
    """Start further indexes; each has an address that was never used before."""
    indexes: list[PackageIndex] = []

    def make(*, credentials: tuple[str, str] | None = None) -> PackageIndex:
        indexes.append(PackageIndex(credentials=credentials))
        return indexes[-1]

    yield make
    for index in indexes:
        index.close()


@pytest.fixture
def index(make_index: Callable[..., PackageIndex]) -> PackageIndex:
    """An empty index that is up."""
    return make_index()


@pytest.fixture
def universe(index: PackageIndex, universe_wheels: list[Path]) -> PackageIndex:
    """The index, filled with the machine-learning universe."""
    index.add(*universe_wheels)
    return index


@pytest.fixture
def project(tmp_path: Path, index: PackageIndex) -> Project:
    """A project folder without a pyproject.toml yet; only the local index is ever asked."""
    project = Project(tmp_path / "project", index.url)
    project.directory.mkdir()
    return project


@pytest.fixture
def venv(project: Project) -> Path:
    """An empty environment at the project's `.venv`, of the tests' own Python."""
    return make_venv(project.venv)


@pytest.fixture
def service(project: Project, tmp_path: Path) -> Iterator[ServiceFactory]:
    """Start the service on the project: `service(interval="1h")`; all are ended afterwards."""
    factory = ServiceFactory(project, tmp_path / "services")
    yield factory
    factory.close()
