"""The types of queries, bodies and responses, except for the status (docs/http.md)."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from reconciler.daemon.requests import Apply, Words
from reconciler.status import PassStatus
from reconciler.web.api.parameters import LARGEST_INTEGER

LONGEST_WAIT = 60
MOST_PASSES = 500

EnvironmentName = Annotated[
    str,
    Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="The name of an environment."),
]
PackageName = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z0-9]([A-Za-z0-9._-]{0,198}[A-Za-z0-9])?$",
        description="The name of a held package, in any spelling.",
    ),
]
PassId = Annotated[int, Meta(ge=0, le=LARGEST_INTEGER, description="The id of a pass.")]
_Seconds = Annotated[
    float, Meta(ge=0, le=LONGEST_WAIT, description="The longest to wait, in seconds.")
]
_Since = Annotated[
    int,
    Meta(
        ge=0,
        le=LARGEST_INTEGER,
        description="Respond when `generation` is above this; by default, the current one.",
    ),
]
_Before = Annotated[
    int, Meta(ge=0, le=LARGEST_INTEGER, description="Show only passes with lower ids.")
]
_Limit = Annotated[int, Meta(ge=1, le=MOST_PASSES, description="The most passes to show.")]


class RequestForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of everything that clients send: an unknown field is refused."""


class StatusQuery(RequestForm, frozen=True, kw_only=True):
    """How to wait for news."""

    wait: _Seconds | UnsetType = UNSET
    since: _Since | UnsetType = UNSET


class EnvironmentQuery(RequestForm, frozen=True, kw_only=True):
    """Which environment; by default the first."""

    environment: EnvironmentName | UnsetType = UNSET


class HistoryQuery(RequestForm, frozen=True, kw_only=True):
    """Which passes."""

    environment: EnvironmentName | UnsetType = UNSET
    limit: _Limit = 50
    before: _Before | UnsetType = UNSET


class RestoreBody(RequestForm, frozen=True, kw_only=True):
    """Restore the broken hold in the path."""

    reason: Words | None = None
    apply: Apply = False


class AcceptBody(RequestForm, frozen=True, kw_only=True):
    """Hold the installed build of the package in the path."""

    reason: Words | None = None


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A request that a pass will carry out."""

    pass_: int = msgspec.field(name="pass")
    """The id of the pass: `GET /history/ID` shows it."""
    environment: str


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Passes, newest first."""

    passes: tuple[PassStatus, ...]
    next: str | None
    """Where the earlier passes are; null: there are none."""


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """The service can do its job."""

    ready: bool


class Liveness(msgspec.Struct, frozen=True, kw_only=True):
    """The working loops are making progress."""

    alive: bool


class FixResult(msgspec.Struct, frozen=True, kw_only=True):
    """What Fix Dependencies did; the first seven fields are the guide's."""

    success: bool
    """Everything that is declared and not held is installed, and nothing failed."""
    message: str
    packages_installed: int
    """How many declared requirements are satisfied at the end, not counting held packages."""
    packages_failed: int
    failed_packages: tuple[str, ...]
    """The requirements that are not satisfied, as declared."""
    stdout: str
    """What was done, a section for each package."""
    stderr: str
    """What went wrong, with the reasons."""
    environment: str
    pass_: int = msgspec.field(name="pass")
    held: tuple[str, ...]
    """Held packages as `name==version`; none of them was touched."""
