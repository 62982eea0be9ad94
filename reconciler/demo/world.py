"""The demo's world: an index in a folder, a GPU build that it does not have, and a project.

Everything is below one folder, and the commands that run see only that.
"""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from reconciler.demo.pseudo_terminal import Ran, run_in_terminal
from reconciler.demo.wheels import write_wheel
from reconciler.processes import Cancellation
from reconciler.uv.program import Ask, Plan, Uv
from reconciler.uv.settings import environ_for_uv

TORCH = "2.3.1+rocm5.7"
_GPU = ("torch", "pytorch-triton-rocm")

_INDEX: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("accelerate", "0.9.0", ("numpy", "torch>=2.0")),
    ("accelerate", "1.0.0", ("numpy", "torch>=2.4")),
    ("numpy", "1.24.4", ()),
    ("numpy", "1.26.4", ()),
    ("safetensors", "0.4.3", ()),
    ("tokenizers", "0.19.1", ()),
    ("transformers", "4.44.0", ("numpy", "safetensors", "tokenizers")),
    ("nvidia-cublas-cu12", "12.8.4.1", ()),
    ("triton", "3.4.0", ()),
    ("torch", "2.8.0", ("nvidia-cublas-cu12", "triton==3.4.0")),
)
"""Name, version and requirements of the packages in the index. Its torch is for another GPU."""


@dataclass(frozen=True, slots=True)
class World:
    """The folder and everything below it."""

    folder: Path
    environ: Mapping[str, str]
    width: int
    """Columns of the terminal that commands see."""
    cancel: Cancellation
    """Stops whatever command is running."""

    @property
    def project(self) -> Path:
        """The project's folder."""
        return self.folder / "studio"

    @property
    def pyproject(self) -> Path:
        """The project's file."""
        return self.project / "pyproject.toml"

    @property
    def venv(self) -> Path:
        """The project's environment."""
        return self.project / ".venv"

    @property
    def index(self) -> Path:
        """The folder of wheels that serves as the index."""
        return self.folder / "index"

    @property
    def uv(self) -> Uv:
        """uv, offline."""
        return Uv(None, environ_for_uv(self.environ))

    def build(self) -> None:
        """Create the index, the environment, and the GPU build installed in it by hand."""
        for folder in (self.index, self.project, self.folder / "gpu", self.folder / "asks"):
            folder.mkdir()
        for name, version, requires in _INDEX:
            write_wheel(self.index, name, version, requires=requires)
        config = self.folder / "config" / "reconciler" / "config.toml"
        config.parent.mkdir(parents=True)
        # Nothing answers at port 1, so a service that runs on this machine is not asked.
        config.write_text(
            f'[service]\nstate_dir = "{self.folder}/state"\n\n'
            f'[http]\nlisten = "127.0.0.1:1"\n\n'
            f'[environments.studio]\npyproject = "{self.project}"\n'
        )
        python = getattr(sys, "_base_executable", sys.executable)
        self.uv.create_environment(self.venv, python, self.cancel)
        self.install(
            [f"{name} @ {path.as_uri()}" for name, path in _gpu_build(self.folder / "gpu")]
        )

    def declare(self, dependencies: Sequence[str]) -> None:
        """Write the project's file."""
        listed = "".join(f"    {json.dumps(text)},\n" for text in dependencies)
        self.pyproject.write_text(
            f'[project]\nname = "studio"\nversion = "1"\ndependencies = [\n{listed}]\n\n'
            f'[tool.uv]\nno-index = true\nfind-links = ["{self.index}"]\n'
        )

    def run(self, *arguments: str) -> Ran:
        """Run `reconciler ARGUMENTS` in the project's folder, on its own terminal."""
        command = [sys.executable, "-m", "reconciler", *arguments]
        return run_in_terminal(command, self.environ, self.project, self.width, self.cancel)

    def naive_plan(self) -> Plan:
        """What `uv pip install --upgrade -r pyproject.toml` would do."""
        ask = replace(self._ask(self.pyproject), arguments=("--upgrade",))
        return self.uv.plan(ask, self.cancel)

    def install(self, requirements: Sequence[str]) -> None:
        """Do what someone does by hand, without Reconciler: `uv pip install`."""
        project = self.folder / "asks" / "pyproject.toml"
        dependencies = json.dumps(list(requirements))
        project.write_text(
            f'[project]\nname = "by-hand"\nversion = "0"\ndependencies = {dependencies}\n'
        )
        self.uv.install(self._ask(project), self.venv, self.cancel, lambda _: None)

    def _ask(self, project: Path) -> Ask:
        settings = self.folder / "asks" / "uv.toml"
        settings.write_text(f'no-index = true\nfind-links = ["{self.index}"]\n')
        return Ask(self.venv / "bin" / "python", project, settings, self.project)

    def torch_file(self) -> tuple[int, str]:
        """Inode and SHA-256 of torch's library: what must never change."""
        (path,) = self.venv.glob("lib/python*/site-packages/torch/libtorch_hip.so")
        return path.stat().st_ino, hashlib.sha256(path.read_bytes()).hexdigest()


def world(folder: Path, environ: Mapping[str, str], width: int, cancel: Cancellation) -> World:
    """A world below `folder` that ignores this machine's configuration."""
    foreign = ("UV_", "PIP_", "XDG_", "VIRTUAL_ENV", "STATE_DIRECTORY", "PYTHONHOME")
    own = {name: value for name, value in environ.items() if not name.startswith(foreign)}
    own |= {
        "UV_OFFLINE": "1",
        "UV_CACHE_DIR": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_CONFIG_DIRS": str(folder / "config"),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    return World(folder, own, width, cancel)


def _gpu_build(folder: Path) -> list[tuple[str, Path]]:
    files = {
        "torch/__init__.py": "from torch.version import __version__, hip\n",
        "torch/version.py": f'__version__ = "{TORCH}"\nhip = "5.7.31921"\n',
        "torch/libtorch_hip.so": f"kernels for this very GPU, {TORCH}\n" * 4096,
    }
    torch = write_wheel(
        folder, "torch", TORCH, requires=["pytorch-triton-rocm==2.3.1"], files=files
    )
    triton = {"triton/__init__.py": 'BUILD = "rocm"\n'}
    return list(
        zip(
            _GPU,
            (torch, write_wheel(folder, "pytorch-triton-rocm", "2.3.1", files=triton)),
            strict=True,
        )
    )
