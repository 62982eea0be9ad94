"""The stand: a held GPU stack beside an index that would love to replace it."""

from pathlib import Path

import pytest

from tests.holds.stand import BOTH_WAYS, Stand
from tests.support.environments import install
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.thorough import sample
from tests.support.torch import gpu_stack
from tests.support.wheels import make_wheel

UPLOADED = "2024-06-01T00:00:00Z"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The GPU stack; its torch declares a bound that nothing else declares."""
    return gpu_stack(tmp_path_factory.mktemp("stack"), requires=["sympy<1.13"])


@pytest.fixture(scope="session")
def leftover(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that nobody asks for."""
    return make_wheel(tmp_path_factory.mktemp("leftover"), "leftover", "1.0")


@pytest.fixture
def universe(index: PackageIndex, universe_wheels: list[Path], wheelhouse: Path) -> PackageIndex:
    """The index with upload times, and a newer version of which only some settings hear."""
    index.add(*universe_wheels, uploaded=UPLOADED)
    index.add(make_wheel(wheelhouse, "packaging", "25.0rc1"), uploaded=UPLOADED)
    return index


@pytest.fixture
def stand(
    project: Project, venv: Path, universe: PackageIndex, tmp_path: Path,
    stack: list[Path], leftover: Path,
) -> Stand:  # fmt: skip
    """The environment with its hand-installed GPU build."""
    install(venv, *stack, leftover)
    home = tmp_path / "xdg"
    for folder in ("config", "etc"):
        (home / folder / "uv").mkdir(parents=True)
        (home / folder / "uv" / "uv.toml").touch()
    return Stand(project, venv, universe, home)


@pytest.fixture(params=sample(BOTH_WAYS, every=2))
def mode(request: pytest.FixtureRequest, stand: Stand) -> str | None:
    """The way to change an environment: None, or the reason for which it is changed in place."""
    stand.in_place = request.param
    return stand.in_place
