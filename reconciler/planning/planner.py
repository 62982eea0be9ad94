"""From drift to a plan that may be applied: ask uv, and guard the holds.

Decides, and changes nothing. If not everything can be had together, the largest
installable subset is planned, and every requirement left out is reported with uv's reason.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

import structlog
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.config import OnError, Update
from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.log.redact import redact
from reconciler.planning.pruning import prunable
from reconciler.planning.shadow import shadow_of
from reconciler.processes import Cancellation, OnLine
from reconciler.state.culprits import Core, Unsatisfiable, UnsolvableError, divide
from reconciler.state.holds import Held, HoldSet
from reconciler.state.installed import Distribution, Installed
from reconciler.status import Change, Failure, PackageStatus, Reason
from reconciler.uv.effective import EffectiveProject, Item, items_of, items_of_holds
from reconciler.uv.program import BuildFailed, NoSolution, Plan, Planned, Unreadable

log = structlog.get_logger()


class HoldViolation(Exception):
    """uv would change a held package; nothing has been written."""

    def __init__(self, name: NormalizedName, change: str) -> None:
        super().__init__(
            f"uv's plan would {change} {name}, which is held, so nothing was changed. This should "
            "be impossible: please report it with the log of this pass."
        )
        self.name = name


@dataclass(frozen=True)
class Decision:
    """What is to be done, complete before anything is done.

    `install` are exact versions, none of them held; `remove` are installed packages that
    go without a successor; `failed` is what cannot be had, and why.
    """

    install: Mapping[NormalizedName, Planned]
    remove: frozenset[NormalizedName]
    kept: tuple[Item, ...]
    failed: tuple[Failure, ...] = ()
    to_download: bool = True
    """Whether anything of it is not in uv's cache yet, as far as uv says."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.install and not self.remove

    def changes(self, installed: Installed) -> tuple[Change, ...]:
        """The decision as changes from what is installed, by name."""
        names = sorted({*self.install, *self.remove})
        return tuple(_change(name, self.install.get(name), installed) for name in names)


def _change(name: NormalizedName, planned: Planned | None, installed: Installed) -> Change:
    before = installed.version(name)
    from_ = str(before) if before is not None else None
    if planned is None:
        return Change(name=name, action="remove", from_=from_)
    to = str(planned.version) if planned.version is not None else planned.url
    if before is None:
        return Change(name=name, action="install", to=to)
    if planned.version is None or planned.version == before:
        return Change(name=name, action="reinstall", from_=from_, to=to)
    down = planned.version < before
    return Change(name=name, action="downgrade" if down else "upgrade", from_=from_, to=to)


