"""What people may ask a running service to do, and how it says no; does nothing itself."""

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """A request about one environment; each ends in a pass with an id."""

    RECONCILE = "reconcile"
    PAUSE = "pause"
    RESUME = "resume"
    ROLLBACK = "rollback"
    RESTORE = "restore"
    ACCEPT = "accept"
    GPU = "gpu"


class Refusal(StrEnum):
    """Why a request is refused: one word for scripts, part of the API."""

    UNKNOWN_ENVIRONMENT = "UnknownEnvironment"
    UNKNOWN_GENERATION = "UnknownGeneration"
    UNKNOWN_HOLD = "UnknownHold"
    OBSERVING = "Observing"
    """The environment is only observed (`mode = "observe"`)."""
    JOURNAL_FAILED = "JournalFailed"
    """The history cannot be used, and nothing is promised that a restart could lose."""
    STOPPING = "Stopping"
    """The service is about to end."""


@dataclass(slots=True, eq=False)
class RequestRefused(Exception):  # a verdict, not a defect
    """A request that cannot be accepted; nothing was begun."""

    reason: Refusal
    message: str
    """What is in the way, naming the thing asked for."""
    fix: str
    """What to do."""

    def __str__(self) -> str:
        return f"{self.message}. {self.fix}"
