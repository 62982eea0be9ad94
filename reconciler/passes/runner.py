"""Runs one pass under the environment's lock and records how it ended.

Shared by the service and by the one-shot commands: what is written to the journal, and
when a failed pass is tried again, is the same for both. Turns every way a pass can end
into words; nothing is swallowed.
"""

import errno
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from reconciler.config import Mode
from reconciler.environment.environment import Environment
from reconciler.environment.interpreter import InterpreterError
from reconciler.holds.monitor import HoldMonitor, NothingToAccept
from reconciler.journal.history import Journal, State, iso
from reconciler.log.logger import context, get_logger
from reconciler.log.redact import redact
from reconciler.passes.outcome import (
    Gate,
    KeepsChanging,
    Listener,
    Outcome,
    Postponed,
    Refused,
    Unready,
)
from reconciler.passes.prove import VerifyFailed
from reconciler.passes.reconcile import Pass, recover
from reconciler.planning.counterfactual import still_held_back
from reconciler.planning.planner import HoldViolation
from reconciler.processes import Cancellation, Cancelled
from reconciler.state.desired import FileProblem
from reconciler.status import Hold, PassDetail, Problem, Result
from reconciler.trees import generations
from reconciler.trees.exchange import ExchangeImpossible
from reconciler.trees.workspace import Busy, PassLock
from reconciler.uv.program import UvError
from reconciler.vault.copies import CopyDamaged

log = get_logger(__name__)

FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 600.0


class Reason(StrEnum):
    """Why a pass did not end well, where no part of it has its own word."""

    BAD_FILE = "BadFile"
    INTERPRETER_UNUSABLE = "InterpreterUnusable"
    HOLD_VIOLATION = "HoldViolation"
    KEEPS_CHANGING = "KeepsChanging"
    BUSY = "Busy"
    VAULT_DAMAGED = "VaultDamaged"
    NOTHING_TO_ACCEPT = "NothingToAccept"
    DISK_FULL = "DiskFull"
    JOURNAL_FAILED = "JournalFailed"
    NOT_WRITABLE = "NotWritable"
    FILE_SYSTEM = "FileSystemError"
    STOPPED = "Stopped"
    UNEXPECTED = "UnexpectedError"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pass ended without its result, in one word and in a sentence."""

    reason: str
    message: str
    problem: Problem | None = None
    retry_after: float | None = None
    """Seconds after which it is tried again, where that is known; else the back-off rules."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A pass that is over: what the journal says of it, and what it found."""

    detail: PassDetail
    outcome: Outcome | None
    trouble: Trouble | None
    state: State
    holds: tuple[Hold, ...] | None = None
    """The holds as they are afterwards; None if the pass did not get that far."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """How the work of a pass ended, and what followed it under the lock."""

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

    def run(
        self,
        work: Work,
        *,
        trigger: str,
        pass_id: int | None,
        cancel: Cancellation,
        listener: Listener,
        keep_unchanged: bool = True,
    ) -> Recorded:
        """Run `work` as one pass.

        Args:
            work: What to do with the pass; usually `Pass.reconcile`.
            trigger: What woke it up.
            pass_id: Its id, if one was given out already.
            cancel: Ends it.
            listener: Who follows it.
            keep_unchanged: Whether to record a pass even if nothing happened.
        """
        key = self.environment.key
        started = self.clock()
        number = pass_id or self.journal.begin(key, trigger, started)
        running = Pass(self.environment, cancel, listener, self.gate)
        with context(environment=self.environment.config.name, pass_id=number):
            log.info("pass.started", trigger=trigger)
            ended = self._attempt(running, work, cancel)
            outcome, trouble = ended.outcome, ended.trouble
            detail = self._detail(number, trigger, started, running, outcome, trouble)
            state = self.journal.update_state(
                key, lambda before: self._new_state(before, outcome, trouble)
            )
            self._tell(detail, trouble)
            if outcome is None or detail.failed:
                self._tell_retry(state)
        if keep_unchanged or is_worth_telling(detail, trouble):
            self.journal.finish(key, detail)
        else:
            self.journal.discard(number)
        return Recorded(detail, outcome, trouble, state, ended.holds)

    def _attempt(self, running: Pass, work: Work, cancel: Cancellation) -> _Ended:
        try:
            running.refuse_insecure()
            if not self.environment.exists and self.environment.config.mode is Mode.APPLY:
                running.create()
            workspace = self.environment.workspace
            workspace.create()
            with workspace.pass_lock(cancel, self.environment.config.timeout) as running.lock:
                done = recover(self.environment)
                if done:
                    log.warning("recovered", what=done)
                return self._finish(work(running), running.lock)
        except Exception as error:  # noqa: BLE001 -- one of the two places that keep it alive
            return _Ended(trouble=trouble_of(error))

    def _finish(self, outcome: Outcome, lock: PassLock) -> _Ended:
        """What follows the work while the lock is still held: nobody else writes meanwhile."""
        try:
            self.environment.remember_good(outcome.snapshot)
            holds = self.monitor.keep(outcome.snapshot, lock, compare=bool(outcome.changes))
        except (OSError, CopyDamaged) as error:  # the work is done, whatever the vault says
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
        duration = round(self.clock() - started, 3)
        detail = PassDetail(
            id=number,
            trigger=trigger,
            result=outcome.result if outcome else Result.FAILED,
            started_at=iso(started),
            duration_seconds=duration,
            message=f"{trouble.reason}: {trouble.message}" if trouble else None,
            phases={name: round(seconds, 4) for name, seconds in running.steps.items()},
            log=redact("".join(running.log)),
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
            message=redact(f"{Reason.BAD_FILE}: {problem}") if problem else said,
            revision=outcome.snapshot.revision,
            generation=outcome.generation,
            changes=outcome.changes,
            plan=outcome.plan,
            failed=outcome.failed,
            held_back=outcome.held_back or (),
        )

    def _live_generation(self) -> int | None:
        with suppress(InterpreterError, OSError):
            return generations.live(self.environment.workspace).number
        return None

    def _new_state(self, state: State, outcome: Outcome | None, trouble: Trouble | None) -> State:
        """What must be remembered: revisions, held back packages, and when to try again."""
        if outcome is None:
            if trouble is not None and trouble.reason == Reason.STOPPED:
                return state
            after = trouble.retry_after if trouble else None
            if trouble is not None and trouble.reason == Reason.BUSY:
                after = FIRST_RETRY_SECONDS  # costs nothing, and may be over at any time
            return self._after_failure(state, self.environment.last_revision, after)
        revision = outcome.snapshot.revision
        fresh = outcome.held_back or ()
        # uv tells it only of what it would change, so what is known already is kept.
        told = {entry.name for entry in fresh}
        known = tuple(entry for entry in state.held_back if entry.name not in told)
        held_back = (*fresh, *still_held_back(known, outcome.snapshot))
        state = msgspec.structs.replace(state, held_back=held_back)
        if not outcome.attempted and not outcome.snapshot.drift.in_sync:
            return state  # looking neither ends a back-off nor draws it out
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
        """The back-off: 5 s, doubling, at most 10 min, with full jitter; anew for each revision."""
        failures = state.failures if state.last_attempted_revision == revision else 0
        if retry_after is None:  # else it only waits, which is no failure
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
        elif trouble is not None and trouble.retry_after is None:  # who waits has not failed
            log.error("pass.failed", reason=trouble.reason, message=trouble.message,
                      duration=detail.duration_seconds)  # fmt: skip
        log.info("pass.finished", result=str(detail.result), duration=detail.duration_seconds,
                 generation=detail.generation, changes=len(detail.changes),
                 failed=len(detail.failed))  # fmt: skip

    def _tell_retry(self, state: State) -> None:
        seconds = state.retry_at - self.clock() if state.retry_at is not None else 0.0
        if seconds > 0:
            log.info("retry.scheduled", seconds=round(seconds, 1), failures=state.failures)


def is_worth_telling(detail: PassDetail, trouble: Trouble | None) -> bool:
    """Whether something happened in a pass that nobody asked for.

    One that only found that changes must still wait is none: a job that runs for days would
    fill the history with them, and drive everything else out.
    """
    if trouble is not None:
        return trouble.retry_after is None
    return detail.result is not Result.UNCHANGED or bool(detail.failed)


def problem_of(problem: FileProblem) -> Problem:
    """A file's problem as the status shows it."""
    return Problem(
        file=str(problem.file),
        line=problem.line,
        column=problem.column,
        reason=redact(problem.reason),
        mend=problem.mend,
        text=redact(problem.text) if problem.text else None,
    )


