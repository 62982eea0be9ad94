"""What people may ask of a running service: a type for each request, with its own fields only.

Plain values. A request is decoded into one of them once, and stays that until it is carried out.
"""

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from reconciler.log.redact import redact

_LONGEST_PAUSE = 366 * 86_400
_LARGEST_INTEGER = 2**63 - 1
"""What SQLite holds."""

Words = Annotated[str, Meta(max_length=1000, description="Why, for the history and the log.")]
Apply = Annotated[
    bool, Meta(description="Change things this once, even where `mode` is `observe`.")
]
_Seconds = Annotated[
    float, Meta(gt=0, le=_LONGEST_PAUSE, description="For so many seconds; else for good.")
]
_Generation = Annotated[
    int, Meta(ge=0, le=_LARGEST_INTEGER, description="Which; by default the one before.")
]


class _Asked(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The base of all requests; what is not known is refused, what is not given is not sent."""


class Reconcile(_Asked, frozen=True, kw_only=True):
    """A pass, now."""

    reason: Words | None = None
    apply: Apply = False


class Pause(_Asked, frozen=True, kw_only=True):
    """Leave the environment alone."""

    reason: Words | None = None
    duration: _Seconds | None = None


class Resume(_Asked, frozen=True, kw_only=True):
    """Manage the environment again."""

    reason: Words | None = None


class Rollback(_Asked, frozen=True, kw_only=True):
    """Bring an earlier tree back."""

    reason: Words | None = None
    apply: Apply = False
    generation: _Generation | None = None


class Restore(_Asked, frozen=True, kw_only=True):
    """Put a broken hold back."""

    package: str
    reason: Words | None = None
    apply: Apply = False


class Accept(_Asked, frozen=True, kw_only=True):
    """Take what is installed as the held package."""

    package: str
    reason: Words | None = None


class CheckGpu(_Asked, frozen=True, kw_only=True):
    """Ask torch again what it sees."""


Request: TypeAlias = Reconcile | Pause | Resume | Rollback | Restore | Accept | CheckGpu


def reason_of(request: Request) -> str | None:
    """Why it is asked for, in the words of the person who asks, but without any password."""
    if isinstance(request, CheckGpu) or request.reason is None:
        return None
    return redact(request.reason)
