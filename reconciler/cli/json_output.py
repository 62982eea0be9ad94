"""The documents that `--json` prints, apart from the status structs; docs/cli.md lists them.

Fields may be added, but are never renamed or removed.
"""

import msgspec

from reconciler.config import EnvironmentConfig
from reconciler.environment.snapshot import Snapshot
from reconciler.holds.conflicts import warnings_of
from reconciler.log.redact import in_places
from reconciler.state.rows import Row
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
    """What `check` prints."""

    environment: str
    pyproject: str
    python: str
    revision: str | None
    in_sync: bool
    """Whether everything is as declared, holds included: exit status 0."""
    packages: tuple[Package, ...]
    """Every declared package, then any of their dependencies that are wrong."""
    holds: tuple[Hold, ...]
    warnings: tuple[str, ...]
    problem: Problem | None
    """What is wrong with the project's file; everything else is then about its last good state.

    Also set if nothing is declared in it, but in another place.
    """


class PlanDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What `plan` prints."""

    environment: str
    revision: str | None
    changes: tuple[Change, ...]
    failed: tuple[Failure, ...]
    held_back: tuple[HeldBack, ...]
    holds: tuple[Hold, ...]
    problem: Problem | None
    unknown: tuple[str, ...] = ()
    """What only `apply` finds out, in sentences."""
    warnings: tuple[str, ...] = ()
    """What the changes would leave behind, in sentences."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What `pause` and `resume` print."""

    environment: str
    suspension: Suspension | None
    """None: it is managed."""


class Holds(msgspec.Struct, frozen=True, kw_only=True):
    """What `hold list` prints."""

    environment: str
    holds: tuple[Hold, ...]


class VaultUse(msgspec.Struct, frozen=True, kw_only=True):
    """An environment that a copy in the vault is for."""

    environment: str
    """Its folder."""
    held: bool
    """Whether this is the build that it holds now, and not one that it held before."""


class VaultCopy(msgspec.Struct, frozen=True, kw_only=True):
    """A copy in the vault."""

    package: str
    version: str
    build: str
    """The tags of its wheel; empty if they are not known."""
    target: str
    """The Python and the platform that it is for, in words."""
    made_at: str
    size: int
    """What it takes on the disk, in bytes, shared with environments or not."""
    frees: int
    """What removing it would free, in bytes."""
    imported: bool
    uses: tuple[VaultUse, ...]


class VaultDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One vault."""

    path: str
    copies: tuple[VaultCopy, ...]


class VaultList(msgspec.Struct, frozen=True, kw_only=True):
    """What `vault list` and `vault prune` print: for `prune`, what was removed."""

    vaults: tuple[VaultDocument, ...]


class VaultFileDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What `vault export` and `vault import` print."""

    file: str
    vault: str
    packages: tuple[str, ...]
    """As in `torch==2.3.1`."""
    size: int
    """Of the file, in bytes."""


class HistoryDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What `history` prints."""

    environment: str
    passes: tuple[PassStatus, ...]
    """Newest first."""
    generations: tuple[GenerationStatus, ...]
    """The live one first, then those that you can roll back to."""


def package_of(row: Row) -> Package:
    """A row of the comparison as the status shows it."""
    return Package(
        name=row.name,
        required=in_places(row.required),
        installed=row.installed,
        status=row.status,
        ok=row.ok,
        message=in_places(message_of(row)),
        required_by=row.dependent,
        origins=row.origins,
    )


def check_of(target: EnvironmentConfig, snapshot: Snapshot, holds: tuple[Hold, ...]) -> Check:
    """The document for a snapshot, with the state of each hold."""
    packages = tuple(package_of(row) for row in snapshot.drift.rows)
    well = all(p.ok for p in packages) and all(h.intact for h in holds)
    return Check(
        environment=target.name,
        pyproject=str(target.pyproject),
        python=str(target.python),
        revision=snapshot.revision,
        in_sync=well and snapshot.unclear is None,
        packages=packages,
        holds=holds,
        warnings=warnings_of(snapshot, holds),
        problem=snapshot.unclear,
    )
