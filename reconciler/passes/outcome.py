"""How a pass may end: with an outcome, or with the reason why there is none; and who follows it.

Plain values. What becomes of them in words is `recording`'s part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.processes import Cancellation
from reconciler.state.desired import BadFile
from reconciler.status import Change, ExpectedEnd, Failure, HeldBack, Problem, Reason, Result


class Listener(Protocol):
    """Who follows a pass while it runs; called from several threads."""

    def step(self, name: str) -> None:
        """A step begins: look, plan, install, verify, exchange."""

    def planned(self, changes: Sequence[Change]) -> None:
        """The pass knows what is to change; a later call replaces an earlier one."""

    def line(self, text: str) -> None:
        """uv said something."""


class Gate(Protocol):
    """Who may put off the moment in which a new tree goes live."""

    def wait_until_open(self, environment: Environment, cancel: Cancellation) -> None:
        """Return when the tree may go live; raise `Postponed` if that will not be soon."""


class Postponed(ExpectedEnd):
    """The new tree may not go live now: a job is running, or it is outside the window."""

    retry_after: float

    def __init__(self, reason: Reason, message: str, retry_after: float) -> None:
        super().__init__(message, reason=reason, retry_after=retry_after)


class Insecure(ExpectedEnd):
    """The service runs as root on what others may write."""

    reason = Reason.INSECURE

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.sentence)


class NotUndone(ExpectedEnd):
    """A change in place failed, and putting the old files back failed as well."""

    reason = Reason.FILE_SYSTEM

    def __init__(self, first: BaseException, then: OSError) -> None:
        super().__init__(
            f"the change in place failed ({first}), and the old files could not all be put back "
            f"({then}). They are kept: the next pass puts them back before it does anything else."
        )


class Unready(BadFile):
    """There is nothing to go by: the project's file never was good."""


class KeepsChanging(ExpectedEnd):
    """The live tree changed under every attempt."""

    reason = Reason.KEEPS_CHANGING

    def __init__(self, where: str) -> None:
        super().__init__(
            f"the environment kept changing while it was being reconciled (last in {where}). "
            "Another installer is at work; this is tried again when it is done."
        )


@dataclass(frozen=True)
class Outcome:
    """How a pass ended, with everything there is to tell of it."""

    result: Result
    snapshot: Snapshot
    """The environment as it is afterwards."""
    changes: tuple[Change, ...] = ()
    plan: tuple[Change, ...] = ()
    failed: tuple[Failure, ...] = ()
    held_back: tuple[HeldBack, ...] | None = None
    """None if this pass did not find out."""
    generation: int = 0
    atomic: bool = True
    atomic_reason: str | None = None
    message: str | None = None
    """What else there is to know, in a sentence."""
    attempted: bool = True
    """Whether this was an attempt to reach what is declared, rather than a look at it."""


class LiveTreeChanged(Exception):
    """Somebody else changed the live tree since it was cloned: the attempt starts over."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.where = where
