"""Runs one pass under the environment's lock, and records how it ended.

Shared by the service and the one-shot commands: both write the same to the journal and retry
failed passes in the same way.
"""

import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from reconciler.environment.environment import Environment
from reconciler.environment.interpreter import InterpreterError
from reconciler.environment.snapshot import Snapshot
from reconciler.files.trust import Insecure
from reconciler.holds.held_bytes import HoldEdited
from reconciler.holds.missed import to_remember
from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal, State, iso
from reconciler.journal.suspension import ended
from reconciler.log.logger import context, get_logger
from reconciler.log.redact import redact
from reconciler.passes import publish
from reconciler.passes.agreement import only_disagreements
from reconciler.passes.endings import Trouble, trouble_of
from reconciler.passes.outcome import Gate, Listener, LiveTreeChanged, Outcome
from reconciler.passes.reconcile import create
from reconciler.passes.recovery import recover, recover_first
from reconciler.passes.running import Pass
from reconciler.planning.counterfactual import still_held_back
from reconciler.processes import Cancellation
from reconciler.status import HeldBack, Hold, PassDetail, Reason, Result
from reconciler.trees import generations
from reconciler.trees.workspace import Busy
from reconciler.vault.copies import CopyDamaged

log = get_logger(__name__)
T = TypeVar("T")

FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 600.0


class Recorded(msgspec.Struct, frozen=True):
    """A finished pass: its entry in the journal, and what it found."""

    detail: PassDetail
    outcome: Outcome | None
    trouble: Trouble | None
    state: State
    holds: tuple[Hold, ...] | None = None
    """The holds after the pass; None if the pass did not get that far."""
    seen: Snapshot | None = None
    """What the last look found; None if the pass did not get that far."""


class _Ended(msgspec.Struct, frozen=True):
    """How the work of a pass ended, and what was done afterwards under the lock."""

    outcome: Outcome | None = None
    trouble: Trouble | None = None
    holds: tuple[Hold, ...] | None = None


Work = Callable[[Pass], Outcome]


