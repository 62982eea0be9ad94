"""The result of a comparison: one row for each package. Pure."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import msgspec
from msgspec.structs import replace
from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.state.causes import Cause
from reconciler.status import PackageStatus as Status

_FIXABLE = frozenset({Status.MISSING, Status.MISMATCH, Status.BROKEN, Status.FAILED})


class Row(msgspec.Struct, frozen=True):
    """One package compared: what is required, what is installed, and the cause of its status.

    `required_by` is the installed package whose requirement decides the cause, in the version
    `dependent_version`; None if it is a requirement of the project itself.
    """

    name: NormalizedName
    required: str | None
    installed: str | None
    cause: Cause
    required_by: NormalizedName | None = None
    dependent_version: Version | None = None
    held: bool = False
    origins: tuple[str, ...] = ()
    """Where the project declares it, if it does."""

    @property
    def dependent(self) -> NormalizedName | None:
        """What requires it; None for what the project itself declares."""
        return None if self.origins else self.required_by

    @property
    def status(self) -> Status:
        """The status, in one word."""
        return self.cause.status

    @property
    def fixable(self) -> bool:
        """Whether a reconciliation should change this package."""
        return self.status in _FIXABLE and not self.held

    @property
    def ok(self) -> bool:
        """Whether there is nothing left to do for this package."""
        return self.status in (Status.OK, Status.HELD)


class Drift(msgspec.Struct, frozen=True, dict=True):
    """The difference found by one look.

    `rows` has every declared package, in declared order, followed by what is wrong further down;
    no package has two. `reachable` is everything that the declared set needs.
    """

    rows: tuple[Row, ...]
    reachable: frozenset[NormalizedName] = msgspec.field(default_factory=frozenset)

    @cached_property
    def drifted(self) -> tuple[Row, ...]:
        """The rows that a reconciliation should change."""
        return tuple(row for row in self.rows if row.fixable)

    @property
    def unfit(self) -> tuple[Row, ...]:
        """The rows that are wrong and stay so because of a hold."""
        return tuple(r for r in self.rows if not r.ok and not r.fixable)

    @property
    def broken(self) -> tuple[Row, ...]:
        """The rows of packages that must be reinstalled even if their version is right."""
        return tuple(r for r in self.rows if r.status is Status.BROKEN and r.fixable)

    @property
    def in_sync(self) -> bool:
        """Whether there is nothing for a reconciliation to change."""
        return not self.drifted


def one_each(rows: Iterable[Row]) -> list[Row]:
    """One row for each package, in the order of the first ones: the worst cause counts."""
    found: dict[NormalizedName, list[Row]] = {}
    for row in rows:
        found.setdefault(row.name, []).append(row)
    return [rows[0] if len(rows) == 1 else _together(rows) for rows in found.values()]


def _together(rows: Sequence[Row]) -> Row:
    worst = max(rows, key=_badness)  # of equals, the first
    return replace(
        worst,
        required=_required(rows),
        held=any(row.held for row in rows),
        origins=tuple(dict.fromkeys(origin for row in rows for origin in row.origins)),
    )


def _badness(row: Row) -> int:
    return 0 if row.ok else 1 + row.fixable


def _required(rows: Sequence[Row]) -> str | None:
    """All requirements in one, as in `>=1.24,<2`; a place counts more than a version."""
    declared = [row.required for row in rows if row.origins and row.required]
    if not declared:
        return next((row.required for row in rows if row.required), None)
    places = [required for required in declared if "://" in required]
    clauses = (clause for required in declared for clause in required.split(","))
    return places[0] if places else ",".join(dict.fromkeys(clauses))
