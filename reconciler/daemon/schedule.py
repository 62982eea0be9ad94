"""When a worker looks again, and whether a failed attempt must still wait. Pure.

All times are seconds since the epoch.
"""

from reconciler.daemon.known import Known
from reconciler.environment.snapshot import Snapshot
from reconciler.journal.history import State
from reconciler.status import Reason, Trigger

_SOONEST = 0.2
"""Seconds between a pass and the next one."""
_SAME = 0.05
"""Seconds that two times of the same moment may differ: each is measured by itself."""
_NOT_ABOUT_FILES = frozenset({Reason.BAD_FILE, Reason.INTERPRETER_UNUSABLE, Reason.BUSY})
"""Why a pass could not even begin: it does as soon as that is over."""


def next_check(state: State, interval: float, *, began: float, now: float) -> float:
    """When to look again, after a pass.

    Args:
        state: What is remembered of the environment.
        interval: Seconds between looks if nothing else is due.
        began: When the pass began.
        now: The time.
    """
    times = [now + interval]
    # A retry that was due when the pass began has had its turn, even if that only looked.
    if state.retry_at is not None and state.suspension is None and state.retry_at > began:
        times.append(state.retry_at)
    if state.suspended_until is not None:
        times.append(state.suspended_until)
    return max(now + _SOONEST, min(times))


def due(known: Known, now: float) -> tuple[float, Trigger]:
    """When a pass begins if nothing happens before, and with which trigger."""
    at = known.next_check_at or now
    retry = known.state.retry_at
    return at, Trigger.RETRY if retry and retry <= at + _SAME else Trigger.INTERVAL


def waits_for_retry(known: Known, snapshot: Snapshot, now: float) -> bool:
    """Whether the last pass for these files failed, and it is not yet time to try again."""
    state, trouble = known.state, known.trouble
    if trouble is not None and trouble.reason in _NOT_ABOUT_FILES:
        return False
    waiting = state.retry_at is not None and state.retry_at > now
    return waiting and state.last_attempted_revision == snapshot.revision