def trouble_of(error: Exception) -> Trouble:  # noqa: C901, PLR0911, PLR0912 -- one line each
    """The words for whatever ended a pass; what nobody foresaw is logged with its traceback."""
    message = redact(str(error))
    match error:
        case Unready():
            return Trouble(Reason.BAD_FILE, message, problem_of(error.problem))
        case FileProblem():
            return Trouble(Reason.BAD_FILE, message, problem_of(error))
        case UvError() | VerifyFailed():
            if isinstance(error, VerifyFailed):
                log.error("verify.failed", reason=error.reason, message=message,
                          output=error.output)  # fmt: skip
            return Trouble(error.reason, message)
        case HoldViolation():
            log.error("hold.violation", package=error.name, message=message)
            return Trouble(Reason.HOLD_VIOLATION, message)
        case Refused():
            return Trouble(error.reason, message)
        case NothingToAccept():
            return Trouble(Reason.NOTHING_TO_ACCEPT, message)
        case CopyDamaged():
            return Trouble(Reason.VAULT_DAMAGED, message)
        case Postponed():
            return Trouble(error.reason, message, retry_after=error.retry_after)
        case InterpreterError():
            return Trouble(Reason.INTERPRETER_UNUSABLE, message)
        case KeepsChanging():
            return Trouble(Reason.KEEPS_CHANGING, message)
        case Busy():
            return Trouble(Reason.BUSY, f"{message}. Wait for it, or end it.")
        case Cancelled():
            return Trouble(Reason.STOPPED, "the pass was stopped; the environment is as it was")
        case OSError() | ExchangeImpossible():
            return _file_trouble(error)
    log.error("pass.unexpected", exc_info=error)
    kind = type(error).__name__
    return Trouble(
        Reason.UNEXPECTED,
        f"{kind}: {message}. This is a defect of Reconciler: please report it with the "
        "traceback in the journal. The environment is as it was.",
    )


def _file_trouble(error: Exception) -> Trouble:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return Trouble(Reason.DISK_FULL, f"{error}. Free some space; the environment is as it was.")
    if number == errno.EROFS:
        return Trouble(
            Reason.NOT_WRITABLE,
            f"{error}. Under systemd, say `reconciler service install` again: it makes every "
            "configured environment writable. Else mount the file system writable.",
        )
    if number in (errno.EACCES, errno.EPERM):
        return Trouble(
            Reason.NOT_WRITABLE,
            f"{error}. Let the service's user write the environment, or run as its owner.",
        )
    return Trouble(Reason.FILE_SYSTEM, f"{error}. The environment is as it was.")


__all__ = [
    "PassRunner",
    "Reason",
    "Recorded",
    "Trouble",
    "is_worth_telling",
    "problem_of",
    "trouble_of",
]
