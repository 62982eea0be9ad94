"""What an examination finds: the state of one thing, and what to do about it."""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but not as well as it could, or not for long."""
    PROBLEM = "problem"
    """Reconciling will fail, or something is broken already."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one check."""

    check: str
    """A fixed word, part of the JSON."""
    verdict: Verdict
    message: str
    fix: str | None = msgspec.field(default=None, name="mend")
    """How to fix it. It was `mend` in the JSON first, and fields are never renamed there."""
    environment: str | None = None
    """None: it is about the machine, or the service."""


def fine(check: str, message: str) -> Finding:
    """Nothing is wrong."""
    return Finding(check=check, verdict=Verdict.OK, message=message)


def warning(check: str, message: str, fix: str) -> Finding:
    """Something needs attention."""
    return Finding(check=check, verdict=Verdict.WARNING, message=message, fix=fix)


def problem(check: str, message: str, fix: str) -> Finding:
    """Something is in the way."""
    return Finding(check=check, verdict=Verdict.PROBLEM, message=message, fix=fix)
