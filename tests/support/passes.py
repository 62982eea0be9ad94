"""Runs single passes over a project's environment, as the service does, in this process."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from reconciler.passes import reconcile as passes
from reconciler.passes.outcome import Outcome
from reconciler.passes.recovery import recover
from reconciler.passes.running import Pass
from reconciler.passes.sweeping import sweep
from reconciler.processes import Cancellation
from reconciler.trees.workspace import PassLock
from tests.support.projects import Project

FAST = {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "10"}


class Follower:
    """Follows a pass; may do something when a step begins."""

    def __init__(self, on_phase: Callable[[str], None] | None = None) -> None:
        self.steps: list[str] = []
        self.on_phase = on_phase

    def step(self, name: str) -> None:
        self.steps.append(name)
        if self.on_phase is not None:
            self.on_phase(name)

    def planned(self, changes: object) -> None: ...

    def line(self, text: str) -> None: ...


def environment_for(project: Project, **settings: object) -> Environment:
    """The project's environment with a configuration of one's own."""
    config = EnvironmentConfig(
        name="studio", pyproject=project.path, python=project.venv / "bin" / "python", **settings
    )
    return Environment(config, {**os.environ, **FAST})


def reconcile(
    environment: Environment,
    *,
    audit: bool = True,
    cancel: Cancellation | None = None,
    follower: Follower | None = None,
) -> Outcome:
    """One pass, from looking to its outcome."""
    running = Pass(environment, cancel or Cancellation(), follower or Follower())
    try:
        return passes.reconcile(running, audit=audit)
    finally:
        sweep(environment)  # as the service and the commands do once they have reported


@contextmanager
def locked(environment: Environment) -> Iterator[PassLock]:
    """Hold the pass lock, as every pass does."""
    environment.workspace.create()
    with environment.workspace.pass_lock(Cancellation(), 60.0) as lock:
        yield lock


def start(environment: Environment) -> Outcome:
    """What a start does: put in order what a crash left, then one pass."""
    environment.workspace.create()
    recover(environment)
    return reconcile(environment)
