"""What is measured on: the example with stand-ins for torch, and a large environment.

All packages but torch's stand-ins are real ones, from the package registry or uv's cache.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import tomli

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from reconciler.passes import reconcile as passes
from reconciler.passes.outcome import Outcome
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from tests.support.environments import install, make_venv, uv_binary
from tests.support.torch import TORCH, TORCHVISION, TRITON_ROCM, gpu_stack

STUDIO = Path(__file__).parent.parent / "examples" / "studio" / "pyproject.toml"
FILES = 46_000
"""As many as a venv with torch, transformers and jupyterlab has."""
_OF_TORCH = 14_600
_HELD = {"torch": TORCH, "torchvision": TORCHVISION, "pytorch-triton-rocm": TRITON_ROCM}


class Silent:
    """Follows a pass and says nothing."""

    def step(self, name: str) -> None: ...

    def planned(self, changes: object) -> None: ...

    def line(self, text: str) -> None: ...


def reconcile(environment: Environment, *, audit: bool) -> Outcome:
    """One pass in this process."""
    return passes.reconcile(Pass(environment, Cancellation(), Silent()), audit=audit)


def environment_of(folder: Path) -> Environment:
    """The project in this folder, with the `.venv` beside it."""
    python = folder / ".venv" / "bin" / "python"
    config = EnvironmentConfig(name="studio", pyproject=folder / "pyproject.toml", python=python)
    return Environment(config, dict(os.environ))


@dataclass(frozen=True)
class Scene:
    """A work folder, on the file system of uv's cache."""

    work: Path

    @cached_property
    def requirements(self) -> list[str]:
        """The 34 of the example that are not held."""
        declared = tomli.loads(STUDIO.read_text())["project"]["dependencies"]
        return [r for r in declared if not r.startswith(tuple(_HELD))]

    @cached_property
    def listed(self) -> Path:
        """The same as a file for uv and pip."""
        path = self.work / "requirements.txt"
        path.write_text("\n".join(self.requirements))
        return path

    @cached_property
    def constraints(self) -> Path:
        """What keeps the stand-ins of torch where they are, for uv and pip."""
        path = self.work / "held.txt"
        path.write_text("\n".join(f"{name}=={version}" for name, version in _HELD.items()))
        return path

    @cached_property
    def _wheels(self) -> list[Path]:
        return gpu_stack(self.work / "wheels")

    def fresh(self, name: str) -> Path:
        """A new copy of the example whose environment holds torch's stand-ins alone."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(STUDIO, folder)
        install(make_venv(folder / ".venv"), *self._wheels)
        return folder

    def uv(self, folder: Path, *arguments: str | Path) -> None:
        """Run `uv pip` in the environment of this folder, the registry at hand."""
        verb, *rest = arguments
        command = [uv_binary(), "pip", verb, "-q", "--python", folder / ".venv", *rest]
        subprocess.run(command, check=True, cwd=folder)

    @cached_property
    def large(self) -> Path:
        """The example in sync, 150 packages and more, 46,000 files; made once."""
        folder = self.work / "large"
        folder.mkdir()
        shutil.copy(STUDIO, folder)
        venv = make_venv(folder / ".venv")
        install(venv, *gpu_stack(self.work / "large-wheels", files=_OF_TORCH))
        self.uv(folder, "install", "-r", self.listed, "jupyterlab", "-c", self.constraints)
        _fill_up(venv, FILES - files_in(venv))
        return folder


def files_in(folder: Path) -> int:
    """How many files there are below."""
    return sum(len(names) for _, _, names in os.walk(folder))


def packages_in(folder: Path) -> int:
    """How many distributions the environment of this folder has."""
    return len(list((folder / ".venv").glob("lib/python*/site-packages/*.dist-info")))


def _fill_up(venv: Path, missing: int) -> None:
    """Small files in the place where models and notebooks' assets lie."""
    for number in range(max(missing, 0)):
        path = venv / "share" / "assets" / f"part-{number // 100:03}" / f"{number:05}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
