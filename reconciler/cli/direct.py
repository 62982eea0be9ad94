"""Passes that a command runs by itself, without the service, and records as the service does.

One at a time for each environment: the pass lock keeps the service and other commands out.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import click
from packaging.utils import NormalizedName

from reconciler.cli.interruptible import cancellable
from reconciler.cli.terminal.progress import Follower
from reconciler.config import Config, EnvironmentConfig, Mode, OnHoldBroken
from reconciler.environment.environment import Environment
from reconciler.environment.interpreter import InterpreterError
from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal, State
from reconciler.journal.suspension import rolled_back, settled
from reconciler.passes.gates import Gates
from reconciler.passes.outcome import Gate, Outcome
from reconciler.passes.reconcile import observe, reconcile
from reconciler.passes.restore import restore
from reconciler.passes.rollback import roll_back
from reconciler.passes.runner import PassRunner, Recorded, Work
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import Reason, Trigger
from reconciler.trees.workspace import Busy


@dataclass
class Direct:
    """One environment in the hands of a command."""

    environment: Environment
    journal: Journal
    monitor: HoldMonitor

    @property
    def state(self) -> State:
        """What is remembered of it."""
        return self.journal.state(self.environment.key)

    def change(self, how: Callable[[State], State]) -> State:
        """Remember something else."""
        return self.journal.update_state(self.environment.key, how)

    def reconcile(self, follower: Follower, *, force: bool) -> Recorded:
        """One pass; before it, if that is configured, one that puts a broken hold back."""
        gate = None if force else Gates(suspension=lambda: self.state.suspension)
        restores = self.environment.config.on_hold_broken is OnHoldBroken.RESTORE
        while True:
            to_restore: list[NormalizedName] = []

            def work(running: Pass) -> Outcome:
                snapshot = running.look(audit=True)
                self.monitor.keep(snapshot, running.lock, compare=True)
                broken = self.monitor.first_broken(snapshot) if restores else None
                if broken is None:
                    return reconcile(running, audit=False)
                to_restore.append(broken)  # noqa: B023 -- run before the next round begins
                return restore(running, broken)

            recorded = self.run(work, Trigger.MANUAL, follower, gate, may_create=True)
            if not to_restore or recorded.trouble is not None:
                return recorded

    def roll_back(self, number: int | None, reason: str | None, follower: Follower) -> Recorded:
        """Make an older tree live again, and leave it alone until the files change."""

        def work(running: Pass) -> Outcome:
            outcome = roll_back(running, number)
            revision = outcome.snapshot.revision
            self.change(
                lambda state: rolled_back(state, outcome.generation, revision, reason, time.time())
            )
            self.monitor.accept_what_is(outcome.snapshot, running.lock)
            return outcome

        return self.run(work, Trigger.ROLLBACK, follower)

    def restore(self, name: NormalizedName, follower: Follower) -> Recorded:
        """Put a broken hold back from the vault."""
        return self.run(lambda running: restore(running, name), Trigger.RESTORE, follower)

    def accept(self, name: NormalizedName, follower: Follower) -> Recorded:
        """Take what is installed as the held build from now on."""

        def work(running: Pass) -> Outcome:
            self.monitor.accept(running.look(audit=True), name, running.lock)
            return observe(self.environment.look(refresh=True))

        return self.run(work, Trigger.ACCEPT, follower)

    def run(
        self,
        work: Work,
        trigger: Trigger,
        follower: Follower,
        gate: Gate | None = None,
        *,
        may_create: bool = False,
    ) -> Recorded:
        """Run and record one pass; Ctrl-C ends it.

        Raises:
            KeyboardInterrupt: it was ended; the environment is as it was.
        """
        recorder = PassRunner(self.environment, self.journal, self.monitor, gate)

        def in_order(running: Pass) -> Outcome:
            self._close_interrupted()
            return work(running)

        def run(cancel: Cancellation) -> Recorded:
            return recorder.run(
                in_order,
                trigger=trigger,
                pass_id=None,
                cancel=cancel,
                listener=follower,
                may_create=may_create,
            )

        recorded = cancellable(run)
        if recorded.trouble is not None and recorded.trouble.reason == Reason.STOPPED:
            raise KeyboardInterrupt
        return recorded

    def _close_interrupted(self) -> None:
        """What a killed command left unfinished in the history; a service sees to its own."""
        if self.journal.has_interrupted(self.environment.key):
            with suppress(Busy), self.environment.workspace.service_lock():
                self.journal.close_interrupted(self.environment.key)

    def refuse_suspended(self) -> None:
        """What is paused, rolled back or only observed is not changed without --force.

        Raises:
            click.ClickException: it is.
        """
        name = self.environment.config.name
        if self.environment.config.mode is Mode.OBSERVE:
            raise click.ClickException(
                f'{name} is only observed (mode = "observe"). `reconciler plan` shows what would '
                "change; `reconciler apply --force` changes it all the same."
            )
        revision, now = self._revision(), time.time()
        suspension = settled(self.state, revision, now).suspension
        if suspension is not None:
            until = f" until {suspension.until}" if suspension.until else ""
            raise click.ClickException(
                f"{name} is left alone since {suspension.since}{until}: {suspension.reason}. "
                "`reconciler resume` ends that; `reconciler apply --force` changes it once."
            )
        if self.state.suspension is not None:
            self.change(lambda state: settled(state, revision, now))

    def _revision(self) -> str | None:
        try:
            return self.environment.look().revision
        except InterpreterError:
            return None


def open_journal(config: Config) -> Journal:
    """The journal; whoever looks is told where a damaged one went."""
    journal = Journal(config.service.state_dir / "journal.sqlite3")
    journal.when_set_aside(_tell_set_aside)
    if journal.set_aside is not None:
        _tell_set_aside(journal.set_aside)
    return journal


def _tell_set_aside(aside: Path) -> None:
    click.echo(f"The history was damaged: it is now {aside}, and a new one begins.", err=True)


@contextmanager
def direct(config: Config, target: EnvironmentConfig) -> Iterator[Direct]:
    """The environment and its journal, while inside.

    Raises:
        OSError: the state folder cannot be written.
    """
    journal = open_journal(config)
    try:
        environment = Environment(target, os.environ, config.service.uv)
        yield Direct(environment, journal, HoldMonitor(environment))
    finally:
        journal.close()
