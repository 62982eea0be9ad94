"""Why a pass ended without its result; every way is put into words, and no error is hidden."""

import sqlite3

import msgspec

from reconciler.log.logger import get_logger
from reconciler.log.redact import redact
from reconciler.passes.outcome import reason_of
from reconciler.passes.prove import VerifyFailed
from reconciler.planning.decision import HoldViolation
from reconciler.processes import Cancelled
from reconciler.status import ExpectedEnd, Problem, Reason

log = get_logger(__name__)

JOURNAL_FIX = (
    "Free some space, let the service's user write it, or end what locks it; it is tried again."
)


class Trouble(msgspec.Struct, frozen=True):
    """Why a pass ended without its result, in one word and in a sentence."""

    reason: Reason
    message: str
    problem: Problem | None = None
    retry_after: float | None = None
    """Seconds until the retry, if that is known; otherwise the back-off decides."""


def trouble_of(error: Exception, *, untouched: bool = False) -> Trouble:
    """Why a pass ended; an unexpected error is logged with its traceback.

    Args:
        error: What was raised.
        untouched: Whether the environment is known to be unchanged.
    """
    known = " The environment is unchanged." if untouched else ""
    match error:
        case ExpectedEnd():
            _tell_facts(error)
            message = redact(error.message)
            return Trouble(error.reason, message, error.problem, error.retry_after)
        case sqlite3.Error():
            return Trouble(
                Reason.JOURNAL_FAILED,
                redact(f"the history cannot be used ({error}). {JOURNAL_FIX}{known}"),
            )
        case Cancelled():
            return Trouble(Reason.STOPPED, f"the pass was stopped.{known}")
        case OSError():
            reason, fix = reason_of(error)
            return Trouble(reason, redact(f"{error}. {fix}{known}"))
    log.error("pass.unexpected", exc_info=error)
    return Trouble(
        Reason.UNEXPECTED,
        f"{type(error).__name__}: {redact(str(error))}. This is a bug in Reconciler: please "
        f"report it with the traceback in the log.{known}",
    )


def _tell_facts(error: ExpectedEnd) -> None:
    """Log the details that are not in the sentence."""
    message = redact(error.message)
    match error:
        case VerifyFailed():
            log.error("verify.failed", reason=error.reason, message=message, output=error.output)
        case HoldViolation():
            log.error("hold.violation", package=error.name, message=message)
