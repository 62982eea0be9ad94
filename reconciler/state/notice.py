"""A sentence for people, with what to do; made in many places, shown anywhere. Pure."""

import msgspec


class Notice(msgspec.Struct, frozen=True):
    """Something to know, without a full stop, and what to do about it."""

    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.message}. {self.fix}"
