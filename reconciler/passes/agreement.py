"""Whether uv and we agree on what is left to do after a pass, and what is said if we do not.

If we see drift and uv has nothing to do about it, another try would end the same way: it is
reported once, and the next look is the ordinary one.
"""

from collections.abc import Iterable, Iterator

from reconciler.environment.snapshot import Snapshot
from reconciler.state.rows import Row
from reconciler.state.words import message_of
from reconciler.status import Failure, Reason

_WHAT_TO_DO = (
    "This is a defect in Reconciler: please report it. `uv pip install --reinstall-package {name}` "
    "may settle it; nothing is retried until a file or the environment changes."
)


def disagreements(before: Snapshot, after: Snapshot) -> tuple[Failure, ...]:
    """What we still see after a pass in which uv did all that it wanted to.

    What changed during the pass is not one of them: the next pass sees it.

    Args:
        before: What the pass was based on.
        after: The environment after the pass; the same if nothing had to be changed.
    """
    return tuple(_failure(row, after is not before) for row in _left(before, after))


def _left(before: Snapshot, after: Snapshot) -> Iterator[Row]:
    if before.revision != after.revision:
        return
    seen = set(before.drift.drifted)
    for row in after.drift.drifted:
        if row in seen and before.local.get(row.name) == after.local.get(row.name):
            yield row


def _failure(row: Row, changed: bool) -> Failure:
    uv = "uv has nothing more to do about it" if changed else "uv has nothing to do about it"
    message = f"we see: {message_of(row)}; but {uv}. {_WHAT_TO_DO.format(name=row.name)}"
    requirement = f"{row.name} {row.required}" if row.required else str(row.name)
    return Failure(
        name=row.name, requirement=requirement, reason=Reason.DISAGREEMENT, message=message
    )


def only_disagreements(failed: Iterable[Failure]) -> bool:
    """Whether a retry of what failed would end the same way."""
    reasons = {failure.reason for failure in failed}
    return reasons == {Reason.DISAGREEMENT}
