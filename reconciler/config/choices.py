"""The configuration's values that are one word of a fixed set."""

from enum import StrEnum


class Update(StrEnum):
    """When an installed package that satisfies its requirement is upgraded."""

    NEEDED = "needed"
    LATEST = "latest"


class OnError(StrEnum):
    """What happens to the rest if a requirement cannot be satisfied."""

    CONTINUE = "continue"
    ABORT = "abort"


class OnHoldBroken(StrEnum):
    """What to do when someone else changed a held package."""

    REPORT = "report"
    RESTORE = "restore"


class Build(StrEnum):
    """Whether packages may be built from source."""

    ALLOW = "allow"
    UNCONFINED = "unconfined"
    NEVER = "never"


class Proof(StrEnum):
    """Which packages are imported in a new tree before it goes live."""

    FULL = "full"
    CHANGED = "changed"
    OFF = "off"


class Mode(StrEnum):
    """Whether drift is fixed or only reported."""

    APPLY = "apply"
    OBSERVE = "observe"


class Occasion(StrEnum):
    """The occasions on which a notice can be sent."""

    CHANGED = "changed"
    FAILED = "failed"
    HOLD_BROKEN = "hold-broken"
