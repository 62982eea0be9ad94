"""A pass while it runs: its environment, how it is ended, who follows it, and what it has said.

Knows nothing of what the pass is for; `reconcile`, `restore` and `rollback` are that.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.log.logger import get_logger
from reconciler.passes.outcome import Gate, Insecure, Listener, Unready
from reconciler.processes import Cancellation
from reconciler.status import Change
from reconciler.trees.workspace import PassLock, Workspace

log = get_logger(__name__)


@dataclass
class Pass:
    """One pass over one environment.

    The caller holds the environment's pass lock. `log` and `steps` can be read however the
    pass ends.
    """

    environment: Environment
    cancel: Cancellation
    listener: Listener
    gate: Gate | None = None
    """Decides when a change may go live; None: now."""
    lock: PassLock = field(default_factory=PassLock)
    """The pass lock, from when the caller holds it: whoever writes to the vault needs it."""
    log: list[str] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    """Seconds spent in each step."""
    planned: tuple[Change, ...] = ()
    """What was to change, whatever came of it."""
    untouched: bool = True
    """Whether the live tree is known to be as it was. Only `publish` says otherwise."""

    def look(self, *, audit: bool) -> Snapshot:
        """The first step: desired, installed, holds, and how they differ.

        Args:
            audit: Check the presence of every recorded file.

        Raises:
            Unready: The project's file cannot be used and never could.
            InterpreterError: There is no interpreter that works.
        """
        with self.step("look"):
            snapshot = self.environment.look(audit_files=audit)
        if snapshot.desired is None and snapshot.problem is not None:
            raise Unready(snapshot.problem)
        return snapshot

    def wait_until_open(self) -> None:
        """Return if a change may go live now.

        Raises:
            Postponed: It may not, and for how long.
        """
        if self.gate is not None:
            self.gate.wait_until_open(self.environment, self.cancel)

    def refuse_insecure(self) -> None:
        """As root, act only on files that nobody else can write (as sshd does with keys).

        Raises:
            Insecure: Somebody else can.
        """
        problem = self.environment.insecure
        if problem is not None:
            log.error("environment.insecure", path=problem.file)
            raise Insecure(problem)

    @contextmanager
    def work_folder(self, snapshot: Snapshot) -> Iterator[Path]:
        """A private folder for this attempt, gone afterwards."""
        workspace = Workspace(snapshot.interpreter.prefix)
        workspace.create()
        work = workspace.new_work()
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step of the pass: the listener is told of it, and it is timed."""
        self.cancel.check()
        self.listener.step(name)
        started = time.monotonic()
        try:
            yield
        finally:
            self.spent(name, time.monotonic() - started)

    def spent(self, name: str, seconds: float) -> None:
        """Add to the time of a step."""
        self.steps[name] = self.steps.get(name, 0.0) + seconds

    def line(self, text: str) -> None:
        """Add a line to the pass's log, and tell the listener."""
        self.log.append(text + "\n")
        self.listener.line(text)
