"""Twelve projects against the real registry: planned and applied, and no held file changed.

Run them with `.ci/thorough registry`.
"""

import os
from pathlib import Path

import pytest

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from reconciler.passes import reconcile as passes
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from tests.registry.projects import PROJECTS, RealProject
from tests.support.environments import (
    assert_whole,
    install,
    make_venv,
    pythons,
    snapshot,
    tree_fingerprint,
)
from tests.support.passes import Follower, reconcile

HELD = ("torch", "torchvision", "pytorch-triton-rocm")

pytestmark = pytest.mark.registry


@pytest.mark.parametrize("real", PROJECTS, ids=[project.name for project in PROJECTS])
def test_a_real_project_is_planned_and_applied_and_no_held_file_changes(
    real: RealProject, tmp_path: Path, gpu_wheels: list[Path]
) -> None:
    file, venv = tmp_path / "pyproject.toml", tmp_path / ".venv"
    file.write_text(real.text)
    make_venv(venv, "3.11" if "3.11" in pythons() else None)
    install(venv, *gpu_wheels)
    held = {name: tree_fingerprint(venv, name) for name in HELD}
    config = EnvironmentConfig(
        name="real", pyproject=file, python=venv / "bin" / "python", extras=real.extras,
        groups=real.groups,
    )  # fmt: skip
    environment = Environment(config, os.environ)

    planned = passes.plan(Pass(environment, Cancellation(), Follower()))
    outcome = reconcile(environment)

    assert outcome.changes == planned.plan
    assert {failure.name for failure in outcome.failed} == real.failed
    assert {failure.name for failure in planned.failed} == real.failed
    assert snapshot(venv).keys() >= {*real.wanted, *HELD}
    assert {row.name for row in outcome.snapshot.drift.drifted} == real.failed
    assert {name: tree_fingerprint(venv, name) for name in HELD} == held
    assert not [name for name in snapshot(venv) if name.startswith("nvidia-")]
    assert_whole(venv)
