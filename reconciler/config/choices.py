"""The closed sets among the configuration's values."""

from enum import StrEnum


class Update(StrEnum):
    """When an installed package that fits is upgraded."""

    NEEDED = "needed"
    LATEST = "latest"


class OnError(StrEnum):
    """What becomes of the rest where one requirement cannot be met."""

    CONTINUE = "continue"
    ABORT = "abort"


class OnHoldBroken(StrEnum):
    """What follows when someone else changed a held package."""

    REPORT = "report"
    RESTORE = "restore"


class Build(StrEnum):
    """Whether packages may be built from source."""

    ALLOW = "allow"
    NEVER = "never"


class Mode(StrEnum):
    """Whether drift is mended or only reported."""

    APPLY = "apply"
    OBSERVE = "observe"


class Occasion(StrEnum):
    """What a notice can be sent on."""

    CHANGED = "changed"
    FAILED = "failed"
    HOLD_BROKEN = "hold-broken"
