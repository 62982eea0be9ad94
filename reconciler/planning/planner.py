"""From drift to a decision: ask uv, leave out what cannot be installed, and guard the holds.

It only decides; it changes nothing. If the requirements conflict, it plans the largest
installable subset and reports every requirement left out with uv's reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp

from packaging.utils import NormalizedName, canonicalize_name

from reconciler.config import OnError
from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.planning.decision import Decision, without_stubs
from reconciler.planning.failures import (
    build_failure,
    failure_of,
    failures_of_excluded,
    failures_of_sources,
    mentions,
    suspects,
)
from reconciler.planning.pruning import prunable
from reconciler.planning.repair import Irreplaceable, Repair, repairs_of
from reconciler.planning.resolver import Question, Resolver
from reconciler.state.culprits import Core, Unsatisfiable, UnsolvableError, divide
from reconciler.state.installed import Distribution
from reconciler.status import ExpectedEnd, Failure, PackageStatus, Reason
from reconciler.uv.cached import cache_folder, pack_cached
from reconciler.uv.effective import EffectiveProject, Item, items_of, items_of_holds
from reconciler.uv.program import BuildFailed, NoSolution, Plan, Planned

SEARCHING = "Looking for what cannot be installed"
"""How a line begins that says how long the search takes; the terminal shows it."""


@dataclass
class Planner:
    """Plans one pass; what the pass finds out (`exclude`) changes its next plan."""

    environment: Environment
    snapshot: Snapshot
    resolver: Resolver
    excluded: dict[NormalizedName, Failure] = field(default_factory=dict)
    pins: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] | None = None
    """The broken packages that are to be the same again; None before `decide` has looked."""

    def __post_init__(self) -> None:
        """Leave out what has no usable source: it comes from nowhere else, and stays as it is."""
        snapshot = self.snapshot
        self.excluded |= failures_of_sources(snapshot.desired, snapshot.holds)

    @property
    def project(self) -> EffectiveProject:
        """uv's input in this pass."""
        return self.resolver.project

    def exclude(self, failure: Failure, settled: Decision | None) -> None:
        """From now on, plan without this package: it does not build, or must not be installed.

        Everything else in `settled` stays at its planned version. That way, packages that depend
        on this one are left out too, instead of being pushed back to an ancient version.
        """
        name = canonicalize_name(failure.name)
        self.excluded[name] = failure
        if settled is not None:
            self.pins = tuple(
                f"{p.name}=={p.version}"
                for p in settled.install.values()
                if p.version is not None and p.url is None and p.name not in self.excluded
            )

    def decide(self) -> Decision:
        """Decide what to do about the drift.

        Raises:
            HoldViolation: uv would change a held package.
            NoSolution: There is no solution, and the configuration says to abort.
            BuildFailed: A build failed, and the configuration says to abort.
            UvError: uv failed, and no requirement is to blame.
        """
        if self.environment.config.on_error is OnError.ABORT:
            for failure in self.excluded.values():
                if failure.reason is Reason.BAD_SOURCE:
                    raise ExpectedEnd(failure.message, reason=failure.reason)
        if self.repairs is None:
            self.repairs = self._possible_repairs()
        while True:
            try:
                return self._decide()
            except BuildFailed as error:  # even its metadata has to be built
                abort = self.environment.config.on_error is OnError.ABORT
                if abort or error.name in self.excluded:
                    raise
                self.exclude(build_failure(error, {}, self.snapshot.holds), None)
            except Irreplaceable as stays:
                self.exclude(stays.failure, None)

    def _decide(self) -> Decision:
        snapshot = self.snapshot
        items = self._items()
        failed = failures_of_excluded(self.excluded, self._declared())
        plan, kept, cores = self._largest_plan(items)
        failed += [failure_of(items[i], c, items, self.excluded) for i, c in cores.items()]
        install = without_stubs(plan, snapshot.holds)
        self._refuse_irreplaceable(install)
        return Decision(
            install=install,
            # What new packages need is only known once they are installed.
            remove=frozenset() if install or failed else self._prunable(),
            kept=tuple(kept),
            failed=tuple(failed),
            # The stubs of the holds are local files and are not installed.
            to_download=plan.downloads > sum(snapshot.holds.covers(n) for n in plan.install),
        )

    def _declared(self) -> tuple[Item, ...]:
        snapshot = self.snapshot
        requirements = snapshot.desired.requirements if snapshot.desired else ()
        return items_of(requirements, snapshot.holds, snapshot.markers)

    def _items(self) -> list[Item]:
        """What uv is asked for, without what was left out earlier."""
        snapshot = self.snapshot
        hold_items = items_of_holds(snapshot.holds, snapshot.markers)
        placed = [repair.in_plan for repair in self.repairs or () if repair.in_plan]
        everything = (*hold_items, *placed, *self._declared())
        return [item for item in everything if item.name not in self.excluded]

    def _refuse_irreplaceable(self, install: Mapping[NormalizedName, Planned]) -> None:
        """Another tool's package stays, since only that tool can remove it completely.

        Raises:
            Irreplaceable: The plan would replace one.
        """
        for name, planned in install.items():
            for copy in self.snapshot.installed.copies(name):
                if copy.installer is not None:
                    raise Irreplaceable(copy, planned)

    def _largest_plan(self, items: Sequence[Item]) -> tuple[Plan, list[Item], dict[int, Core]]:
        """The plan for all items, or for the largest part of them that has one."""
        plans: dict[tuple[int, ...], Plan] = {}
        refusals: dict[tuple[int, ...], Unsatisfiable] = {}

        def solve(indices: Sequence[int]) -> Unsatisfiable | None:
            asked = tuple(indices)
            if asked not in plans and asked not in refusals:
                refused = ask(asked)
                if refused is not None:
                    refusals[asked] = refused
            return refusals.get(asked)

        def ask(indices: tuple[int, ...]) -> Unsatisfiable | None:
            try:
                plans[indices] = self.plan([items[i] for i in indices])
            except NoSolution as refused:
                return Unsatisfiable(refused.message, suspects(refused.message, items))
            except BuildFailed as refused:
                # A requirement needs another build of a hold, which is not available there.
                if not self.snapshot.holds.covers(refused.name):
                    raise
                return Unsatisfiable(refused.message, suspects(refused.message, items))
            return None

        everything = tuple(range(len(items)))
        refusal = solve(everything)
        if refusal is None:
            return plans[everything], list(items), {}
        if self.environment.config.on_error is OnError.ABORT:
            raise NoSolution(refusal.reason)
        try:
            division = divide([item.weight for item in items], solve, self._tell_search)
        except UnsolvableError as error:
            raise NoSolution(str(error)) from error
        return plans[division.kept], [items[i] for i in division.kept], division.left_out

    def _tell_search(self, number: int, at_most: int) -> None:
        if number > 1:  # the first was the plan for everything
            self.resolver.say(f"{SEARCHING}: run {number} (at most {at_most})")

    def plan(self, items: Sequence[Item]) -> Plan:
        """The plan for these items, given the holds and what this pass has settled.

        Raises:
            UvError: There is no plan.
        """
        asked = self._question(items)
        return self.resolver.answer(
            replace(asked, constraints=(*asked.constraints, *self._constraints()), followed=True)
        )

    def plan_without_holds(self, items: Sequence[Item], *, offline: bool) -> Plan:
        """The plan for these items without holds: for comparison, never applied.

        Raises:
            UvError: There is no plan.
        """
        asked = self._question(items)
        return self.resolver.answer(replace(asked, held=False, apart=True, offline=offline))

    def plan_beside_holds(self, items: Sequence[Item], *, offline: bool) -> Plan:
        """The plan for these items given only the holds, not what this pass has settled.

        Raises:
            UvError: There is no plan.
        """
        return self.resolver.answer(replace(self._question(items), offline=offline))

    def _question(self, items: Sequence[Item]) -> Question:
        reinstall = tuple(name for name in self._to_reinstall() if name not in self.excluded)
        return Question(tuple(items), constraints=self._repair_pins(), reinstall=reinstall)

    def _to_reinstall(self) -> Iterator[NormalizedName]:
        """Packages that uv may consider right although they are not.

        uv accepts a commit for a branch that points to it. Here the declaration counts;
        otherwise a new tag would go unnoticed.
        """
        for row in self.snapshot.drift.drifted:
            found = self.snapshot.installed.get(row.name)
            from_git = found is not None and found.direct_url and found.direct_url.commit
            if row.status is PackageStatus.BROKEN or from_git:
                yield row.name

    def _repair_pins(self) -> tuple[str, ...]:
        pins = (r.pin for r in self.repairs or () if r.distribution.name not in self.excluded)
        return tuple(pin for pin in pins if pin)

    def _possible_repairs(self) -> tuple[Repair, ...]:
        """The repairs that uv can do; the other broken packages are left as they are.

        Asked separately, so that a build that nobody has any more blocks nothing else.
        """
        update = self.environment.config.update
        wanted = list(repairs_of(self.snapshot, self._declared(), update))
        searched = False
        while wanted:
            missing = self._first_missing(wanted)
            if missing is None:
                break
            if not searched:
                searched = True
                if self._find_in_cache(wanted):
                    continue
            self.exclude(missing.hopeless(), None)
            wanted.remove(missing)
        return self._still_possible(tuple(wanted))

    def _still_possible(self, repairs: tuple[Repair, ...]) -> tuple[Repair, ...]:
        """The repairs that conflict with no requirement; the others become ordinary changes."""
        self.repairs = repairs
        try:
            if any(repair.pin for repair in repairs):
                self.plan(self._items())
        except NoSolution as refused:
            return tuple(r for r in repairs if not mentions(refused.message, r.item.name))
        except BuildFailed:
            pass  # told when the plan is decided
        return repairs

    def _first_missing(self, wanted: Sequence[Repair]) -> Repair | None:
        """One that uv cannot find, or None."""
        items = tuple(repair.item for repair in wanted)
        names = tuple(item.name for item in items)
        try:
            self.resolver.answer(Question(items, reinstall=names, alone=True))
        except BuildFailed as refused:
            guilty = [r for r in wanted if r.item.name == refused.name]
        except NoSolution as refused:
            guilty = [wanted[i] for i in sorted(suspects(refused.message, items))]
        else:
            return None
        if len(guilty) == 1 or len(wanted) == 1:
            return guilty[0] if guilty else wanted[0]
        return next((r for r in guilty or wanted if self._first_missing([r])), None)

    def _find_in_cache(self, wanted: Sequence[Repair]) -> bool:
        """Look in uv's cache for the wheels that were installed; whether any is there."""
        cache = cache_folder(self.environment.environ, self.snapshot.settings)
        if cache is None:
            return False
        folder = Path(mkdtemp(prefix="cached-", dir=self.project.folder))
        packed = [pack_cached(r.distribution, cache, folder) for r in wanted if r.pin]
        self.resolver.project = replace(self.project, wheels=folder)
        return any(packed)

    def _constraints(self) -> list[str]:
        installed = self.snapshot.installed
        stay = [
            f"{name}=={installed.version(name)}" if installed.get(name) else f"{name}<0"
            for name in self.excluded
        ]
        return [*self.pins, *stay]

    def _prunable(self) -> frozenset[NormalizedName]:
        return prunable(self.snapshot) if self.environment.config.prune else frozenset()

    def to_remove(
        self, decision: Decision, incoming: Mapping[NormalizedName, Distribution]
    ) -> Decision:
        """The decision, with what `prune` removes now that the new packages are known.

        Nothing is removed while something cannot be installed: that might need it.
        """
        if not self.environment.config.prune or decision.failed:
            return decision
        return replace(decision, remove=prunable(self.snapshot, incoming))
