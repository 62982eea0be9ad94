"""How a pass may end: with an outcome, or with the reason why there is none; and who follows it.

Plain values. What becomes of them in words is `recording`'s part.
"""

from dataclasses import dataclass
from typing import Protocol

from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.processes import Cancellation
from reconciler.state.desired import FileProblem
from reconciler.status import Change, Failure, HeldBack, Problem, Result


class Listener(Protocol):
    """Who follows a pass while it runs; called from several threads."""

    def step(self, name: str) -> None:
        """A step begins: look, plan, install, verify, exchange."""

    def line(self, text: str) -> None:
        """uv said something."""


class Gate(Protocol):
    """Who may put off the moment in which a new tree goes live."""

    def wait_until_open(self, environment: Environment, cancel: Cancellation) -> None:
        """Return when the tree may go live; raise `Postponed` if that will not be soon."""


class Postponed(Exception):
    """The new tree may not go live now: a job is running, or it is outside the window."""

    def __init__(self, reason: str, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        """Seconds."""


class Refused(Exception):
    """The pass cannot do what it was asked for; `reason` is one CamelCase word."""

    reason = "Refused"


class Insecure(Refused):
    """The service runs as root on what others may write."""

    reason = "Insecure"

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.reason}. {problem.mend}")
        self.problem = problem


class Unready(Exception):
    """There is nothing to go by: the project's file never was good."""

    def __init__(self, problem: FileProblem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class KeepsChanging(Exception):
    """The live tree changed under every attempt."""

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
