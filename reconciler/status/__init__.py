"""What the service reports: the types behind `GET /status`, `--json` and the page.

These structs are the contract with users (docs/http.md): fields are added, never renamed or
removed. They contain no secrets and nothing that cannot be shown.
"""

from enum import StrEnum
from typing import Literal

import msgspec

from reconciler.excerpts import MESSAGE, OUTPUT, shortened, together
from reconciler.status.trouble import ExpectedEnd, Problem, Reason

SCHEMA = 1

_LOG = 2 * OUTPUT
"""In characters: the log of a pass is an excerpt already, unless an older version wrote it."""


class Phase(StrEnum):
    """The overall state of one environment."""

    IN_SYNC = "InSync"
    DRIFTED = "Drifted"
    RECONCILING = "Reconciling"
    DEGRADED = "Degraded"
    FAILED = "Failed"
    PAUSED = "Paused"


class PackageStatus(StrEnum):
    """How one package compares with what is declared."""

    OK = "ok"
    MISSING = "missing"
    MISMATCH = "mismatch"
    BROKEN = "broken"
    HELD = "held"
    HELD_MISSING = "held-missing"
    HELD_MISMATCH = "held-mismatch"
    FAILED = "failed"


class Result(StrEnum):
    """How a pass ended."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    PARTIAL = "partial"
    FAILED = "failed"


class Trigger(StrEnum):
    """What woke the pass up."""

    START = "start"
    FILE = "file"
    ENVIRONMENT = "environment"
    INTERVAL = "interval"
    RETRY = "retry"
    MANUAL = "manual"
    RESUME = "resume"
    ROLLBACK = "rollback"
    RESTORE = "restore"
    ACCEPT = "accept"
    RELOAD = "reload"


class ConditionType(StrEnum):
    """The conditions of an environment, after the Kubernetes convention."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    HOLDS_INTACT = "HoldsIntact"


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One aspect of an environment, with the reason in one CamelCase word."""

    type: ConditionType
    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: str
    last_transition_time: str

    def __post_init__(self) -> None:
        _shorten(self, "message", MESSAGE)


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the package table."""

    name: str
    required: str | None
    installed: str | None
    status: PackageStatus
    ok: bool
    message: str | None = None
    required_by: str | None = None
    """What requires it: None for what the project itself declares."""
    origins: tuple[str, ...] = ()
    """Where the project declares it: `project.dependencies[3]`, extras, groups."""

    def __post_init__(self) -> None:
        _shorten(self, "required", MESSAGE)
        _shorten(self, "message", MESSAGE)


class Because(StrEnum):
    """Why a package that the configuration does not name is held."""

    PINNED = "pinned"
    """A hold requires just this release of it, and it has compiled code."""
    COMPATIBLE = "compatible"
    """A hold requires this line of releases (`triton~=3.8.0`), and it has compiled code."""
    LINKED = "linked"
    """A library of a hold loads one of its libraries."""
    DEVICE = "device"
    """It has the code for one kind of GPU, and nothing else needs it."""


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A package that is never changed by a pass."""

    name: str
    version: str | None
    intact: bool
    pinned_by: str | None = None
    """The held package that requires it; None if the configuration names it."""
    because: Because | None = None
    """Why it belongs to that one; None if the configuration names it."""
    message: str | None = None
    vaulted: bool = False
    """Whether the vault has a copy that can be restored offline."""
    found: str | None = None
    """The installed version, if another version replaced the held one."""

    def __post_init__(self) -> None:
        _shorten(self, "message", MESSAGE)


class HeldBack(msgspec.Struct, frozen=True, kw_only=True):
    """A package that a hold keeps older than its specifier allows."""

    name: str
    chosen: str | None
    newest: str
    because: str
    """The holds that keep it, by their pins: `torch==2.3.1+rocm5.7, ...`."""
    message: str | None = None

    @property
    def pins(self) -> frozenset[str]:
        """The pins one by one."""
        return frozenset(self.because.split(", "))


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """What torch in the target environment reports about the GPU."""

    available: bool
    name: str | None = None
    backend: str | None = None
    torch: str | None = None
    error: str | None = None
    checked_at: str | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One package that a pass changed, or would change."""

    name: str
    action: Literal["install", "upgrade", "downgrade", "reinstall", "remove", "restore"]
    from_: str | None = msgspec.field(name="from", default=None)
    to: str | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A requirement that could not be satisfied, and why."""

    name: str
    requirement: str
    reason: Reason
    message: str
    origins: tuple[str, ...] = ()
    """Where the project declares it; empty for what only others require."""

    def __post_init__(self) -> None:
        _shorten(self, "requirement", MESSAGE)
        _shorten(self, "message", MESSAGE)


class PassStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One reconciliation, from looking to a recorded outcome."""

    id: int
    trigger: str
    result: Result | None
    started_at: str
    duration_seconds: float | None = None
    revision: str | None = None
    generation: int | None = None
    changes: tuple[Change, ...] = ()
    failed: tuple[Failure, ...] = ()
    held_back: tuple[HeldBack, ...] = ()
    message: str | None = None
    phases: dict[str, float] = {}
    """Seconds spent in each step."""
    reason_given: str | None = None
    """Why it was asked for, in the words of the person who asked."""

    def __post_init__(self) -> None:
        _shorten(self, "message", MESSAGE)
        _shorten_all(self, "failed")


