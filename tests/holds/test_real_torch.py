"""The vault with the real torch, 12,000 files and 700 MB of it, where its wheel lies on the disk.

`PIP_FIND_LINKS` names the folder, as it does for pip; without the wheel there is nothing to test.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typing_extensions

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from reconciler.holds.monitor import HoldMonitor
from reconciler.passes.restore import restore
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import Hold
from tests.support.environments import install, run_python, site_packages, tree_fingerprint
from tests.support.passes import locked
from tests.support.projects import Project
from tests.support.torch import fake_torch

WHEELS = [
    wheel
    for folder in os.environ.get("PIP_FIND_LINKS", "").split()
    for wheel in Path(folder).glob("torch-2.13.0*-cp3*.whl")
    if f"cp{sys.version_info.major}{sys.version_info.minor}-" in wheel.name
]


class _Silent:
    def step(self, name: str) -> None: ...

    def planned(self, changes: object) -> None: ...

    def line(self, text: str) -> None: ...


@pytest.fixture
def environment(project: Project) -> Environment:
    assert WHEELS, "the real torch 2.13.0 is in no folder of PIP_FIND_LINKS"
    subprocess.run([sys.executable, "-m", "venv", str(project.venv)], check=True)
    install(project.venv, WHEELS[0])
    # All that `import torch` needs of what torch requires.
    shutil.copy(typing_extensions.__file__, site_packages(project.venv))
    project.write([])
    python = project.venv / "bin" / "python"
    config = EnvironmentConfig(name="studio", pyproject=project.path, python=python)
    return Environment(config, dict(os.environ))


def keep(monitor: HoldMonitor) -> tuple[Hold, ...]:
    with locked(monitor.environment) as lock:
        snapshot = monitor.environment.look(audit_files=True)
        return monitor.keep(snapshot, lock, compare=True)


@pytest.mark.real_torch
def test_the_real_torch_is_kept_and_comes_back(
    environment: Environment, project: Project, tmp_path: Path
) -> None:
    venv = project.venv
    before = tree_fingerprint(venv, "torch")
    monitor = HoldMonitor(environment)
    environment.look(audit_files=True)

    holds = {hold.name: hold for hold in keep(monitor)}
    assert holds["torch"].vaulted

    pip = [str(venv / "bin" / "pip"), "install", "--quiet", "--no-index", "--no-deps"]
    other = fake_torch(tmp_path, "2.14.1+cu130")
    subprocess.run([*pip, "--upgrade", "--force-reinstall", str(other)], check=True)
    assert run_python(venv, "import torch; print(torch.__version__)") == "2.14.1+cu130"
    [torch] = keep(monitor)
    assert (torch.intact, torch.found) == (False, "2.14.1+cu130")

    restore(Pass(environment, Cancellation(), _Silent()), torch.name)
    code = (
        "import warnings; warnings.simplefilter('ignore'); import torch; print(torch.ones(2).sum())"
    )
    assert run_python(venv, code) == "tensor(2.)"
    assert tree_fingerprint(venv, "torch") == before
    [torch] = keep(monitor)
    assert torch.intact
