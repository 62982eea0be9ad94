"""Leaving an environment alone: how a pause or a rollback changes the lasting state.

Pure. The service and the commands write the same state, so either can end what the other began.
"""

import msgspec

from reconciler.journal.history import RollingBack, State, iso
from reconciler.status import Suspension


def paused(state: State, reason: str | None, duration: float | None, now: float) -> State:
    """The state after a pause; a rollback that is in effect stays so beneath it.

    Args:
        state: The state before.
        reason: Given by the caller.
        duration: Seconds; None: until resumed.
        now: Seconds since the epoch.
    """
    until = now + duration if duration else None
    pause = Suspension(
        reason=reason or "paused by hand",
        since=iso(now),
        until=iso(until) if until else None,
    )
    return msgspec.structs.replace(
        state, suspension=pause, suspended_until=until, beneath=_roll_back_of(state)
    )


def resumed(state: State) -> State:
    """The state after a resume: managed again, even if a rollback was killed just before."""
    return msgspec.structs.replace(
        state, suspension=None, beneath=None, suspended_until=None, rolled_back_revision=None,
        rolling_back=None,
    )  # fmt: skip


def rolling_back(state: State, about_to: RollingBack) -> State:
    """The state just before a rollback goes live: from then on, a kill loses nothing of it."""
    return msgspec.structs.replace(state, rolling_back=about_to)


def ended(state: State, live: int, activation: int, now: float) -> State:
    """The state after a rollback that was interrupted: it is live, or it never was.

    Args:
        state: The state before.
        live: The number of the live tree.
        activation: Its activation.
        now: Seconds since the epoch.
    """
    begun = state.rolling_back
    if begun is None:
        return state
    if (live, activation) == (begun.generation, begun.activation):
        return rolled_back(state, live, begun.revision, begun.reason, now)
    return msgspec.structs.replace(state, rolling_back=None)


def rolled_back(
    state: State, generation: int, revision: str | None, reason: str | None, now: float
) -> State:
    """The state after a rollback: left alone until the files change or someone resumes.

    A pause that is in effect stays so beneath the rollback.

    Args:
        state: The state before.
        generation: The generation that is live again.
        revision: The current revision of the files, which must not be applied again.
        reason: Given by the caller.
        now: Seconds since the epoch.
    """
    because = f": {reason}" if reason else ""
    suspension = Suspension(
        reason=f"rolled back to generation {generation}{because}",
        since=iso(now),
        revision=revision,
    )
    return msgspec.structs.replace(
        state, suspension=suspension, beneath=_pause_of(state), rolled_back_revision=revision,
        rolling_back=None,
    )  # fmt: skip


def settled(state: State, revision: str | None, now: float) -> State:
    """The state without what is over: a pause that has expired, a rollback ended by an edit.

    Args:
        state: The state before.
        revision: The current revision of the files; a new one ends a rollback. None: unknown.
        now: Seconds since the epoch.
    """
    if state.suspended_until is not None and state.suspended_until <= now:
        roll_back = _roll_back_of(state)
        state = msgspec.structs.replace(
            state, suspension=roll_back, beneath=None, suspended_until=None
        )
    if revision is not None and state.rolled_back_revision not in (None, revision):
        state = msgspec.structs.replace(
            state, suspension=_pause_of(state), beneath=None, rolled_back_revision=None
        )
    return state


def _pause_of(state: State) -> Suspension | None:
    both = (state.suspension, state.beneath)
    return next((it for it in both if it is not None and it.revision is None), None)


def _roll_back_of(state: State) -> Suspension | None:
    both = (state.suspension, state.beneath)
    return next((it for it in both if it is not None and it.revision is not None), None)
