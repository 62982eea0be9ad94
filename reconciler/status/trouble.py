"""What can go wrong, in one form for the whole program.

The one-word reason, the problem of a file with its position, and the expected end of a pass.
"""

from enum import StrEnum
from typing import Self

import msgspec

from reconciler.excerpts import LINE, MESSAGE, shortened
from reconciler.log.redact import redact

SPACE_FIX = "Free some space, or delete files if `df -i` shows that no inodes are left."
"""What to do about a full disk: the kernel has one error for both."""


class Reason(StrEnum):
    """A reason in one word, for scripts and alerts; a sentence always goes with it.

    Every reason that ends a pass, leaves out a requirement or explains a condition is here and in
    docs/troubleshooting.md. Refused HTTP requests have their own (`Refusal`, `HttpReason`).
    """

    # A requirement is left out.
    NO_SOLUTION = "NoSolution"
    BUILD_FAILED = "BuildFailed"
    UNUSABLE = "Unusable"
    BAD_SOURCE = "BadSource"
    DEPENDENCY_FAILED = "DependencyFailed"
    HOLD_CONFLICT = "HoldConflict"
    WOULD_DOWNGRADE = "WouldDowngrade"
    HELD_BACK_TOO_FAR = "HeldBackTooFar"
    CANNOT_REPAIR = "CannotRepair"
    CANNOT_REPLACE = "CannotReplace"
    IMPORT_BROKEN = "ImportBroken"
    DISAGREEMENT = "Disagreement"
    # A pass cannot begin.
    BAD_FILE = "BadFile"
    INTERPRETER_UNUSABLE = "InterpreterUnusable"
    INSECURE = "Insecure"
    LEADS_OUT = "LeadsOut"
    BUSY = "Busy"
    JOURNAL_FAILED = "JournalFailed"
    UV_MISSING = "UvMissing"
    # A pass cannot do what was requested.
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
    # The machine or Reconciler itself fails.
    DISK_FULL = "DiskFull"
    NOT_WRITABLE = "NotWritable"
    FILE_SYSTEM = "FileSystemError"
    STOPPED = "Stopped"
    UNEXPECTED = "UnexpectedError"
    # Conditions only.
    STARTING = "Starting"
    NOT_LOOKED = "NotLooked"
    RECONCILING = "Reconciling"
    WAITS_FOR_TURN = "WaitsForTurn"
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
    NOTHING_DECLARED = "NothingDeclared"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """Keep a reason that only a newer service or an older history knows."""
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = value
        return unknown


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a file, and where; secrets are masked on creation, long text shortened.

    `str()` is the whole problem in one line, for people.
    """

    file: str
    line: int | None = None
    """Lines and columns count from 1; None means the file as a whole."""
    column: int | None = None
    reason: str
    """What is wrong, without a full stop."""
    fix: str = msgspec.field(name="mend")
    """What to do, in whole sentences."""
    text: str | None = None
    """The text of the line."""

    def __post_init__(self) -> None:
        for name in ("reason", "fix", "text"):
            text = getattr(self, name)
            if text is not None:
                longest = LINE if name == "text" else MESSAGE
                msgspec.structs.force_setattr(self, name, shortened(redact(text), longest))

    def __str__(self) -> str:
        return f"{self.place}: {self.sentence}"

    @property
    def place(self) -> str:
        """`FILE:LINE:COLUMN`, which editors understand."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part)

    @property
    def sentence(self) -> str:
        """What is wrong and what to do, without the position."""
        return f"{self.reason}. {self.fix}"

    def with_line(self) -> str:
        """The whole problem, with the text of the line below."""
        return f"{self}\n    {self.text.strip()}" if self.text else str(self)


class ExpectedEnd(Exception):
    """The base of all errors that are expected to end a pass; raised where the facts are known.

    Args:
        message: What is wrong, and what to do. It only claims what is known.
        reason: The reason in one word; by default the class's own.
        retry_after: Seconds until the retry, if the pass only waits; otherwise the back-off
                decides.
        problem: What is wrong with a file of the project, if that is the cause.
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
