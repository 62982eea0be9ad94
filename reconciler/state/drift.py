"""How the installed state differs from the desired one, requirement by requirement.

Pure. Compares declared requirements and, transitively, the requirements of the installed
distributions (with extras) with what is installed: a dependency of a dependency that someone
uninstalled is drift too.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from reconciler.state.adjustments import Adjustments
from reconciler.state.causes import (
    Broken,
    Cause,
    HeldBroken,
    HeldMismatch,
    HeldMissing,
    HeldReplaced,
    Kept,
    LeftOut,
    Met,
    Mismatch,
    Missing,
    NeedsAnotherHeld,
    Origin,
    WrongKind,
    WrongRevision,
    WrongSource,
)
from reconciler.state.desired import Declared, Desired
from reconciler.state.holds import HoldSet, is_build_at
from reconciler.state.installed import Distribution, Installed
from reconciler.state.sources import Source, same_place
from reconciler.status import PackageStatus as Status

_FIXABLE = frozenset({Status.MISSING, Status.MISMATCH, Status.BROKEN})


@dataclass(frozen=True, slots=True)
class Row:
    """One package compared: what is required, what is installed, and the cause of its status.

    `required_by` is None for what the project declares; otherwise it is the installed package
    that requires it, in the version `dependent_version`.
    """

    name: NormalizedName
    required: str | None
    installed: str | None
    cause: Cause
    required_by: NormalizedName | None = None
    dependent_version: Version | None = None
    held: bool = False

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


@dataclass(frozen=True)
class Drift:
    """The difference found by one look.

    `rows` has every declared requirement, in declared order, followed by what is wrong further
    down. `reachable` is everything that the declared set needs.
    """

    rows: tuple[Row, ...]
    reachable: frozenset[NormalizedName] = field(default_factory=frozenset)

    @property
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


def diff(
    desired: Desired,
    installed: Installed,
    holds: HoldSet,
    broken: Mapping[NormalizedName, str],
    markers: Mapping[str, str],
    adjustments: Adjustments | None = None,
) -> Drift:
    """Compare what is declared with what is installed.

    Args:
        desired: The project's declaration, markers already evaluated.
        installed: The environment.
        holds: Packages that must not be touched; they have their own statuses.
        broken: Packages with missing files, and why (from `installed.audit`).
        markers: The target's PEP 508 environment.
        adjustments: The changes to requirements from the user's uv settings.
    """
    return _Comparison(installed, holds, broken, markers, adjustments or Adjustments()).run(desired)


class _Comparison:
    def __init__(
        self,
        installed: Installed,
        holds: HoldSet,
        broken: Mapping[NormalizedName, str],
        markers: Mapping[str, str],
        adjustments: Adjustments,
    ) -> None:
        self.adjustments = adjustments
        self.installed = installed
        self.holds = holds
        self.broken = broken
        self.markers = markers

    def run(self, desired: Desired) -> Drift:
        rows = [self._declared(declared) for declared in desired.requirements]
        reachable: set[NormalizedName] = set()
        seen_problems = {row.name for row in rows if not row.ok}
        for row in self._transitive(desired, reachable):
            if row.name not in seen_problems:
                seen_problems.add(row.name)
                rows.append(row)
        rows.extend(self._held_but_broken({row.name for row in rows}))
        return Drift(tuple(rows), frozenset(reachable))

    def _declared(self, declared: Declared) -> Row:
        found = self.installed.get(declared.name)
        asked = next(self.adjustments.apply([declared.requirement], self.markers), None)
        cause = LeftOut() if asked is None else self._judge(asked, declared.source, found)
        specifier = declared.specifier or str(declared.requirement.specifier) or None
        required = (
            declared.requirement.url or (declared.source and declared.source.url) or specifier
        )
        installed = str(found.version) if found else None
        held = self.holds.covers(declared.name)
        return Row(declared.name, required, installed, cause, held=held)

    def _judge(
        self,
        requirement: Requirement,
        source: Source | None,
        found: Distribution | None,
        *,
        by_commit: bool = False,
    ) -> Cause:
        """How one requirement is satisfied; `by_commit` as in `_mismatch`."""
        name = canonicalize_name(requirement.name)
        if self.holds.covers(name):
            return self._judge_held(requirement, source, found)
        if found is None:
            return Missing()
        if name in self.broken:
            return Broken(self.broken[name])
        mismatch = _mismatch(requirement, source, found, by_commit=by_commit)
        return mismatch or self.adjustments.out_of_bounds(found, self.markers) or Met()

    def _judge_held(
        self, requirement: Requirement, source: Source | None, found: Distribution | None
    ) -> Cause:
        name = canonicalize_name(requirement.name)
        if found is None:
            return HeldMissing(_bare(requirement))
        if name in self.broken:
            return HeldBroken(self.broken[name])
        held = self.holds.held.get(name)
        if held is not None and held.version != found.version:
            return HeldReplaced(found.version, held.version, held.pinned_by)
        address = requirement.url or (source.url if source is not None else None)
        if not requirement.specifier.contains(found.version, prereleases=True):
            return HeldMismatch(found.version, _bare(requirement))
        if address is not None and not is_build_at(found.version, address):
            return HeldMismatch(found.version, f"{name} @ {address}")
        return Kept(address, found.unseen)

    def _transitive(self, desired: Desired, reachable: set[NormalizedName]) -> Iterator[Row]:
        """Walk the requirements of the installed distributions; yield what is wrong."""
        extras_done: dict[NormalizedName, set[str]] = {}
        waiting = deque((d.name, frozenset(d.requirement.extras)) for d in desired.requirements)
        waiting.extend((name, frozenset[str]()) for name in self.holds.held)
        while waiting:
            name, extras = waiting.popleft()
            reachable.add(name)
            done = extras_done.get(name)
            fresh = {canonicalize_name(e) for e in extras} - (done or set())
            if done is not None and not fresh:
                continue
            extras_done[name] = (done or set()) | fresh
            distribution = self.installed.distributions.get(name)
            if distribution is None:
                continue
            for requirement in self.adjustments.requires_of(
                distribution, self.markers, sorted(fresh)
            ):
                child = canonicalize_name(requirement.name)
                waiting.append((child, frozenset(requirement.extras)))
                row = self._dependency(requirement, distribution)
                if row is not None:
                    yield row

    def _dependency(self, requirement: Requirement, parent: Distribution) -> Row | None:
        """The row of one edge, or None if nothing is wrong."""
        name = canonicalize_name(requirement.name)
        found = self.installed.distributions.get(name)
        cause = self._judge(requirement, None, found, by_commit=True)
        if isinstance(cause, Met | Kept):
            return None
        if isinstance(cause, HeldMismatch) and parent.name not in self.holds.held:
            # The hold stays, so the dependent has to change.
            conflict = NeedsAnotherHeld(parent.version, cause.wanted, name, cause.found)
            return Row(parent.name, None, str(parent.version), conflict)
        installed = str(found.version) if found else None
        held = self.holds.covers(name)
        return Row(name, _bare(requirement), installed, cause, parent.name, parent.version, held)

    def _held_but_broken(self, shown: set[NormalizedName]) -> Iterator[Row]:
        """Holds that nothing requires and that are broken: otherwise they would go unnoticed."""
        for name, held in self.holds.held.items():
            if name in self.broken and name not in shown:
                cause = HeldBroken(self.broken[name])
                yield Row(name, None, str(held.version), cause, held.pinned_by, held=True)


def _bare(requirement: Requirement) -> str:
    return f"{canonicalize_name(requirement.name)}{requirement.specifier}"


def _mismatch(
    requirement: Requirement,
    source: Source | None,
    found: Distribution,
    *,
    by_commit: bool = False,
) -> Mismatch | WrongSource | WrongKind | WrongRevision | None:
    """How an installed distribution fails to satisfy a requirement, or None.

    With `by_commit`, one that was installed by its exact commit satisfies any branch or tag.
    """
    if requirement.url:
        source = Source.of_reference(requirement.url)
    if source is not None and source.url:
        return _place_mismatch(source, source.url, found, by_commit=by_commit)
    # uv accepts an installed pre-release for any specifier that contains it.
    if requirement.specifier.contains(found.version, prereleases=True):
        return None
    return Mismatch(found.version, requirement.specifier)


def _place_mismatch(
    source: Source, url: str, found: Distribution, *, by_commit: bool
) -> WrongSource | WrongKind | WrongRevision | None:
    """Compare with PEP 610's record of where the installed copy came from."""
    origin = found.direct_url
    if origin is None:
        return WrongSource(found.version, None, Origin(url))
    if not same_place(url, origin.url) or source.subdirectory != origin.subdirectory:
        came_from = Origin(origin.url, origin.subdirectory)
        return WrongSource(found.version, came_from, Origin(url, source.subdirectory))
    if source.is_editable not in (None, origin.editable):
        return WrongKind(origin.editable)
    if by_commit and origin.commit is not None and origin.vcs_revision == origin.commit:
        return None  # an undeclared package is requested by the commit that uv planned
    if source.revision not in (None, origin.vcs_revision, origin.commit):
        return WrongRevision(origin.vcs_revision or origin.commit, source.revision)
    return None