@dataclass
class PassRunner:
    """Runs and records the passes of one environment."""

    environment: Environment
    journal: Journal
    monitor: HoldMonitor
    gate: Gate | None = None
    clock: Callable[[], float] = time.time
    jitter: Callable[[float, float], float] = field(default=random.uniform)
    unrecorded: Callable[[sqlite3.Error], None] | None = None
    """Told that the end of a pass cannot be recorded; returns when that is to be tried again.

    None: the error is raised, and nobody will know how the pass ended.
    """

    def run(
        self,
        work: Work,
        *,
        trigger: str,
        pass_id: int | None,
        cancel: Cancellation,
        listener: Listener,
        reason_given: str | None = None,
        keep_unchanged: bool = True,
        may_create: bool = False,
    ) -> Recorded:
        """Run `work` as one pass.

        Args:
            work: What the pass does; usually `reconcile`.
            trigger: What triggered it.
            pass_id: Its id, if it already has one.
            cancel: Ends it.
            listener: Follows it.
            reason_given: The caller's reason for the request.
            keep_unchanged: Whether to record a pass even if nothing happened.
            may_create: Whether to create the environment first if it does not exist.
        """
        key = self.environment.key
        started, began = self.clock(), time.monotonic()
        number = pass_id or self.journal.begin(key, trigger, started, reason_given=reason_given)
        running = Pass(self.environment, cancel, listener, self.gate)
        with context(environment=self.environment.config.name, pass_id=number):
            given = {"reason": reason_given} if reason_given else {}
            log.info("pass.started", trigger=trigger, **given)
            ended = self._attempt(running, work, cancel, may_create=may_create)
            outcome, trouble = ended.outcome, ended.trouble
            detail = self._detail(number, trigger, started, running, outcome, trouble)
            spent = round(time.monotonic() - began, 3)
            detail = msgspec.structs.replace(
                detail, reason_given=reason_given, duration_seconds=spent
            )
            state = self._until_recorded(
                lambda: self.journal.update_state(
                    key,
                    lambda before: _holding(self._new_state(before, outcome, trouble), ended.holds),
                )
            )
            self._tell(detail, trouble)
            if outcome is None or detail.failed:
                self._tell_retry(state)
        if keep_unchanged or is_worth_telling(detail, trouble):
            self._until_recorded(lambda: self.journal.finish(key, detail))
        else:
            self._until_recorded(lambda: self.journal.discard(number))
        return Recorded(detail, outcome, trouble, state, ended.holds, running.seen)

    def _until_recorded(self, write: Callable[[], T]) -> T:
        while True:
            try:
                return write()
            except sqlite3.Error as error:
                if self.unrecorded is None:
                    raise
                self.unrecorded(error)

    def _attempt(
        self, running: Pass, work: Work, cancel: Cancellation, *, may_create: bool
    ) -> _Ended:
        try:
            running.refuse_insecure()
            _tell_recovered(running, recover_first(self.environment, cancel))
            if may_create and not self.environment.exists:
                running.untouched = False
                create(running)
            workspace = self.environment.workspace
            workspace.create()
            with workspace.pass_lock(cancel, self.environment.config.timeout) as running.lock:
                _tell_recovered(running, recover(self.environment))
                self._recall()
                self.monitor.take_over(running.lock)
                return self._finish(work(running), running)
        except Exception as error:  # noqa: BLE001 -- one of the two places that keep the service alive
            if isinstance(error, HoldEdited):
                self.monitor.doubt()
            return _Ended(trouble=trouble_of(error, untouched=running.untouched))

    def _recall(self) -> None:
        """Go on from what earlier passes left: the holds that were there, a rollback.

        The environment is left alone if a process was killed after it had rolled back.
        """
        key = self.environment.key
        state = self.journal.state(key)
        self.monitor.before = state.held
        if state.rolling_back is None:
            return
        live = generations.live(self.environment.workspace)
        self.journal.update_state(
            key, lambda s: ended(s, live.number, live.activation, self.clock()), durable=True
        )

    def _finish(self, outcome: Outcome, running: Pass) -> _Ended:
        """Finish up while the lock is still held, so that nobody else writes meanwhile."""
        publish.forget_oldest(self.environment, self.environment.workspace)
        try:
            self.environment.remember_good(outcome.snapshot)
            holds = self.monitor.keep(
                outcome.snapshot, running.lock, compare=bool(outcome.changes),
                refuse_moved=running.refuse_moved,
            )  # fmt: skip
        except LiveTreeChanged:  # the next pass sees what someone has made of it
            return _Ended(outcome)
        except (OSError, CopyDamaged, Busy) as error:  # the work is done, even if the vault failed
            return _Ended(outcome, trouble_of(error))
        return _Ended(outcome, holds=holds)

    def _detail(
        self,
        number: int,
        trigger: str,
        started: float,
        running: Pass,
        outcome: Outcome | None,
        trouble: Trouble | None,
    ) -> PassDetail:
        detail = PassDetail(
            id=number,
            trigger=trigger,
            result=outcome.result if outcome else Result.FAILED,
            started_at=iso(started),
            message=f"{trouble.reason}: {trouble.message}" if trouble else None,
            phases={name: round(seconds, 4) for name, seconds in running.steps.items()},
            log=redact(running.log.text),
            proof=running.proof,
        )
        if outcome is None:
            return msgspec.structs.replace(
                detail,
                revision=self.environment.last_revision,
                generation=self._live_generation(),
                plan=running.planned,
            )
        problem = outcome.snapshot.problem
        said = detail.message or outcome.message
        return msgspec.structs.replace(
            detail,
            message=f"{Reason.BAD_FILE}: {problem}" if problem else said,
            revision=outcome.snapshot.revision,
            generation=outcome.generation,
            changes=outcome.changes,
            plan=outcome.plan,
            failed=outcome.failed,
            held_back=_served(outcome),
        )

    def _live_generation(self) -> int | None:
        with suppress(InterpreterError, Insecure, OSError):
            return generations.live(self.environment.workspace).number
        return None

    def _new_state(self, state: State, outcome: Outcome | None, trouble: Trouble | None) -> State:
        """What must be remembered: revisions, held-back packages, and when to retry."""
        if outcome is None:
            if trouble is not None and trouble.reason == Reason.STOPPED:
                return state
            after = trouble.retry_after if trouble else None
            if trouble is not None and trouble.reason in (Reason.BUSY, Reason.JOURNAL_FAILED):
                after = (
                    FIRST_RETRY_SECONDS  # a retry costs nothing, and the cause may end at any time
                )
            return self._after_failure(state, self.environment.last_revision, after)
        revision = outcome.snapshot.revision
        fresh = _served(outcome)
        # uv only reports this for what it would change, so earlier entries are kept.
        told = {entry.name for entry in fresh}
        known = tuple(entry for entry in state.held_back if entry.name not in told)
        held_back = (*fresh, *still_held_back(known, outcome.snapshot))
        state = msgspec.structs.replace(state, held_back=held_back)
        if not outcome.attempted and not outcome.snapshot.drift.in_sync:
            return state  # a look neither ends a back-off nor extends it
        if only_disagreements(outcome.failed):  # a retry would end the same way
            return msgspec.structs.replace(
                state, last_attempted_revision=revision, failures=0, retry_at=None
            )
        if outcome.failed or not outcome.snapshot.drift.in_sync:
            return self._after_failure(state, revision, None)
        return msgspec.structs.replace(
            state,
            last_attempted_revision=revision,
            last_applied_revision=revision,
            failures=0,
            retry_at=None,
        )

    def _after_failure(
        self, state: State, revision: str | None, retry_after: float | None
    ) -> State:
        """The back-off: 5 s, doubling, at most 10 min, jitter; starts over for each revision."""
        failures = state.failures if state.last_attempted_revision == revision else 0
        if retry_after is None:  # otherwise it only waits, which is not a failure
            failures += 1
            longest = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** (min(failures, 20) - 1))
            retry_after = max(1.0, self.jitter(0.0, longest))
        return msgspec.structs.replace(
            state,
            last_attempted_revision=revision,
            failures=failures,
            retry_at=self.clock() + retry_after,
        )

    def _tell(self, detail: PassDetail, trouble: Trouble | None) -> None:
        for failure in detail.failed:
            log.warning("package.failed", package=failure.name, requirement=failure.requirement,
                        reason=failure.reason, message=failure.message)  # fmt: skip
        for entry in detail.held_back:
            log.info("held.back", package=entry.name, chosen=entry.chosen, newest=entry.newest,
                     because=entry.because)  # fmt: skip
        if trouble is not None and trouble.reason == Reason.STOPPED:
            log.info("pass.stopped", message=trouble.message, duration=detail.duration_seconds)
        elif trouble is not None and trouble.retry_after is None:  # waiting is not a failure
            log.error("pass.failed", reason=trouble.reason, message=trouble.message,
                      duration=detail.duration_seconds)  # fmt: skip
        log.info("pass.finished", result=str(detail.result), duration=detail.duration_seconds,
                 generation=detail.generation, changes=len(detail.changes),
                 failed=len(detail.failed))  # fmt: skip

    def _tell_retry(self, state: State) -> None:
        seconds = state.retry_at - self.clock() if state.retry_at is not None else 0.0
        if seconds > 0:
            log.info("retry.scheduled", seconds=round(seconds, 1), failures=state.failures)


def _tell_recovered(running: Pass, done: str | None) -> None:
    if done:
        running.line(f"Recovered: {done}")


def _holding(state: State, holds: tuple[Hold, ...] | None) -> State:
    """With the holds as they are now; None: they are not known."""
    if holds is None:
        return state
    return msgspec.structs.replace(state, held=to_remember(state.held, holds))


def _served(outcome: Outcome) -> tuple[HeldBack, ...]:
    return tuple(entry.served() for entry in outcome.held_back or ())


def is_worth_telling(detail: PassDetail, trouble: Trouble | None) -> bool:
    """Whether something happened in a pass that nobody requested.

    A pass that only found that changes must still wait does not count: a job that runs for days
    would fill the history with such passes and push out everything else.
    """
    if trouble is not None:
        return trouble.retry_after is None
    return detail.result is not Result.UNCHANGED or bool(detail.failed)
