"""One pass over a real environment: real uv, a real index, real files."""

import os
from pathlib import Path

import pytest

from reconciler.config import EnvironmentConfig
from reconciler.environment import Environment
from reconciler.processes import Cancellation
from reconciler.reconcile import Outcome, Pass
from reconciler.status import PackageStatus, Result
from tests.support.environments import (
    assert_whole, install, site_packages, snapshot, strays, tree_fingerprint, uninstall,
)  # fmt: skip
from tests.support.projects import Project


class Silent:
    def phase(self, name: str) -> None: ...
    def line(self, text: str) -> None: ...


def environment_for(project: Project, **settings: object) -> Environment:
    config = EnvironmentConfig(
        name="studio", pyproject=project.path, python=project.venv / "bin" / "python", **settings
    )
    return Environment(config, dict(os.environ))


def reconcile(environment: Environment) -> Outcome:
    return Pass(environment, Cancellation(), Silent()).reconcile(audit=True)


@pytest.fixture
def held(project: Project, venv: Path, universe: object, gpu_wheels: list[Path]) -> Path:
    install(venv, *gpu_wheels)
    return venv


def test_empty_environment_reaches_what_is_declared(project, held):
    project.write(["transformers", "numpy>=1.24,<2.0", "torch==2.3.1+rocm5.7"])
    outcome = reconcile(environment_for(project))
    assert outcome.result is Result.CHANGED
    assert outcome.look.drift.in_sync
    assert snapshot(held)["numpy"] == "1.26.4"
    assert_whole(held)


def test_held_torch_survives_a_dependent_that_wants_a_newer_one(project, held):
    before = tree_fingerprint(held, "torch")
    project.write(["accelerate", "torch>=2.4"])
    outcome = reconcile(environment_for(project))
    assert tree_fingerprint(held, "torch") == before
    assert snapshot(held)["accelerate"] == "0.9"
    [back] = outcome.held_back
    assert (back.name, back.chosen, back.newest) == ("accelerate", "0.9", "1.0")
    assert back.because == "torch==2.3.1+rocm5.7"
    rows = {row.name: row for row in outcome.look.drift.rows}
    assert rows["torch"].status is PackageStatus.HELD_MISMATCH
    assert_whole(held)
