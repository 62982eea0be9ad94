"""Something that does not count or does not fit, and stops nothing: the user is told of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caution:
    """What it is, without a full stop, and what to do about it."""

    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.message}. {self.fix}"
