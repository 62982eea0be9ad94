"""A sentence for people about a hold, with what to do; made here, shown anywhere."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to know, without a full stop, and what to do about it."""

    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.message}. {self.fix}"
