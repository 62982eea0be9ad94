"""From drift to a decision: ask uv, leave out what cannot be installed, and guard the holds.

It only decides; it changes nothing. If the requirements conflict, it plans the largest
installable subset and reports every requirement left out with uv's reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.config import OnError, Update
from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.planning.decision import Decision, without_stubs
from reconciler.planning.failures import (
    build_failure,
    failure_of,
    failures_of_excluded,
    failures_of_sources,
    failures_of_unlisted,
    mentions,
    suspects,
)
from reconciler.planning.pruning import prunable
from reconciler.planning.repair import Irreplaceable, Repair, repairs_of
from reconciler.planning.repair_search import RepairSearch
from reconciler.planning.resolver import Question, Resolver
from reconciler.state.culprits import Core, Unsatisfiable, UnsolvableError, divide
from reconciler.state.installed import Distribution
from reconciler.status import ExpectedEnd, Failure, PackageStatus, Reason
from reconciler.uv.cached import cache_folder
from reconciler.uv.effective import EffectiveProject, Item, items_of, items_of_holds
from reconciler.uv.program import BuildFailed, NetworkTrouble, NoSolution, Plan, Planned

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
    offline: bool = False
    """Whether uv uses only its cache, because no index answers a pass that only repairs."""

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
        while True:
            try:
                if self.repairs is None:
                    self.repairs = self._possible_repairs()
                return self._decide()
            except BuildFailed as error:  # even its metadata has to be built
                abort = self.environment.config.on_error is OnError.ABORT
                if abort or error.name in self.excluded:
                    raise
                self.exclude(build_failure(error, {}, self.snapshot.holds), None)
            except Irreplaceable as stays:
                self._leave_as_it_is(stays.failure)
            except NetworkTrouble:
                if self.offline or not self._only_repairs():
                    raise
                self.offline, self.repairs = True, None  # uv's cache may have all of it

    def _decide(self) -> Decision:
        snapshot = self.snapshot
        items = self._items()
        failed = failures_of_excluded(self.excluded, self._declared())
        plan, kept, cores = self._largest_plan(items)
        failed += [
            failure_of(items[i], c, items, self.excluded, snapshot.holds) for i, c in cores.items()
        ]
        install = without_stubs(plan, snapshot.holds)
        unlisted = list(failures_of_unlisted(snapshot.desired, install, items))
        for failure in unlisted:
            self._refuse_or_exclude(failure)
        if unlisted:
            return self._decide()
        self._refuse_irreplaceable(install)
        return Decision(
            install=install,
            # What new packages need is only known once they are installed.
            remove=frozenset() if install or failed else self._prunable(),
            kept=tuple(kept),
            failed=tuple(failed),
            # The stubs of the holds are local files and are not installed.
            to_download=not self.offline
            and plan.downloads > sum(snapshot.holds.covers(n) for n in plan.install),
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
        return self.resolver.answer(
            replace(asked, held=False, apart=True, offline=offline or self.offline)
        )

    def plan_beside_holds(self, items: Sequence[Item], *, offline: bool) -> Plan:
        """The plan for these items given only the holds, not what this pass has settled.

        Raises:
            UvError: There is no plan.
        """
        return self.resolver.answer(replace(self._question(items), offline=offline or self.offline))

    def _question(self, items: Sequence[Item]) -> Question:
        reinstall = tuple(name for name in self._to_reinstall() if name not in self.excluded)
        return Question(
            tuple(items), constraints=self._repair_pins(), reinstall=reinstall,
            offline=self.offline,
        )  # fmt: skip

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

    def _only_repairs(self) -> bool:
        """Whether there is nothing to do except to repair what is broken."""
        drift = self.snapshot.drift
        newest = self.environment.config.update is Update.LATEST
        return not newest and bool(drift.broken) and len(drift.broken) == len(drift.drifted)

    def _repair_pins(self) -> tuple[str, ...]:
        pins = (r.pin for r in self.repairs or () if r.distribution.name not in self.excluded)
        return tuple(pin for pin in pins if pin)

    def _possible_repairs(self) -> tuple[Repair, ...]:
        """The repairs that uv can do; the other broken packages are left as they are."""
        wanted = repairs_of(self.snapshot, self._declared(), self.environment.config.update)
        cache = cache_folder(self.environment.environ, self.snapshot.settings)
        search = RepairSearch(self.resolver, cache, self.offline)
        possible, hopeless = search.divide(wanted)
        for repair in hopeless:
            self._leave_as_it_is(repair.hopeless())
        self.repairs = tuple(possible)
        return self._still_possible(self.repairs)

    def _still_possible(self, repairs: tuple[Repair, ...]) -> tuple[Repair, ...]:
        """The repairs that conflict with no requirement; the others become ordinary changes."""
        try:
            if any(repair.pin for repair in repairs):
                self.plan(self._items())
        except NoSolution as refused:
            return tuple(r for r in repairs if not mentions(refused.message, r.item.name))
        except BuildFailed:
            pass  # told when the plan is decided
        return repairs

    def _leave_as_it_is(self, failure: Failure) -> None:
        """Plan around an installed package that nobody can repair or replace.

        Raises:
            ExpectedEnd: The configuration says to abort.
        """
        self._refuse_or_exclude(failure)
        self.resolver.leave(canonicalize_name(failure.name))

    def _refuse_or_exclude(self, failure: Failure) -> None:
        if self.environment.config.on_error is OnError.ABORT:
            raise ExpectedEnd(f"{failure.name}: {failure.message}", reason=failure.reason)
        self.exclude(failure, None)

    def _constraints(self) -> list[str]:
        installed = self.snapshot.installed
        stay = [
            f"{name}==={installed.version(name)}" if installed.get(name) else f"{name}<0"
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
