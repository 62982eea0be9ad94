"""A studio on the command line: a project, its environment, a configuration of its own."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.support.environments import install
from tests.support.index import PackageIndex
from tests.support.processes import Mark, run_cli
from tests.support.projects import Project
from tests.support.service import Json, Value, toml
from tests.support.wheels import make_wheel

BASE = ("torch==2.3.1+rocm5.7", "torchvision==0.18.1+rocm5.7")
"""What the studio always declares: held, and on no index."""


@dataclass
class Studio:
    """The project, and the command line in its folder."""

    project: Project
    home: Path
    socket: Path
    keys: dict[str, Value] = field(default_factory=dict)
    """Keys of `[environments.studio]`."""
    mark: Mark = field(default_factory=Mark)

    @property
    def venv(self) -> Path:
        return self.project.venv

    @property
    def config(self) -> Path:
        return self.home / "reconciler" / "config.toml"

    @property
    def environ(self) -> dict[str, str]:
        """The variables on top of the tests' own."""
        return {"XDG_CONFIG_HOME": str(self.home), **self.mark.environment()}

    def configure(self, **keys: Value) -> None:
        """Write the configuration that every command finds by itself."""
        self.keys |= keys
        environment = {"pyproject": str(self.project.path), "python": str(self.venv), **self.keys}
        tables = {
            "service": {"state_dir": str(self.home / "state")},
            "http": {"listen": f"unix:{self.socket}"},
            "environments.studio": environment,
        }
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text(toml(tables))

    def declare(self, *dependencies: str, base: Sequence[str] = BASE) -> None:
        self.project.write([*base, *dependencies])

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command with pipes."""
        return run_cli(*arguments, cwd=self.project.directory, env={**self.environ, **env})

    def ok(self, *arguments: str) -> str:
        """Run a command that must succeed, and return what it printed."""
        ran = self.run(*arguments)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def json(self, *arguments: str, status: int = 0) -> Json:
        """Run a command with --json, and return the document."""
        ran = self.run(*arguments, "--json")
        assert ran.returncode == status, ran.stdout + ran.stderr
        document: Json = json.loads(ran.stdout)
        return document

    def terminal(self, *arguments: str, width: int = 100, **env: str) -> Terminal:
        """Run a command on a terminal of so many columns."""
        variables = {**os.environ, **self.environ, **env}
        return Terminal(*arguments, cwd=self.project.directory, env=variables, width=width)


@pytest.fixture
def small(index: PackageIndex, wheelhouse: Path) -> PackageIndex:
    """The index with small packages: delta requires gamma, fussy another torch."""
    for name, version, requires in (
        ("alpha", "1.0", []),
        ("alpha", "2.0", []),
        ("beta", "1.0", []),
        ("gamma", "1.0", []),
        ("delta", "1.0", ["gamma"]),
        ("fussy", "1.0", ["torch>=2.0"]),
        ("fussy", "2.0", ["torch>=2.4"]),
        ("torch", "2.8.0", []),
    ):
        index.add(make_wheel(wheelhouse / "cli", name, version, requires=requires))
    return index


@pytest.fixture
def studio(
    project: Project, small: PackageIndex, venv: Path, gpu_wheels: list[Path], tmp_path: Path
) -> Iterator[Studio]:
    """An environment with the GPU stack and nothing else, in sync with its project."""
    assert small.url == project.index_url
    install(venv, *gpu_wheels)
    with tempfile.TemporaryDirectory() as folder:  # short enough for a unix socket (unix(7))
        studio = Studio(project, tmp_path / "home", Path(folder, "socket"))
        studio.configure()
        studio.declare()
        yield studio
        studio.mark.kill()


@pytest.fixture
def applied(studio: Studio) -> Studio:
    """The same after a first pass: alpha 1.0 is installed, the holds are in the vault."""
    studio.declare("alpha<2")
    studio.ok("apply")
    return studio
