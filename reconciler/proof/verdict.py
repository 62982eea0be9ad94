"""What a trial of imports found: values only."""

from collections.abc import Sequence

import msgspec
from packaging.utils import NormalizedName


class Import(msgspec.Struct, frozen=True):
    """A module that is to be imported, and the package that it belongs to."""

    package: NormalizedName
    module: str


class Tried(msgspec.Struct, frozen=True):
    """How an import ended.

    Attributes:
        error: The exception in one line; None: it succeeded.
        files: The files that the traceback leads through, the innermost first.
        missing: The module that was not found, or that lacks a name.
        seconds: How long it took.
    """

    what: Import
    seconds: float
    error: str | None = None
    files: tuple[str, ...] = ()
    missing: str | None = None


class Trial(msgspec.Struct, frozen=True):
    """All imports of one tree: those that ended, and those for which there was no time."""

    tried: tuple[Tried, ...] = ()
    untried: tuple[Import, ...] = ()

    @property
    def failed(self) -> tuple[Tried, ...]:
        """Those that failed."""
        return tuple(one for one in self.tried if one.error is not None)


def packages_of(imports: Sequence[Import]) -> tuple[NormalizedName, ...]:
    """Their packages, each once, in their order."""
    return tuple(dict.fromkeys(one.package for one in imports))
