"""What is known of one environment at one moment, and what a finished pass changes in it. Pure."""

from collections.abc import Collection

import msgspec
from msgspec.structs import replace

from reconciler.config import EnvironmentConfig
from reconciler.environment.snapshot import Snapshot
from reconciler.journal.history import State
from reconciler.passes.endings import Trouble
from reconciler.passes.outcome import Outcome
from reconciler.status import Change, FailedImport, Failure, GenerationStatus, Gpu, Hold, PassStatus


class Known(msgspec.Struct, frozen=True):
    """Everything that a worker knows of its environment at one moment."""

    config: EnvironmentConfig
    state: State = msgspec.field(default_factory=State)
    snapshot: Snapshot | None = None
    holds: tuple[Hold, ...] = ()
    trouble: Trouble | None = None
    """Why the last pass did not end well."""
    failed: tuple[Failure, ...] = ()
    """What the last pass could not meet."""
    planned: tuple[Change, ...] = ()
    last_pass: PassStatus | None = None
    current: PassStatus | None = None
    step: str = ""
    """What the running pass is doing."""
    waits_beside: int | None = None
    """How many passes run at once, if the next one has to wait for its turn."""
    gpu: Gpu | None = None
    unimportable: tuple[FailedImport, ...] = ()
    """What passes have installed for the first time, and what cannot be imported."""
    atomic: bool = True
    atomic_reason: str | None = None
    generations: tuple[GenerationStatus, ...] = ()
    next_check_at: float | None = None
    polled: str | None = None
    """Why the files are polled instead of watched, and what to do."""


def idle(known: Known, next_check_at: float | None) -> Known:
    """No pass is running; the next one begins then (seconds since the epoch)."""
    return replace(known, current=None, step="", waits_beside=None, next_check_at=next_check_at)


def after_outcome(
    known: Known, outcome: Outcome, trouble: Trouble | None, holds: tuple[Hold, ...] | None
) -> Known:
    """What is known after a pass that came to its end.

    Args:
        known: Before it ended.
        outcome: What it found.
        trouble: What is in the way now.
        holds: The holds as they are now; None if the pass did not get that far.
    """
    settled = outcome.snapshot.drift.in_sync or bool(outcome.changes)
    after = replace(
        known,
        snapshot=outcome.snapshot,
        holds=known.holds if holds is None else holds,
        trouble=trouble,
        failed=outcome.failed or _still_failing(known.failed, outcome),
        planned=() if settled else known.planned,
    )
    if not outcome.changes:
        return after
    return replace(after, atomic=outcome.atomic, atomic_reason=outcome.atomic_reason)


def _still_failing(failed: Collection[Failure], outcome: Outcome) -> tuple[Failure, ...]:
    """After a pass that only looked: the failures of the last attempt that still show."""
    if outcome.attempted:
        return ()
    drifted = {row.name for row in outcome.snapshot.drift.drifted}
    return tuple(failure for failure in failed if failure.name in drifted)


def after_failure(
    known: Known, trouble: Trouble | None, seen: Snapshot | None, *, exists: bool
) -> Known:
    """What is known after a pass that failed.

    Args:
        known: Before it ended.
        trouble: Why it failed.
        seen: What it found when it last looked: the file may have been edited since the pass began.
        exists: Whether there is an environment.
    """
    if exists:
        return replace(known, trouble=trouble, snapshot=seen or known.snapshot)
    return replace(known, trouble=trouble, snapshot=None, holds=())
