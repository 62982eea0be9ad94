"""What goes wrong, in the one language that every part speaks.

The reason in one word, the problem of a file with its place, and the expected end of a pass.
"""

from enum import StrEnum
from typing import Self

import msgspec

from reconciler.log.redact import redact


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


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a file, and where; secrets are masked as soon as it is made.

    `str()` is all of it in one line, for people.
    """

    file: str
    line: int | None = None
    """Counted from 1, as columns are; None means the file as a whole."""
    column: int | None = None
    reason: str
    """What is wrong, in words, without a full stop."""
    fix: str = msgspec.field(name="mend")
    """What to do: whole sentences."""
    text: str | None = None
    """The line itself."""

    def __post_init__(self) -> None:
        for name in ("reason", "fix", "text"):
            text = getattr(self, name)
            if text is not None:
                msgspec.structs.force_setattr(self, name, redact(text))

    def __str__(self) -> str:
        return f"{self.place}: {self.sentence}"

    @property
    def place(self) -> str:
        """`FILE:LINE:COLUMN`, as editors understand it."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part)

    @property
    def sentence(self) -> str:
        """What is wrong and what to do, where the place is said otherwise."""
        return f"{self.reason}. {self.fix}"

    def with_line(self) -> str:
        """All of it, with the line itself below."""
        return f"{self}\n    {self.text.strip()}" if self.text else str(self)


class ExpectedEnd(Exception):
    """Everything that the code foresees to end a pass; raised where the facts are known.

    Args:
        message: What is wrong, and what to do. What it says of the environment is known.
        reason: The same in one word; by default the class's own.
        retry_after: Seconds after which it is tried again, where the pass only waits; else
            the back-off decides.
        problem: What is wrong with a file of the project, where that is why.
    """

    reason: Reason

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        retry_after: float | None = None,
        problem: Problem | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason
        self.retry_after = retry_after
        self.problem = problem