class ProvenImport(msgspec.Struct, frozen=True, kw_only=True):
    """A module that was imported before the new tree went live."""

    package: str
    module: str
    seconds: float
    because: str | None = None
    """The changed package that its own one requires; None: its own one changed."""


class FailedImport(msgspec.Struct, frozen=True, kw_only=True):
    """A module that could not be imported in the new tree."""

    package: str
    module: str
    error: str
    because: str | None = None
    """The change that was left out therefore; None: it fails in the old tree as well."""

    def __post_init__(self) -> None:
        _shorten(self, "error", MESSAGE)


class PassProof(msgspec.Struct, frozen=True, kw_only=True):
    """What a pass imported before its new tree went live."""

    seconds: float = 0.0
    imported: tuple[ProvenImport, ...] = ()
    failed: tuple[FailedImport, ...] = ()
    not_tried: tuple[str, ...] = ()
    """The packages for which `proof_budget` left no time."""


class PassDetail(PassStatus, frozen=True, kw_only=True):
    """A pass with its plan, its proof and uv's output."""

    plan: tuple[Change, ...] = ()
    log: str = ""
    proof: PassProof | None = None
    """None if no import was tried."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _shorten(self, "log", _LOG, around="\n")


class InterpreterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The Python of the environment."""

    executable: str
    version: str | None
    platform: str | None


class Suspension(msgspec.Struct, frozen=True, kw_only=True):
    """Why and until when an environment is left alone."""

    reason: str
    since: str
    until: str | None = None
    revision: str | None = None
    """Set after a rollback: the revision that must not be applied again."""


class GenerationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A complete tree that is live, or was once."""

    number: int
    created_at: str | None
    """Null for the tree that was there before the first change."""
    live: bool
    packages: int
    bytes_own: int | None = None
    """Bytes that no other tree shares: removing it would free them."""


class EnvironmentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one environment."""

    name: str
    pyproject: str
    python: InterpreterStatus
    phase: Phase
    atomic: bool
    atomic_reason: str | None = None
    suspended: bool
    suspension: Suspension | None = None
    mode: str
    revision: str | None = None
    last_attempted_revision: str | None = None
    last_applied_revision: str | None = None
    generation: int
    generations: tuple[GenerationStatus, ...] = ()
    next_check_at: str | None = None
    conditions: tuple[Condition, ...] = ()
    packages: tuple[Package, ...] = ()
    holds: tuple[Hold, ...] = ()
    held_back: tuple[HeldBack, ...] = ()
    planned: tuple[Change, ...] = ()
    """What would change, if changes are not allowed now: observing, paused, or waiting."""
    warnings: tuple[str, ...] = ()
    gpu: Gpu | None = None
    last_pass: PassStatus | None = None
    current_pass: PassStatus | None = None
    problem: Problem | None = None

    def __post_init__(self) -> None:
        _shorten_all(self, "packages")
        if any(len(text) > MESSAGE for text in self.warnings):
            warnings = tuple(map(shortened, self.warnings))
            msgspec.structs.force_setattr(self, "warnings", warnings)


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The process that answers."""

    version: str
    pid: int
    started_at: str
    uv: str | None
    config: str | None = None
    config_problem: Problem | None = None
    journal_problem: Problem | None = None
    """Set once a damaged history had to be set aside."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `GET /status`."""

    schema: int = SCHEMA
    generation: int
    """Goes up by one with every change of this document; `since` is compared with it."""
    service: ServiceStatus
    ready: bool
    environments: tuple[EnvironmentStatus, ...]


def _shorten(struct: msgspec.Struct, field: str, longest: int, *, around: str = " ") -> None:
    """A field may quote what others wrote, such as the output of a build: it has a limit."""
    text = getattr(struct, field)
    if text is not None and len(text) > longest:
        short = shortened(text, longest, around=around)
        msgspec.structs.force_setattr(struct, field, short)


def _shorten_all(struct: msgspec.Struct, field: str) -> None:
    """The messages of all rows have a limit together."""
    rows = getattr(struct, field)
    longest = together([row.message for row in rows])
    if longest < MESSAGE:
        for row in rows:
            _shorten(row, "message", longest)


__all__ = [
    "SCHEMA", "Change", "Condition", "ConditionType", "EnvironmentStatus", "ExpectedEnd",
    "FailedImport", "Failure", "GenerationStatus", "Gpu", "HeldBack", "Hold", "InterpreterStatus",
    "Package", "PackageStatus", "PassDetail", "PassProof", "PassStatus", "Phase", "Problem",
    "ProvenImport", "Reason", "Result", "ServiceStatus", "Status", "Suspension", "Trigger",
]  # fmt: skip
