"""How the installed state differs from the desired one, requirement by requirement.

Pure. Compares declared requirements and, transitively, the requirements of the installed
distributions (with extras) with what is installed: a dependency of a dependency that someone
uninstalled is drift too.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping

from msgspec.structs import replace
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from reconciler.state.adjustments import Adjustments
from reconciler.state.build_stamp import LocalSource, Stale
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
    NoUsableSource,
    Origin,
    WrongKind,
    WrongRevision,
    WrongSource,
)
from reconciler.state.declared import Declared
from reconciler.state.desired import Desired
from reconciler.state.holds import HoldSet, is_build_at
from reconciler.state.installed import Distribution, Installed
from reconciler.state.locations import same_place
from reconciler.state.rows import Drift, Row, one_each
from reconciler.state.sources import DirectUrl, Source


def diff(
    desired: Desired,
    installed: Installed,
    holds: HoldSet,
    broken: Mapping[NormalizedName, str],
    markers: Mapping[str, str],
    adjustments: Adjustments | None = None,
    local: Mapping[NormalizedName, LocalSource] | None = None,
    copied: Callable[[NormalizedName], Version | None] = lambda _: None,
) -> Drift:
    """Compare what is declared with what is installed.

    Args:
        desired: The project's declaration, markers already evaluated.
        installed: The environment.
        holds: Packages that must not be touched; they have their own statuses.
        broken: Packages with missing files, and why (from `installed.audit`).
        markers: The target's PEP 508 environment.
        adjustments: The changes to requirements from the user's uv settings.
        local: The folders and files that installed packages came from, as they are now.
        copied: The version of a hold that the vault has a copy of; asked if it is not installed.
    """
    comparison = _Comparison(
        installed, holds, broken, markers, adjustments or Adjustments(), local or {}, copied
    )
    return comparison.run(desired)


class _Comparison:
    def __init__(
        self,
        installed: Installed,
        holds: HoldSet,
        broken: Mapping[NormalizedName, str],
        markers: Mapping[str, str],
        adjustments: Adjustments,
        local: Mapping[NormalizedName, LocalSource],
        copied: Callable[[NormalizedName], Version | None],
    ) -> None:
        self.copied = copied
        self.adjustments = adjustments
        self.local = local
        self.installed = installed
        self.holds = holds
        self.broken = broken
        self.markers = markers
        self.declared: set[NormalizedName] = set()
        self.needed_by: dict[NormalizedName, Distribution] = {}
        """What requires a package, the first one that does."""
        self._held: dict[NormalizedName, bool] = {}

    def run(self, desired: Desired) -> Drift:
        rows = one_each(self._declared(declared) for declared in desired.requirements)
        self.declared = {row.name for row in rows}
        reachable: set[NormalizedName] = set()
        seen_problems = {row.name for row in rows if not row.ok}
        for row in self._transitive(desired, reachable):
            if row.name not in seen_problems:
                seen_problems.add(row.name)
                rows.append(row)
        rows.extend(self._held_but_broken({row.name for row in rows}))
        return Drift(tuple(one_each(rows)), frozenset(reachable))

    def _declared(self, declared: Declared) -> Row:
        found = self.installed.get(declared.name)
        asked = next(self.adjustments.of_project([declared.requirement], self.markers), None)
        source = declared.source if asked is declared.requirement else None  # overridden as well
        if asked is None:
            cause: Cause = LeftOut()
        elif (
            declared.unusable is not None
            and asked is declared.requirement
            and not self._is_held(declared.name)
        ):
            cause = NoUsableSource(declared.unusable)
        else:
            cause = self._judge(asked, source, found)
        specifier = declared.specifier or str(declared.requirement.specifier) or None
        required = (
            declared.requirement.url or (declared.source and declared.source.url) or specifier
        )
        installed = str(found.version) if found else None
        held = self._is_held(declared.name)
        return Row(declared.name, required, installed, cause, held=held, origins=declared.origins)

    def _judge(
        self,
        requirement: Requirement,
        source: Source | None,
        found: Distribution | None,
        *,
        by_commit: bool = False,
        placed: bool = False,
    ) -> Cause:
        """How one requirement is satisfied.

        Args:
            requirement: What is required.
            source: Where from, if not from an index.
            found: What is installed.
            by_commit: As in `_mismatch`.
            placed: Whether the project that requires it takes it from a folder or a file.
        """
        name = canonicalize_name(requirement.name)
        if self._is_held(name):
            return self._judge_held(requirement, source, found)
        if found is None:
            return Missing()
        if name in self.broken:
            return Broken(self.broken[name])
        placed = placed or bool(requirement.url) or (source is not None and source.is_direct)
        return (
            _mismatch(requirement, source, found, by_commit=by_commit)
            or (self._stale(name) if placed else None)
            or self.adjustments.out_of_bounds(found, self.markers)
            or Met()
        )

    def _is_held(self, name: NormalizedName) -> bool:
        """Whether a pattern covers it; asked for every edge, and there are twenty patterns."""
        known = self._held.get(name)
        if known is None:
            known = self._held[name] = self.holds.covers(name)
        return known

    def _stale(self, name: NormalizedName) -> Stale | None:
        """Why uv would install it again from the folder or file that it came from, or None."""
        known = self.local.get(name)
        return known.stale if known else None

    def _judge_held(
        self, requirement: Requirement, source: Source | None, found: Distribution | None
    ) -> Cause:
        name = canonicalize_name(requirement.name)
        if found is None:
            return HeldMissing(_bare(requirement), self.copied(name))
        if name in self.broken:
            return HeldBroken(self.broken[name])
        held = self.holds.held.get(name)
        if held is not None and held.version != found.version:
            return HeldReplaced(found.version, held.version, held.why)
        address = requirement.url or (source.url if source is not None else None)
        why = held.why if held is not None else None
        if not requirement.specifier.contains(found.version, prereleases=True):
            return HeldMismatch(found.version, _bare(requirement), why)
        if address is not None and not is_build_at(found.version, address):
            return HeldMismatch(found.version, f"{name} @ {address}", why)
        return Kept(address, found.unseen)

    def _transitive(self, desired: Desired, reachable: set[NormalizedName]) -> Iterator[Row]:
        """Walk the requirements of the installed distributions; yield what is wrong."""
        extras_done: dict[NormalizedName, set[str]] = {}
        declared = (one.requirement for one in desired.requirements)
        asked = self.adjustments.of_project(declared, self.markers)
        waiting = deque((canonicalize_name(r.name), r.extras) for r in asked)
        waiting.extend((name, set[str]()) for name in self.holds.held)
        while waiting:
            name, extras = waiting.popleft()
            reachable.add(name)
            first = name not in extras_done
            done = extras_done.setdefault(name, set())
            fresh = {canonicalize_name(e) for e in extras} - done
            if not first and not fresh:
                continue
            done |= fresh
            distribution = self.installed.distributions.get(name)
            if distribution is None:
                continue
            for requirement in self.adjustments.requires_of(
                distribution, self.markers, sorted(fresh), first=first
            ):
                child = canonicalize_name(requirement.name)
                waiting.append((child, requirement.extras))
                self.needed_by.setdefault(child, distribution)
                row = self._dependency(requirement, distribution)
                if row is not None:
                    yield row

    def _dependency(self, requirement: Requirement, parent: Distribution) -> Row | None:
        """The row of one edge, or None if nothing is wrong."""
        name = canonicalize_name(requirement.name)
        found = self.installed.distributions.get(name)
        own = self.local.get(parent.name)
        placed = own is not None and name in own.placed
        cause = self._judge(requirement, None, found, by_commit=True, placed=placed)
        if isinstance(cause, Met | Kept):
            return None
        if isinstance(cause, HeldMismatch) and parent.name not in self.holds.held:
            # The hold stays, so the dependent has to change.
            conflict = NeedsAnotherHeld(parent.version, cause.wanted, name, cause.found, cause.why)
            row = Row(parent.name, None, str(parent.version), conflict)
            by = self.needed_by.get(parent.name)
            if by is None or parent.name in self.declared:
                return row
            return replace(row, required_by=by.name, dependent_version=by.version)
        installed = str(found.version) if found else None
        held = self._is_held(name)
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
    git = "git" in source.table
    if (
        git is not (origin.commit is not None)
        or not same_place(url, origin.url, repository=git)
        or source.subdirectory != origin.subdirectory
    ):
        wanted = Origin(f"git+{url}" if git else url, source.subdirectory)
        return WrongSource(found.version, _origin(origin), wanted)
    if origin.is_folder and source.is_editable is not origin.editable:
        return WrongKind(origin.editable, source.is_editable)
    if by_commit and origin.commit is not None and origin.vcs_revision == origin.commit:
        return None  # an undeclared package is requested by the commit that uv planned
    if source.revision not in (None, origin.vcs_revision, origin.commit):
        return WrongRevision(origin.vcs_revision or origin.commit, source.revision)
    return None


def _origin(recorded: DirectUrl) -> Origin:
    url = recorded.url if recorded.commit is None else f"git+{recorded.url}"
    return Origin(url, recorded.subdirectory)
