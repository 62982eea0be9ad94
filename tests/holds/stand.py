"""An environment with a hand-installed GPU build, and passes over it under bad influence."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from reconciler.passes.outcome import Outcome
from reconciler.passes.reconcile import reconcile
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from tests.support.environments import (
    FileState,
    assert_whole,
    dist_infos,
    snapshot,
    tree_fingerprint,
)
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.torch import TORCH, TORCHVISION, TRITON_ROCM

HELD = {"torch": TORCH, "torchvision": TORCHVISION, "pytorch-triton-rocm": TRITON_ROCM}
"""What was installed by hand: no index has it."""

DECLARED = ("accelerate", "numpy>=1.24,<2.0", "sympy", "torch>=2.0")

REACHED = {
    **HELD,
    "accelerate": "0.9",  # 1.0 needs torch>=2.4
    "leftover": "1.0",  # installed by hand, and nothing asks for it
    "mpmath": "1.3.0",
    "numpy": "1.26.4",
    "packaging": "24.1",
    "sympy": "1.12.1",  # torch itself needs sympy<1.13
}
"""What a pass over `DECLARED` makes of it."""

BESIDE = ("numpy>=1.24,<2.0",)
"""What must be had whatever becomes of the rest."""

BASE = {n: v for n, v in REACHED.items() if n not in ("accelerate", "packaging")}
"""What a pass over `BESIDE` makes of it: torch itself needs sympy."""

BOTH_WAYS = (None, "the test says so")
"""To change an environment in a stage, or in place for that reason."""

Fingerprint = dict[str, dict[str, FileState]]


class _Silent:
    def step(self, name: str) -> None: ...

    def planned(self, changes: object) -> None: ...

    def line(self, text: str) -> None: ...


@dataclass
class Stand:
    """A project, its environment with the held stack, an index full of bait.

    `variables` are the environment variables of the service; `settings` the keys of
    `[environments.NAME]`.
    """

    project: Project
    venv: Path
    index: PackageIndex
    home: Path
    variables: dict[str, str] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    in_place: str | None = None
    log: str = ""

    @property
    def store(self) -> Path:
        """Its vault."""
        return self.project.directory / ".reconciler-vault"

    @property
    def user_file(self) -> Path:
        """The user's uv.toml."""
        return self.home / "config" / "uv" / "uv.toml"

    @property
    def system_file(self) -> Path:
        """The machine's uv.toml."""
        return self.home / "etc" / "uv" / "uv.toml"

    def environment(self) -> Environment:
        """The environment as the service would see it, looked at for the first time."""
        config = EnvironmentConfig(
            name="studio",
            pyproject=self.project.path,
            python=self.venv / "bin" / "python",
            **self.settings,
        )
        places = {
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_CONFIG_DIRS": str(self.home / "etc"),
        }
        environment = Environment(config, {**os.environ, **places, **self.variables})
        environment.in_place = self.in_place
        return environment

    def reconcile(self) -> Outcome:
        """Run one real pass."""
        running = Pass(self.environment(), Cancellation(), _Silent())
        try:
            return reconcile(running, audit=True)
        finally:
            self.log = running.log.text

    def fingerprint(self) -> Fingerprint:
        """Inode and SHA-256 of every file of every held package that is installed."""
        return {name: tree_fingerprint(self.venv, name) for name in HELD if self.has(name)}

    def has(self, name: str) -> bool:
        """Whether that package is installed."""
        return bool(dist_infos(self.venv, name))

    def packages(self) -> dict[str, str]:
        """What is installed."""
        return snapshot(self.venv)

    def torch_requests(self) -> list[str]:
        """What the index was asked of the held packages."""
        return [r.path for name in HELD for r in self.index.requests_for(name)]

    def assert_untouched(self, before: Fingerprint) -> None:
        """The held packages are the very same files, and no index was asked for them."""
        assert self.fingerprint() == before
        assert self.torch_requests() == []
        assert_whole(self.venv)


def failed_names(outcome: Outcome) -> dict[str, str]:
    """What could not be had: name to reason."""
    return {failure.name: failure.reason for failure in outcome.failed}
