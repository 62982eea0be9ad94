"""How a pass can end: with an outcome, or with the reason why there is none; and its listeners.

Plain values; `runner` turns them into words.
"""

import errno
from collections.abc import Sequence
from typing import Protocol

import msgspec

from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.planning.counterfactual import Withheld
from reconciler.processes import Cancellation
from reconciler.state.desired import BadFile
from reconciler.status import Change, ExpectedEnd, Failure, Reason, Result
from reconciler.status.trouble import SPACE_FIX


class Listener(Protocol):
    """Follows a pass while it runs; called from several threads."""

    def step(self, name: str) -> None:
        """A step has begun: look, plan, install, verify, exchange."""

    def planned(self, changes: Sequence[Change]) -> None:
        """The pass knows what is to change; a later call replaces an earlier one."""

    def line(self, text: str) -> None:
        """uv printed a line."""


class Gate(Protocol):
    """Decides when a new tree may go live."""

    def wait_until_open(self, environment: Environment, cancel: Cancellation) -> None:
        """Return if the tree may go live; otherwise raise `Postponed`."""


class Postponed(ExpectedEnd):
    """The new tree may not go live now: a job is running, or it is outside the window."""

    retry_after: float

    def __init__(self, reason: Reason, message: str, retry_after: float) -> None:
        super().__init__(message, reason=reason, retry_after=retry_after)


class NotUndone(ExpectedEnd):
    """A change in place failed, and putting the old files back failed as well."""

    reason = Reason.FILE_SYSTEM

    def __init__(self, first: BaseException, then: OSError) -> None:
        super().__init__(
            f"the change in place failed ({first}), and not all of the old files could be restored "
            f"({then}). They are kept: the next pass restores them before it does anything else."
        )


class Unready(BadFile):
    """There is no desired state: the project's file cannot be used and has never been good."""


class KeepsChanging(ExpectedEnd):
    """The live tree changed during every attempt."""

    reason = Reason.KEEPS_CHANGING

    def __init__(self, where: str, installer: str | None = None) -> None:
        who = f"{installer} is working in it" if installer else "Another installer probably runs"
        super().__init__(
            f"the environment kept changing during the pass (last in {where}). {who}; the pass is "
            "retried when that is done."
        )


class Outcome(msgspec.Struct, frozen=True):
    """How a pass ended, with all details."""

    result: Result
    snapshot: Snapshot
    """The environment after the pass."""
    changes: tuple[Change, ...] = ()
    plan: tuple[Change, ...] = ()
    failed: tuple[Failure, ...] = ()
    held_back: tuple[Withheld, ...] | None = None
    """None if this pass did not find out."""
    generation: int = 0
    atomic: bool = True
    atomic_reason: str | None = None
    message: str | None = None
    """Further information, in a sentence."""
    attempted: bool = True
    """Whether this was an attempt to reach the desired state, not only a look."""


class LiveTreeChanged(Exception):
    """Someone else changed the live tree since it was cloned: the attempt starts over."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.where = where


def reason_of(error: OSError) -> tuple[Reason, str]:
    """The reason for an error of the system, and what to do."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return Reason.DISK_FULL, SPACE_FIX
        case errno.EROFS:
            return Reason.NOT_WRITABLE, (
                "Under systemd, run `reconciler service install` again: it makes every configured "
                "environment writable. Otherwise, mount the file system writable."
            )
        case errno.EACCES | errno.EPERM:
            return Reason.NOT_WRITABLE, (
                "Allow the service's user to write the environment, or run as its owner."
            )
        case errno.EIO:
            return Reason.FILE_SYSTEM, "The disk reports a fault: see `dmesg`, and check the disk."
    return Reason.FILE_SYSTEM, "Check the file and its file system."
