"""How the installed state differs from the desired one, requirement by requirement.

Pure. Declared requirements and, transitively, what the installed distributions require
(extras included) are each compared with what is there: a dependency of a dependency
that somebody uninstalled is drift too.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.state.adjustments import Adjustments
from reconciler.state.desired import Declared, Desired
from reconciler.state.holds import HoldSet
from reconciler.state.installed import Distribution, Installed
from reconciler.state.sources import Source, same_place
from reconciler.status import PackageStatus as Status

_FIXABLE = frozenset({Status.MISSING, Status.MISMATCH, Status.BROKEN})


@dataclass(frozen=True, slots=True)
class Row:
    """One package compared: what is required of it, what is there, and what follows.

    `required_by` is None for what the project declares; otherwise the installed package
    that requires it.
    """

    name: NormalizedName
    required: str | None
    installed: str | None
    status: Status
    message: str | None = None
    required_by: NormalizedName | None = None
    held: bool = False

    @property
    def fixable(self) -> bool:
        """Whether a reconciliation should change this package."""
        return self.status in _FIXABLE and not self.held

    @property
    def ok(self) -> bool:
        """Whether nothing is left to do for this package."""
        return self.status in (Status.OK, Status.HELD)


@dataclass(frozen=True)
class Drift:
    """The difference at one moment.

    `rows` has every declared requirement, in declared order, and behind them what is
    wrong further down. `reachable` is everything that the declared set needs.
    """

    rows: tuple[Row, ...]
    reachable: frozenset[NormalizedName] = field(default_factory=frozenset)

    @property
    def drifted(self) -> tuple[Row, ...]:
        """The rows that a reconciliation should change."""
        return tuple(row for row in self.rows if row.fixable)

    @property
    def unfit(self) -> tuple[Row, ...]:
        """The rows that are not right and that a hold keeps so."""
        return tuple(r for r in self.rows if not r.ok and not r.fixable)

    @property
    def broken(self) -> tuple[Row, ...]:
        """The rows of packages that must be put in anew, though their version may be right."""
        return tuple(r for r in self.rows if r.status is Status.BROKEN and r.fixable)

    @property
    def in_sync(self) -> bool:
        """Whether there is nothing that a reconciliation could change."""
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
        holds: What may not be touched, and is reported in its own words.
        broken: Packages that are not whole, and why (from `installed.audit`).
        markers: The target's PEP 508 environment.
        adjustments: What the user tells uv to see differently.
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
        message: str | None
        if asked is None:
            status, message = Status.OK, "left out by uv's exclude-dependencies"
        else:
            status, message = self._judge(asked, declared.source, found, None)
        specifier = declared.specifier or str(declared.requirement.specifier) or None
        required = (
            declared.requirement.url or (declared.source and declared.source.url) or specifier
        )
        return Row(declared.name, required, str(found.version) if found else None, status, message,
                   held=self.holds.covers(declared.name))  # fmt: skip

    def _judge(
        self,
        requirement: Requirement,
        source: Source | None,
        found: Distribution | None,
        required_by: NormalizedName | None,
    ) -> tuple[Status, str | None]:
        name = canonicalize_name(requirement.name)
        if self.holds.covers(name):
            return self._judge_held(requirement, found, required_by)
        if found is None:
            return Status.MISSING, "not installed"
        if name in self.broken:
            return Status.BROKEN, self.broken[name]
        mismatch = _mismatch(requirement, source, found, by_commit=required_by is not None)
        mismatch = mismatch or self.adjustments.out_of_bounds(found, self.markers)
        return (Status.MISMATCH, mismatch) if mismatch else (Status.OK, None)

    def _judge_held(
        self,
        requirement: Requirement,
        found: Distribution | None,
        required_by: NormalizedName | None,
    ) -> tuple[Status, str | None]:
        name = canonicalize_name(requirement.name)
        by = f"{required_by} requires" if required_by else "the project declares"
        asked = _bare(requirement)
        if found is None:
            return Status.HELD_MISSING, (
                f"held and not installed, though {by} {asked}. A held package is never installed "
                f"for you: install the build for your GPU by hand (uv pip install {asked!r} with "
                "the index that has it), or take it out of `hold`."
            )
        if name in self.broken:
            return Status.BROKEN, (
                f"{self.broken[name]}. It is held, so it is not reinstalled: put it back with "
                f"`reconciler hold restore {name}`, or install that build by hand once more."
            )
        held = self.holds.held.get(name)
        if held is not None and held.version != found.version:
            keep = f", `reconciler hold accept {name}` keeps the new one"
            if held.pinned_by is not None:
                keep = f"; {held.pinned_by} needs just that version"
            return Status.BROKEN, (
                f"{found.version} is installed in place of {held.version}, which is held: someone "
                f"else replaced it. `reconciler hold restore {name}` puts it back{keep}."
            )
        if _mismatch(requirement, None, found):
            return Status.HELD_MISMATCH, (
                f"{found.version} is held and kept, though {by} {asked}. Change the requirement, "
                f"or install the build you want by hand and `reconciler hold accept {name}`."
            )
        return Status.HELD, "held: never installed, replaced or removed"

    def _transitive(self, desired: Desired, reachable: set[NormalizedName]) -> Iterator[Row]:
        """Walk what the installed distributions require; yield what is not as it should be."""
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
        """The row of one edge, or None where all is well."""
        name = canonicalize_name(requirement.name)
        found = self.installed.distributions.get(name)
        status, message = self._judge(requirement, None, found, parent.name)
        if status in (Status.OK, Status.HELD):
            return None
        installed = str(found.version) if found else None
        if status is Status.HELD_MISMATCH and parent.name not in self.holds.held:
            # The hold stays, so it is the dependent that has to give way.
            return Row(parent.name, None, str(parent.version), Status.MISMATCH,
                       f"{parent.name} {parent.version} needs {_bare(requirement)}, but "
                       f"{name} {installed} is held")  # fmt: skip
        because = f"required by {parent.name} {parent.version}"
        return Row(name, _bare(requirement), installed, status,
                   f"{message}; {because}", parent.name,
                   held=self.holds.covers(name))  # fmt: skip

    def _held_but_broken(self, shown: set[NormalizedName]) -> Iterator[Row]:
        """Holds that nothing requires, and that are not whole: silence would hide them."""
        for name, held in self.holds.held.items():
            if name in self.broken and name not in shown:
                status, message = self._judge_held(Requirement(name), held.distribution, None)
                yield Row(name, None, str(held.version), status, message, held.pinned_by,
                          held=True)  # fmt: skip


def _bare(requirement: Requirement) -> str:
    return f"{canonicalize_name(requirement.name)}{requirement.specifier}"


def _mismatch(
    requirement: Requirement,
    source: Source | None,
    found: Distribution,
    *,
    by_commit: bool = False,
) -> str | None:
    """Why an installed distribution does not meet a requirement, or None.

    With `by_commit`, one that was installed by its very commit will do for any branch or tag.
    """
    if requirement.url:
        source = Source.of_reference(requirement.url)
    if source is not None and source.url:
        return _place_mismatch(source, source.url, found, by_commit=by_commit)
    # uv accepts an installed pre-release for any specifier that contains it.
    if requirement.specifier.contains(found.version, prereleases=True):
        return None
    return f"{found.version} is installed, {requirement.specifier} is required"


def _place_mismatch(
    source: Source, url: str, found: Distribution, *, by_commit: bool
) -> str | None:
    """Compare with PEP 610's record of where the installed copy came from."""
    origin = found.direct_url
    if origin is None:
        return f"{found.version} is installed from an index, {url} is required"
    if not same_place(url, origin.url) or source.subdirectory != origin.subdirectory:
        came_from = _in_folder(origin.url, origin.subdirectory)
        wanted = _in_folder(url, source.subdirectory)
        return f"{found.version} is installed from {came_from}, {wanted} is required"
    if source.is_editable not in (None, origin.editable):
        return f"it is installed {'as' if origin.editable else 'not as'} an editable"
    if by_commit and origin.commit is not None and origin.vcs_revision == origin.commit:
        return None  # what no project declares itself is asked for by the commit that uv planned
    if source.revision not in (None, origin.vcs_revision, origin.commit):
        installed = origin.vcs_revision or origin.commit
        return f"revision {installed} is installed, {source.revision} is required"
    return None


def _in_folder(url: str, folder: str | None) -> str:
    return f"{url} (folder {folder})" if folder else url
