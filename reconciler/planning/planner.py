"""From drift to a decision: ask uv, leave out what cannot be installed, and guard the holds.

Decides, and changes nothing. If not everything goes together, the largest installable subset
is planned, and every requirement left out is reported with uv's reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from packaging.utils import NormalizedName, canonicalize_name

from reconciler.config import OnError
from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.planning.decision import Decision, without_stubs
from reconciler.planning.failures import (
    build_failure,
    failure_of,
    failures_of_excluded,
    suspects,
)
from reconciler.planning.pruning import prunable
from reconciler.planning.resolver import Question, Resolver
from reconciler.state.culprits import Core, Unsatisfiable, UnsolvableError, divide
from reconciler.state.installed import Distribution
from reconciler.status import Failure, PackageStatus
from reconciler.uv.effective import EffectiveProject, Item, items_of, items_of_holds
from reconciler.uv.program import BuildFailed, NoSolution, Plan


@dataclass
class Planner:
    """Plans one pass; what is found out on the way (`exclude`) shapes the next plan of it."""

    environment: Environment
    snapshot: Snapshot
    resolver: Resolver
    excluded: dict[NormalizedName, Failure] = field(default_factory=dict)
    pins: tuple[str, ...] = ()

    @property
    def project(self) -> EffectiveProject:
        """What uv is told in this pass."""
        return self.resolver.project

    def exclude(self, failure: Failure, settled: Decision | None) -> None:
        """From now on, plan without this package: it does not build, or may not come in.

        Everything else of `settled` stays at its planned version, so that what depends on
        the package is left out too rather than pushed back to some ancient version.
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
        """Find what to do about the drift.

        Raises:
            HoldViolation: uv would change a held package.
            NoSolution: There is none, and the configuration says to abort.
            BuildFailed: As that; otherwise the package is left out.
            UvError: uv failed for a reason that is nobody's requirement.
        """
        while True:
            try:
                return self._decide()
            except BuildFailed as error:  # even its metadata needs a build
                abort = self.environment.config.on_error is OnError.ABORT
                if abort or error.name in self.excluded:
                    raise
                self.exclude(build_failure(error, {}, self.snapshot.holds), None)

    def _decide(self) -> Decision:
        snapshot = self.snapshot
        hold_items = items_of_holds(snapshot.holds, snapshot.markers)
        requirements = snapshot.desired.requirements if snapshot.desired else ()
        declared = items_of(requirements, snapshot.holds, snapshot.markers)
        items = [i for i in (*hold_items, *declared) if i.name not in self.excluded]
        failed = failures_of_excluded(self.excluded, declared)
        plan, kept, cores = self._largest_plan(items)
        failed += [failure_of(items[i], c, items, self.excluded) for i, c in cores.items()]
        install = without_stubs(plan, snapshot.holds)
        return Decision(
            install=install,
            # What new packages will need is known only when they are there.
            remove=frozenset() if install or failed else self._prunable(),
            kept=tuple(kept),
            failed=tuple(failed),
            # The stubs of the holds are local files, and nothing of them is installed.
            to_download=plan.downloads > sum(snapshot.holds.covers(n) for n in plan.install),
        )

    def _largest_plan(self, items: Sequence[Item]) -> tuple[Plan, list[Item], dict[int, Core]]:
        """The plan of the whole set, or of the largest part of it that has one."""
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
                # A requirement wants another build of a hold, which is not available there.
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
            division = divide([item.weight for item in items], solve)
        except UnsolvableError as error:
            raise NoSolution(str(error)) from error
        return plans[division.kept], [items[i] for i in division.kept], division.left_out

    def plan(self, items: Sequence[Item]) -> Plan:
        """The plan that meets these within the holds, and within what this pass has settled.

        Raises:
            UvError: There is none.
        """
        asked = self._question(items)
        return self.resolver.answer(
            replace(asked, constraints=tuple(self._constraints()), followed=True)
        )

    def plan_without_holds(self, items: Sequence[Item], *, offline: bool) -> Plan:
        """The plan that would meet these if nothing were held: to compare, never to apply.

        Raises:
            UvError: There is none.
        """
        asked = self._question(items)
        return self.resolver.answer(replace(asked, held=False, apart=True, offline=offline))

    def plan_beside_holds(self, items: Sequence[Item], *, offline: bool) -> Plan:
        """The plan that meets these within the holds alone, whatever this pass has settled.

        Raises:
            UvError: There is none.
        """
        return self.resolver.answer(replace(self._question(items), offline=offline))

    def _question(self, items: Sequence[Item]) -> Question:
        reinstall = tuple(name for name in self._to_reinstall() if name not in self.excluded)
        return Question(tuple(items), reinstall=reinstall)

    def _to_reinstall(self) -> Iterator[NormalizedName]:
        """What uv might take for right, though it is not.

        To uv a commit is as good as the branch that leads to it; here the declaration counts,
        or a new tag would go unnoticed.
        """
        for row in self.snapshot.drift.drifted:
            found = self.snapshot.installed.get(row.name)
            from_git = found is not None and found.direct_url and found.direct_url.commit
            if row.status is PackageStatus.BROKEN or from_git:
                yield row.name

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
        """The decision with what `prune` removes, now that it is known what is put in.

        While something cannot be installed nothing is removed: it might need it.
        """
        if not self.environment.config.prune or decision.failed:
            return decision
        return replace(decision, remove=prunable(self.snapshot, incoming))
