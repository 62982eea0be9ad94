"""Leaving an environment alone: what is remembered of it, from one lasting state to the next.

Pure. The service and the commands write the same, so either can end what the other began.
"""

import msgspec

from reconciler.journal import State, iso
from reconciler.status import Suspension


def paused(state: State, reason: str | None, duration: float | None, now: float) -> State:
    """Paused by hand.

    Args:
        state: before.
        reason: in the words of whoever asks.
        duration: seconds; None: until resumed.
        now: seconds since the epoch.
    """
    until = now + duration if duration else None
    suspension = Suspension(
        reason=reason or "paused by hand",
        since=iso(now),
        until=iso(until) if until else None,
    )
    return msgspec.structs.replace(state, suspension=suspension, suspended_until=until)


def resumed(state: State) -> State:
    """Looked after again."""
    return msgspec.structs.replace(
        state, suspension=None, suspended_until=None, rolled_back_revision=None
    )


def rolled_back(
    state: State, generation: int, revision: str | None, reason: str | None, now: float
) -> State:
    """Left as it is after a roll-back, until the files change or someone resumes.

    Args:
        state: before.
        generation: the one that is live again.
        revision: of the files now, which is not to be applied again.
        reason: in the words of whoever asks.
        now: seconds since the epoch.
    """
    because = f": {reason}" if reason else ""
    suspension = Suspension(
        reason=f"rolled back to generation {generation}{because}",
        since=iso(now),
        revision=revision,
    )
    return msgspec.structs.replace(
        state, suspension=suspension, suspended_until=None, rolled_back_revision=revision
    )


def in_force(state: State, revision: str | None, now: float) -> Suspension | None:
    """Why the environment is left alone at this moment, if it is.

    Args:
        state: what is remembered.
        revision: of the files now: another one ends what a roll-back began.
        now: seconds since the epoch.
    """
    if state.suspended_until is not None and state.suspended_until <= now:
        return None
    if state.rolled_back_revision and state.rolled_back_revision != revision:
        return None
    return state.suspension
