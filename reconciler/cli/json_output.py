"""What `--json` prints, beside the structs of the status: stable, written down in docs/cli.md.

A field is added, never renamed or removed.
"""

import msgspec

from reconciler.config import EnvironmentConfig
from reconciler.environment.snapshot import Snapshot
from reconciler.holds.conflicts import warnings_of
from reconciler.holds.standing import holds_found
from reconciler.log.redact import in_places
from reconciler.state.drift import Row
from reconciler.state.words import message_of
from reconciler.status import (
    Change,
    Failure,
    GenerationStatus,
    HeldBack,
    Hold,
    Package,
    PassStatus,
    Problem,
    Suspension,
)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `check`."""

    environment: str
    pyproject: str
    python: str
    revision: str | None
    in_sync: bool
    """Whether everything is as declared, holds included: exit status 0."""
    packages: tuple[Package, ...]
    """Every declared package, and behind them whatever is wrong further down."""
    holds: tuple[Hold, ...]
    warnings: tuple[str, ...]
    problem: Problem | None
    """What is wrong with the project's file; the rest is then about its last good state."""


class PlanDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `plan`."""

    environment: str
    revision: str | None
    changes: tuple[Change, ...]
    failed: tuple[Failure, ...]
    held_back: tuple[HeldBack, ...]
    holds: tuple[Hold, ...]
    problem: Problem | None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `pause` and `resume`."""

    environment: str
    suspension: Suspension | None
    """None: it is looked after."""


class Holds(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `hold list`."""

    environment: str
    holds: tuple[Hold, ...]


class HistoryDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `history`."""

    environment: str
    passes: tuple[PassStatus, ...]
    """The newest first."""
    generations: tuple[GenerationStatus, ...]
    """The live one first, then those that can be rolled back to."""


def package_of(row: Row) -> Package:
    """A compared package as the status shows it."""
    return Package(
        name=row.name,
        required=in_places(row.required),
        installed=row.installed,
        status=row.status,
        ok=row.ok,
        message=in_places(message_of(row)),
        required_by=row.required_by,
    )


def check_of(target: EnvironmentConfig, snapshot: Snapshot) -> Check:
    """What a look found."""
    packages = tuple(package_of(row) for row in snapshot.drift.rows)
    holds = holds_found(snapshot)
    well = all(p.ok for p in packages) and all(h.intact for h in holds)
    return Check(
        environment=target.name,
        pyproject=str(target.pyproject),
        python=str(target.python),
        revision=snapshot.revision,
        in_sync=well and snapshot.problem is None,
        packages=packages,
        holds=holds,
        warnings=warnings_of(snapshot),
        problem=snapshot.problem,
    )
