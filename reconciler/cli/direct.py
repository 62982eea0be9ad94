"""Passes that a command runs itself, without the service, and records as the service does.

They run one at a time in each environment: the pass lock keeps the service and other commands out.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import click
from msgspec.structs import replace
from packaging.utils import NormalizedName

from reconciler.cli.interruptible import cancellable
from reconciler.cli.terminal.output import complain
from reconciler.cli.terminal.progress import Follower
from reconciler.config import Config, EnvironmentConfig, Mode, OnHoldBroken
from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.files.trust import Insecure, check_trust
from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal, State, iso
from reconciler.journal.suspension import paused, resumed, rolled_back, rolling_back, settled
from reconciler.log.redact import redact
from reconciler.passes.gates import Gates
from reconciler.passes.outcome import Gate, Outcome
from reconciler.passes.publish import until_unchanged
from reconciler.passes.reconcile import observe, reconcile
from reconciler.passes.recovery import recover_first
from reconciler.passes.restore import restore
from reconciler.passes.rollback import roll_back
from reconciler.passes.runner import PassRunner, Recorded, Work
from reconciler.passes.running import Pass
from reconciler.passes.sweeping import sweep
from reconciler.processes import Cancellation
from reconciler.status import ExpectedEnd, PassDetail, Reason, Result, Trigger
from reconciler.trees.interruption import interruption_of
from reconciler.trees.workspace import Busy
from reconciler.vault.whereabouts import places_of


@dataclass
class Direct:
    """One environment that a command works on itself, without the service."""

    environment: Environment
    journal: Journal
    monitor: HoldMonitor

    @property
    def state(self) -> State:
        """The state that the journal has of it."""
        return self.journal.state(self.environment.key)

    def change(self, how: Callable[[State], State]) -> State:
        """Update that state; it is on the disk afterwards."""
        return self.journal.update_state(self.environment.key, how, durable=True)

    def pause(self, reason: str | None, duration: float | None) -> State:
        """Leave the environment alone, and record why in the history."""
        said = _without_passwords(reason)
        state = self.change(lambda before: paused(before, said, duration, time.time()))
        self._note(Trigger.MANUAL, "paused without the service; nothing was looked at", reason)
        return state

    def resume(self, reason: str | None) -> State:
        """Manage the environment again, and record why in the history."""
        state = self.change(resumed)
        self._note(Trigger.RESUME, "resumed without the service; nothing was looked at", reason)
        return state

    def _note(self, trigger: Trigger, message: str, reason: str | None) -> None:
        """Record something that was done without a pass."""
        key, now = self.environment.key, time.time()
        number = self.journal.begin(key, trigger, now)
        self.journal.finish(
            key,
            PassDetail(
                id=number,
                trigger=trigger,
                result=Result.UNCHANGED,
                started_at=iso(now),
                duration_seconds=0.0,
                revision=self.environment.last_revision,
                message=message,
                reason_given=_without_passwords(reason),
            ),
        )

    def _seen(self, running: Pass) -> Snapshot:
        snapshot = running.look(audit=True)
        self.monitor.keep(snapshot, running.lock, compare=True, refuse_moved=running.refuse_moved)
        return snapshot

    def reconcile(self, follower: Follower, *, force: bool, reason: str | None = None) -> Recorded:
        """Run one pass; before it, if configured, one for each broken hold that restores it."""
        gate = None if force else Gates(suspension=lambda: self.state.suspension)
        restores = self.environment.config.on_hold_broken is OnHoldBroken.RESTORE
        while True:
            to_restore: list[NormalizedName] = []

            def work(running: Pass) -> Outcome:
                snapshot = until_unchanged(running, lambda: self._seen(running))
                broken = self.monitor.first_broken(snapshot) if restores else None
                if broken is None:
                    return reconcile(running, audit=False)
                to_restore.append(broken)  # noqa: B023 -- run before the next round begins
                return restore(running, broken)

            recorded = self.run(work, Trigger.MANUAL, follower, reason, gate, may_create=True)
            if not to_restore or recorded.trouble is not None:
                return recorded

    def roll_back(self, number: int | None, reason: str | None, follower: Follower) -> Recorded:
        """Make an older tree live again, and leave it alone until the project's files change."""
        said = _without_passwords(reason)

        def work(running: Pass) -> Outcome:
            outcome = roll_back(
                running, number, said, lambda begun: self.change(lambda s: rolling_back(s, begun))
            )
            revision = outcome.snapshot.revision
            self.change(
                lambda state: rolled_back(state, outcome.generation, revision, said, time.time())
            )
            self.monitor.accept_what_is(outcome.snapshot, running.lock)
            return outcome

        return self.run(work, Trigger.ROLLBACK, follower, reason)

    def restore(
        self, name: NormalizedName, follower: Follower, reason: str | None = None
    ) -> Recorded:
        """Restore a hold from the vault, in an environment that may not exist yet."""
        return self.run(
            lambda running: restore(running, name), Trigger.RESTORE, follower, reason,
            may_create=True,
        )  # fmt: skip

    def accept(
        self, name: NormalizedName, follower: Follower, reason: str | None = None
    ) -> Recorded:
        """Make the installed build the held one."""

        def work(running: Pass) -> Outcome:
            accepted = self.monitor.accept(running.look(audit=True), name, running.lock)
            seen = observe(self.environment.look(refresh=True))
            return replace(seen, message=str(accepted))

        return self.run(work, Trigger.ACCEPT, follower, reason)

    def run(
        self,
        work: Work,
        trigger: Trigger,
        follower: Follower,
        reason: str | None = None,
        gate: Gate | None = None,
        *,
        may_create: bool = False,
    ) -> Recorded:
        """Run and record one pass; Ctrl-C stops it.

        Args:
            work: What to do.
            trigger: What started it, for the history.
            follower: Shows its progress.
            reason: The reason that the caller gave.
            gate: May postpone it.
            may_create: Whether to create the environment if there is none.

        Raises:
            KeyboardInterrupt: it was stopped before the change was complete, and every old file
                is back in its place.
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
                reason_given=_without_passwords(reason),
                may_create=may_create,
            )

        recorded = cancellable(run)
        if recorded.trouble is not None and recorded.trouble.reason == Reason.STOPPED:
            raise KeyboardInterrupt
        return recorded

    def _close_interrupted(self) -> None:
        """Close the passes that a killed command left open in the history.

        A running service closes its own.
        """
        if self.journal.has_interrupted(self.environment.key):
            with suppress(Busy), self.environment.workspace.service_lock():
                self.journal.close_interrupted(self.environment.key)

    def refuse_suspended(self) -> None:
        """Refuse to change what is paused, rolled back or only observed.

        Raises:
            click.ClickException: it is one of these.
        """
        name = self.environment.config.name
        if self.environment.config.mode is Mode.OBSERVE:
            raise click.ClickException(
                f'{name} is only observed (mode = "observe"). `reconciler plan` shows what would '
                "change; `reconciler apply --force` changes it anyway."
            )
        revision, now = self._revision(), time.time()
        suspension = settled(self.state, revision, now).suspension
        if suspension is not None:
            until = f" until {suspension.until}" if suspension.until else ""
            raise click.ClickException(
                f"{name} has been left alone since {suspension.since}{until}: "
                f"{suspension.reason}. "
                "`reconciler resume` ends that; `reconciler apply --force` changes it once."
            )
        if self.state.suspension is not None:
            self.change(lambda state: settled(state, revision, now))

    def _revision(self) -> str | None:
        try:
            return self.environment.look().revision
        except (ExpectedEnd, OSError):  # the pass says it
            return None


def _without_passwords(reason: str | None) -> str | None:
    return redact(reason) if reason else None


def open_journal(config: Config) -> Journal:
    """Open the journal; if the old one was damaged, say where it went.

    Raises:
        Insecure: As root: others may write it.
    """
    path = config.service.state_dir / "journal.sqlite3"
    for problem in check_trust([path], os.geteuid()):
        raise Insecure(problem)
    journal = Journal(path)
    journal.when_set_aside(_tell_set_aside)
    if journal.set_aside is not None:
        _tell_set_aside(journal.set_aside)
    return journal


def _tell_set_aside(aside: Path) -> None:
    complain(f"The history was damaged. It has been moved to {aside}, and a new one was started.")


def recovered(config: Config, target: EnvironmentConfig) -> None:
    """Before a command acts itself: finish or undo what a crash interrupted, and say so.

    Raises:
        NotRecovered: The file system prevents it.
        Insecure: As root: others may write something that decides.
        KeyboardInterrupt: it was stopped while it waited for another pass.
    """
    environment = Environment(target, os.environ, config.service.uv, places_of(config.service))
    if interruption_of(environment.place) is None:
        return
    problem = environment.insecure
    if problem is not None:
        raise Insecure(problem)
    done = cancellable(lambda cancel: recover_first(environment, cancel))
    if done:
        complain(f"Recovered: {done}.")


@contextmanager
def direct(config: Config, target: EnvironmentConfig) -> Iterator[Direct]:
    """Open the environment and its journal.

    Raises:
        OSError: the state folder cannot be written.
    """
    journal = open_journal(config)
    try:
        environment = Environment(target, os.environ, config.service.uv, places_of(config.service))
        try:
            yield Direct(environment, journal, HoldMonitor(environment))
        finally:
            with suppress(KeyboardInterrupt):  # the pass is over: the next one removes the rest
                sweep(environment)
    finally:
        journal.close()
