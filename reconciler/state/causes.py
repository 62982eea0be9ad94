"""Why a package has its status, as values; `state.words` turns them into sentences.

Each cause knows its status, so the two cannot disagree.
"""

from typing import ClassVar

import msgspec
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.state.distribution import Unseen
from reconciler.status import PackageStatus, Problem


class Met(msgspec.Struct, frozen=True):
    """It is as required."""

    status: ClassVar = PackageStatus.OK


class LeftOut(msgspec.Struct, frozen=True):
    """It is excluded in uv's settings (`exclude-dependencies`)."""

    status: ClassVar = PackageStatus.OK


class Missing(msgspec.Struct, frozen=True):
    """It is not installed."""

    status: ClassVar = PackageStatus.MISSING


class Broken(msgspec.Struct, frozen=True):
    """Its files are not complete."""

    status: ClassVar = PackageStatus.BROKEN
    defect: str


class Mismatch(msgspec.Struct, frozen=True):
    """The installed version does not satisfy the requirement."""

    status: ClassVar = PackageStatus.MISMATCH
    found: Version
    wanted: SpecifierSet


class OutOfBounds(msgspec.Struct, frozen=True):
    """uv's `constraint-dependencies` do not allow the installed version."""

    status: ClassVar = PackageStatus.MISMATCH
    found: Version
    bound: str
    """The constraint, as in `numpy<2`."""


class Origin(msgspec.Struct, frozen=True):
    """Where a package comes from, if not from an index."""

    url: str
    folder: str | None = None
    """The subdirectory."""


class WrongSource(msgspec.Struct, frozen=True):
    """It is installed from another place than the declared one; None means an index."""

    status: ClassVar = PackageStatus.MISMATCH
    version: Version
    found: Origin | None
    wanted: Origin


class WrongKind(msgspec.Struct, frozen=True):
    """It is an editable install but should not be, or the other way round.

    uv also tells False from None, which is what it records for a direct reference.
    """

    status: ClassVar = PackageStatus.MISMATCH
    editable: bool | None
    wanted: bool | None


class WrongRevision(msgspec.Struct, frozen=True):
    """It is installed from another commit, branch or tag."""

    status: ClassVar = PackageStatus.MISMATCH
    found: str | None
    wanted: str | None


class NoUsableSource(msgspec.Struct, frozen=True):
    """Its source cannot be used, so it stays as it is."""

    status: ClassVar = PackageStatus.FAILED
    problem: Problem


class SourceChanged(msgspec.Struct, frozen=True):
    """The folder or file that it was installed from has changed since."""

    status: ClassVar = PackageStatus.MISMATCH
    what: str
    """The file, commit or variable that decides, as in `/srv/thing/pyproject.toml`."""


class SourceGone(msgspec.Struct, frozen=True):
    """The folder or file that it was installed from does not exist any more."""

    status: ClassVar = PackageStatus.MISMATCH
    place: str


class SourceUnrecorded(msgspec.Struct, frozen=True):
    """It is installed from a folder or file, but not by uv, which would have recorded its state."""

    status: ClassVar = PackageStatus.MISMATCH
    place: str


class NeedsAnotherHeld(msgspec.Struct, frozen=True):
    """It needs another version of a held package, so it must be replaced: the hold stays."""

    status: ClassVar = PackageStatus.MISMATCH
    version: Version
    """Its own version."""
    needs: str
    """What it requires, as in `torch>=2.4`."""
    held: NormalizedName
    held_version: Version
    why: str | None = None
    """Why that one is held, if the configuration does not name it."""


class Kept(msgspec.Struct, frozen=True):
    """It is held, and as required."""

    status: ClassVar = PackageStatus.HELD
    address: str | None = None
    """Where it is declared to come from, if from a URL: the held build stays anyway."""
    unseen: Unseen | None = None
    """Where it is, if uv does not see it there."""


class HeldMissing(msgspec.Struct, frozen=True):
    """It is held but not installed."""

    status: ClassVar = PackageStatus.HELD_MISSING
    wanted: str
    copied: Version | None = None
    """The version of the vault's copy that can be restored here."""


class HeldBroken(msgspec.Struct, frozen=True):
    """It is held, but its files are not complete."""

    status: ClassVar = PackageStatus.BROKEN
    defect: str


class HeldReplaced(msgspec.Struct, frozen=True):
    """Someone else installed another version in place of the held one."""

    status: ClassVar = PackageStatus.BROKEN
    found: Version
    held: Version
    why: str | None = None
    """Why it is held, if the configuration does not name it."""


class HeldMismatch(msgspec.Struct, frozen=True):
    """It is held in a version that does not satisfy the requirement."""

    status: ClassVar = PackageStatus.HELD_MISMATCH
    found: Version
    wanted: str
    why: str | None = None
    """Why it is held, if the configuration does not name it."""


Cause = (
    Met
    | LeftOut
    | Missing
    | Broken
    | Mismatch
    | OutOfBounds
    | WrongSource
    | WrongKind
    | WrongRevision
    | NoUsableSource
    | SourceChanged
    | SourceGone
    | SourceUnrecorded
    | NeedsAnotherHeld
    | Kept
    | HeldMissing
    | HeldBroken
    | HeldReplaced
    | HeldMismatch
)