@dataclass
class Planner:
    """Plans one pass; what is found out on the way (`exclude`) shapes the next plan of it."""

    environment: Environment
    snapshot: Snapshot
    project: EffectiveProject
    cancel: Cancellation
    on_line: OnLine
    excluded: dict[NormalizedName, Failure] = field(default_factory=dict)
    pins: tuple[str, ...] = ()
    hidden: frozenset[str] = frozenset()
    """Names of the dist-infos that uv cannot read: it is not shown them, or it would refuse all."""
    _lock: Lock = field(default_factory=Lock)

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
            except BuildFailed as error:  # even its metadata cannot be had without a build
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
        failed = self._left_out_with_excluded(declared)
        plan, kept, cores = self._largest_plan(items)
        failed += [self._failure(items[i], core, items) for i, core in cores.items()]
        install = self._guarded(plan)
        return Decision(
            install=install,
            # What new packages will need is known only when they are there.
            remove=frozenset() if install or failed else self._prunable(),
            kept=tuple(kept),
            failed=tuple(failed),
            # The stubs of the holds are local files, and nothing of them is installed.
            to_download=plan.downloads > sum(snapshot.holds.covers(n) for n in plan.install),
        )

    def _left_out_with_excluded(self, declared: Sequence[Item]) -> list[Failure]:
        texts = {item.name: item.text for item in declared}
        return [
            Failure(
                name=name,
                requirement=redact(texts.get(name, failure.requirement)),
                reason=failure.reason,
                message=failure.message,
            )
            for name, failure in self.excluded.items()
        ]

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
                plans[indices] = self.ask([items[i] for i in indices])
            except NoSolution as refused:
                return Unsatisfiable(refused.message, _suspects(refused.message, items))
            except BuildFailed as refused:
                # Somebody wants another build of a hold, from where it cannot be had.
                if not self.snapshot.holds.covers(refused.name):
                    raise
                return Unsatisfiable(refused.message, _suspects(refused.message, items))
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

    def ask(
        self,
        items: Sequence[Item],
        *,
        free: bool = False,
        aside: bool = False,
        offline: bool = False,
        settled: bool = True,
        apart: bool = False,
    ) -> Plan:
        """Run the dry run; what a glob holds and nobody knew of is excluded, and asked again.

        So it is without what uv cannot read of the environment: as if it were not installed.

        May be called from several threads.

        Args:
            items: The requirements to meet.
            free: As if nothing were held.
            aside: Nobody follows what uv says.
            offline: By what uv has in its cache alone.
            settled: Within what the earlier plans of this pass have settled.
            apart: Beside another run, so not at the environment itself, which uv would lock.

        Raises:
            UvError: There is no plan.
        """
        while True:
            missing = self.project.missing  # another thread may learn of more meanwhile
            hidden = self.hidden
            elsewhere = apart or bool(hidden)
            prefix = shadow_of(self.snapshot, self.project.folder, hidden) if elsewhere else None
            try:
                plan = self._ask_once(
                    items, free=free, aside=aside, offline=offline, settled=settled, prefix=prefix
                )
            except Unreadable as error:
                self._hide(error, hidden)
                continue
            holds = self.snapshot.holds
            unknown = {n for n in plan.install if holds.covers(n) and n not in holds.held}
            if not unknown or unknown <= missing:
                return plan
            with self._lock:
                self.project = replace(self.project, missing=self.project.missing | unknown)

    def _hide(self, error: Unreadable, hidden: frozenset[str]) -> None:
        """From now on, uv is not shown what it has just failed on.

        Raises:
            Unreadable: It was not shown that, and fails all the same.
        """
        copies = self.snapshot.installed.copies(error.name) if error.name else ()
        found = {c.info.name for c in copies} | ({error.info} if error.info else set())
        if found <= hidden:
            raise error
        log.warning("metadata.unreadable", folders=sorted(found - hidden), message=error.message)
        with self._lock:
            self.hidden |= found

    def _ask_once(
        self,
        items: Sequence[Item],
        *,
        free: bool,
        aside: bool,
        offline: bool,
        settled: bool,
        prefix: Path | None,
    ) -> Plan:
        ask = self.project.to_plan(
            items,
            constraints=self._constraints() if settled and not free else (),
            reinstall=[name for name in self._to_reinstall() if name not in self.excluded],
            upgrade=self.environment.config.update is Update.LATEST,
            free=free,
        )
        on_line = None if aside else self.on_line
        uv = self.environment.uv
        return uv.plan(ask, self.cancel, on_line, offline=offline, prefix=prefix)

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

    def _failure(self, item: Item, core: Core, items: Sequence[Item]) -> Failure:
        causes = [e for n, e in self.excluded.items() if mentions(core.reason, n)]
        if causes:
            first = causes[0]
            return Failure(
                name=item.name,
                requirement=redact(item.text),
                reason=Reason.DEPENDENCY_FAILED,
                message=f"it needs {first.name}, which is left out: {first.message}",
            )
        others = [items[i] for i in sorted(core.items) if items[i] != item]
        beside = ", ".join(f"{redact(o.text)} ({o.origin})" for o in others)
        message = core.reason + (f" It does not go together with {beside}." if beside else "")
        return Failure(
            name=item.name,
            requirement=redact(item.text),
            reason=Reason.NO_SOLUTION,
            message=message,
        )

    def _guarded(self, plan: Plan) -> dict[NormalizedName, Planned]:
        """The plan without the stubs of the holds.

        Raises:
            HoldViolation: It names a held package in any other way.
        """
        holds = self.snapshot.holds
        install = dict(plan.install)
        for name in [n for n in install if holds.covers(n)]:
            planned = install.pop(name)
            held = holds.held.get(name)
            if held is None or planned.version != held.version:
                raise HoldViolation(name, f"install {planned.version or planned.url} of")
        for name in plan.remove:
            if holds.covers(name) and name not in plan.install:
                raise HoldViolation(name, "remove")
        return install

    def _prunable(self) -> frozenset[NormalizedName]:
        return prunable(self.snapshot) if self.environment.config.prune else frozenset()

    def to_remove(
        self, decision: Decision, incoming: Mapping[NormalizedName, Distribution]
    ) -> Decision:
        """The decision with what `prune` removes, now that it is known what is put in.

        While something cannot be had nothing is removed: it might need it.
        """
        if not self.environment.config.prune or decision.failed:
            return decision
        return replace(decision, remove=prunable(self.snapshot, incoming))


def build_failure(
    error: BuildFailed, planned: Mapping[NormalizedName, Planned], holds: HoldSet
) -> Failure:
    """A package that does not build, with what to do if that is on account of a hold."""
    version = planned[error.name].version if error.name in planned else None
    wants = next((h for h in holds.held.values() if _misses(error.message, h)), None)
    hint = "" if wants is None else (
        f" It is built against {wants.name}, which is held and is not in the build's own "
        f"environment: put {error.name} into `no-build-isolation-package` of [tool.uv]."
    )  # fmt: skip
    return Failure(
        name=error.name,
        requirement=f"{error.name}=={version}" if version else error.name,
        reason=error.reason,
        message=error.message + hint,
    )


def _misses(message: str, hold: Held) -> bool:
    module = hold.name.replace("-", "_")
    return mentions(message, hold.pin) or f"No module named '{module}'" in message


def _suspects(reason: str, items: Sequence[Item]) -> frozenset[int]:
    return frozenset(i for i, item in enumerate(items) if mentions(reason, item.name))


def mentions(text: str, name: str) -> bool:
    """Whether uv's words are about the package of that name."""
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text) is not None


def project_for(environment: Environment, snapshot: Snapshot, folder: Path) -> EffectiveProject:
    """The effective project of one pass; `folder` is private to it."""
    return EffectiveProject(
        folder=folder,
        python=snapshot.interpreter.executable,
        settings=snapshot.settings,
        holds=snapshot.holds,
        missing=snapshot.holds.missing(names_required(snapshot)),
        build=environment.config.build.value,
        timeout=environment.config.timeout,
    )


def names_required(snapshot: Snapshot) -> Iterable[NormalizedName]:
    """Every name that is declared, or required by something installed."""
    for declared in snapshot.desired.requirements if snapshot.desired else ():
        yield declared.name
    for distribution in snapshot.installed.all():
        yield from distribution.requires.names()


def holds_in_words(holds: HoldSet) -> str:
    """`torch==2.3.1+rocm5.7, torchvision==0.18.1+rocm5.7`, for messages."""
    return ", ".join(h.pin for h in holds.held.values())
