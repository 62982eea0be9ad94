"""Leaving an environment alone: what is remembered of it, from one lasting state to the next.

Pure. The service and the commands write the same, so either can end what the other began.
"""

import msgspec

from reconciler.journal.history import State, iso
from reconciler.status import Suspension


def paused(state: State, reason: str | None, duration: float | None, now: float) -> State:
    """Paused by hand; a roll-back that is in force stays so beneath the pause.

    Args:
        state: before.
        reason: in the words of the person who asks.
        duration: seconds; None: until resumed.
        now: seconds since the epoch.
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
    """Managed again."""
    return msgspec.structs.replace(
        state, suspension=None, beneath=None, suspended_until=None, rolled_back_revision=None
    )


def rolled_back(
    state: State, generation: int, revision: str | None, reason: str | None, now: float
) -> State:
    """Left as it is after a roll-back, until the files change or someone resumes.

    A pause that is in force stays so beneath the roll-back.

    Args:
        state: before.
        generation: the one that is live again.
        revision: of the files now, which is not to be applied again.
        reason: in the words of the person who asks.
        now: seconds since the epoch.
    """
    because = f": {reason}" if reason else ""
    suspension = Suspension(
        reason=f"rolled back to generation {generation}{because}",
        since=iso(now),
        revision=revision,
    )
    return msgspec.structs.replace(
        state, suspension=suspension, beneath=_pause_of(state), rolled_back_revision=revision
    )


def settled(state: State, revision: str | None, now: float) -> State:
    """The state without what is over: a pause by its time, a roll-back by an edit.

    Args:
        state: what is remembered.
        revision: of the files now: another one ends what a roll-back began; None: not known.
        now: seconds since the epoch.
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
