"""What the service says of itself: the types behind `GET /status`, `--json` and the page.

These structs are the contract with users (docs/http.md); a field is added, never
renamed or removed. They hold no secret and nothing that cannot be shown.
"""

from enum import StrEnum
from typing import Literal, Self

import msgspec

SCHEMA = 1


class Phase(StrEnum):
    """Where one environment stands."""

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


class Reason(StrEnum):
    """Why something is as it is, in one word for scripts and alerts; a sentence goes with it.

    Everything that ends a pass, leaves a requirement out or explains a condition is here, and
    in docs/troubleshooting.md. What HTTP refuses has its own words (`Refusal`, `HttpReason`).
    """

    # A requirement is left out.
    NO_SOLUTION = "NoSolution"
    BUILD_FAILED = "BuildFailed"
    UNUSABLE = "Unusable"
    DEPENDENCY_FAILED = "DependencyFailed"
    HOLD_CONFLICT = "HoldConflict"
    WOULD_DOWNGRADE = "WouldDowngrade"
    HELD_BACK_TOO_FAR = "HeldBackTooFar"
    # A pass cannot begin.
    BAD_FILE = "BadFile"
    INTERPRETER_UNUSABLE = "InterpreterUnusable"
    INSECURE = "Insecure"
    BUSY = "Busy"
    JOURNAL_FAILED = "JournalFailed"
    UV_MISSING = "UvMissing"
    # A pass cannot do what it was asked for.
    NO_COPY = "NoCopy"
    VAULT_DAMAGED = "VaultDamaged"
    NOTHING_TO_ACCEPT = "NothingToAccept"
    UNKNOWN_GENERATION = "UnknownGeneration"
    GENERATION_BROKEN = "GenerationBroken"
    # A pass waits.
    IN_USE = "InUse"
    OUTSIDE_WINDOW = "OutsideWindow"
    # uv fails.
    NETWORK_TROUBLE = "NetworkTrouble"
    UNREADABLE = "Unreadable"
    TIMED_OUT = "TimedOut"
    UV_FAILED = "UvFailed"
    # The new tree may not go live.
    HOLD_VIOLATION = "HoldViolation"
    INCOMPLETE_STAGE = "IncompleteStage"
    NOT_AS_PLANNED = "NotAsPlanned"
    INCONSISTENT_STAGE = "InconsistentStage"
    VERIFY_FAILED = "VerifyFailed"
    KEEPS_CHANGING = "KeepsChanging"
    # The machine fails, or we do.
    DISK_FULL = "DiskFull"
    NOT_WRITABLE = "NotWritable"
    FILE_SYSTEM = "FileSystemError"
    STOPPED = "Stopped"
    UNEXPECTED = "UnexpectedError"
    # Conditions only.
    STARTING = "Starting"
    NOT_LOOKED = "NotLooked"
    RECONCILING = "Reconciling"
    PASS_RUNNING = "PassRunning"  # noqa: S105 -- a word, not a password
    IDLE = "Idle"
    PROGRESSING = "Progressing"
    IN_SYNC = "InSync"
    INTACT = "Intact"
    DRIFTED = "Drifted"
    OBSERVING = "Observing"
    PAUSED = "Paused"
    PACKAGES_FAILED = "PackagesFailed"
    HOLD_BROKEN = "HoldBroken"
    HOLD_MISMATCH = "HoldMismatch"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """Keep a reason that only a newer service, or an older history, knows as it is."""
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = value
        return unknown


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


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A package that no reconciliation touches."""

    name: str
    version: str | None
    intact: bool
    pinned_by: str | None = None
    message: str | None = None
    vaulted: bool = False
    """Whether a copy stands ready to be restored offline."""
    found: str | None = None
    """The version found where the hold is broken by another one."""


class HeldBack(msgspec.Struct, frozen=True, kw_only=True):
    """A package that a hold keeps older than its specifier would admit."""

    name: str
    chosen: str | None
    newest: str
    because: str
    message: str | None = None


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """What torch in the target environment says of the GPU."""

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
    """A requirement that could not be met, and why."""

    name: str
    requirement: str
    reason: Reason
    message: str


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


class PassDetail(PassStatus, frozen=True, kw_only=True):
    """A pass with uv's own words."""

    plan: tuple[Change, ...] = ()
    log: str = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a file, and where."""

    file: str
    line: int | None
    column: int | None
    reason: str
    mend: str
    text: str | None = None
    """The line itself."""


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
    """Set after a rollback: the revision that is not to be applied again."""


class GenerationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A complete tree that was live once, or is."""

    number: int
    created_at: str | None
    """Null for what was there before the first change."""
    live: bool
    packages: int
    bytes_own: int | None = None
    """Bytes that no other tree shares: what removing it would free."""


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
    """What would change, where it may not now: observed, paused, or waiting."""
    warnings: tuple[str, ...] = ()
    gpu: Gpu | None = None
    last_pass: PassStatus | None = None
    current_pass: PassStatus | None = None
    problem: Problem | None = None


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
    """Rises by one with every change of this document; what `since` is compared with."""
    service: ServiceStatus
    ready: bool
    environments: tuple[EnvironmentStatus, ...]
