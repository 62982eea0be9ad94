"""An environment in an overlay's lower layer, as in most containers: its folders cannot move."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.utils import NormalizedName

from reconciler.holds.monitor import HoldMonitor
from reconciler.passes.restore import restore
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import Result
from tests.support.environments import assert_whole, install, run_python, strays, tree_fingerprint
from tests.support.passes import Follower, environment_for, locked
from tests.support.projects import Project
from tests.support.torch import TORCH, fake_torch, fake_triton, gpu_stack

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


@pytest.fixture
def image(project: Project, venv: Path, tmp_path: Path) -> Iterator[Path]:
    """The project with its environment, as the layer of an image, and a container on top."""
    install(venv, *gpu_stack(tmp_path / "gpu", files=3))
    project.write([])
    lower, folder = tmp_path / "lower", project.directory
    folder.rename(lower)
    for made in (folder, tmp_path / "upper", tmp_path / "work"):
        made.mkdir()
    layers = f"lowerdir={lower},upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    # As Docker and Podman do: no redirection of folders.
    options = f"{layers},redirect_dir=off,metacopy=off"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, folder], check=True)
    try:
        yield venv
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_hold_is_restored_in_place(image: Path, project: Project, tmp_path: Path) -> None:
    before = {path: state.sha256 for path, state in tree_fingerprint(image).items()}
    environment = environment_for(project)
    monitor = HoldMonitor(environment)
    with locked(environment) as lock:
        assert all(hold.vaulted for hold in monitor.keep(environment.look(), lock, compare=True))
    install(image, fake_torch(tmp_path / "other", "2.8.0"), fake_triton(tmp_path / "other"))

    outcome = restore(Pass(environment, Cancellation(), Follower()), NormalizedName("torch"))

    assert (outcome.result, outcome.atomic) == (Result.CHANGED, False)
    assert "cannot exchange these folders" in str(outcome.atomic_reason)
    assert {path: state.sha256 for path, state in tree_fingerprint(image).items()} == before
    assert run_python(image, "import torch; print(torch.__version__)") == TORCH
    assert_whole(image)
    assert strays(image) == set()
    with locked(environment) as lock:
        holds = monitor.keep(environment.look(audit_files=True), lock, compare=True)
    assert all(hold.intact for hold in holds)
