"""Passes on what a running pass says: to the status, and to everyone who follows the events."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from reconciler.daemon.knowledge import Knowledge
from reconciler.daemon.progress import PackageStep, Progress
from reconciler.status import Change, PassStatus

Emit = Callable[[str, Mapping[str, Any]], None]
"""Takes the kind of an event, and what it says."""


@dataclass
class PassFollower:
    """Follows one pass of one environment.

    Attributes:
        knowledge: Learns which step the pass has come to.
        emit: Takes the events.
        environment: Its name.
        current: The pass.
        heard: Called at each sign of life.
    """

    knowledge: Knowledge
    emit: Emit
    environment: str
    current: PassStatus
    heard: Callable[[], None]
    progress: Progress = field(default_factory=Progress)

    def step(self, name: str) -> None:
        """The pass has come to another step."""
        self.heard()
        self.progress.enter(name)
        if name == "look":
            return  # a look is over in milliseconds; showing it would only flicker
        self.knowledge.update(lambda known: replace(known, current=self.current, step=name))

    def planned(self, changes: Sequence[Change]) -> None:
        """The pass knows what is to change."""
        self.heard()
        for step in self.progress.plan(changes):
            self._emit_step(step)

    def line(self, text: str) -> None:
        """uv said something, which may be the progress of one package."""
        self.heard()
        self.emit("log", {**self._about(), "line": text})
        step = self.progress.read(text)
        if step is not None:
            self._emit_step(step)

    def _emit_step(self, step: PackageStep) -> None:
        told = {"package": step.package, "step": step.step, "done": step.done, "total": step.total}
        self.emit("progress", {**self._about(), **told})

    def _about(self) -> dict[str, Any]:
        return {"environment": self.environment, "pass": self.current.id}
