"""One pass: from looking to a tree that is live.

Reads top to bottom in the order of `docs/how-it-works.md`: look, diff, plan, guard, stage,
verify, exchange. Until the exchange nothing of it is live; recording and telling is the
caller's part.
"""

import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog
from packaging.utils import NormalizedName

from reconciler.config import Update
from reconciler.environment.creation import create_environment
from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.journal.history import iso
from reconciler.passes.outcome import (
    Gate,
    Insecure,
    KeepsChanging,
    Listener,
    LiveTreeChanged,
    Outcome,
    Unready,
)
from reconciler.passes.prove import (
    check_consistency,
    check_holds,
    check_packages,
    check_untouched,
    read_tree,
    run_commands,
    staged_drift,
)
from reconciler.planning.counterfactual import Unheld
from reconciler.planning.planner import Decision, Planner, build_failure, project_for
from reconciler.planning.pruning import prunable
from reconciler.processes import Cancellation
from reconciler.state.desired import FileProblem
from reconciler.state.installed import Distribution, Installed, audit
from reconciler.status import Change, Failure, HeldBack, Result
from reconciler.trees import generations
from reconciler.trees.exchange import ExchangeImpossible, exchange, finish_interrupted
from reconciler.trees.generations import Generation
from reconciler.trees.stage import Census, StagingImpossible, clone, has_changed
from reconciler.trees.tree import HoldConflict, Tree, fingerprints, follow_links
from reconciler.trees.workspace import PassLock, Workspace
from reconciler.uv.program import BuildFailed, DiskFull, TimedOut, UvError

log = structlog.get_logger()

STARTS = 4
"""How often a pass starts over because the live tree changed under it."""


_TWO_RENAMES = (
    "the file system cannot exchange two folders in one step, so two renames do it, with a record "
    "by which a crash between them is put right at the next start. Put the environment on an "
    "ordinary local file system for atomic changes"
)


@dataclass
class Pass:
    """One pass over one environment.

    The caller holds the environment's pass lock. `log` and `steps` can be read whatever
    way the pass ends.
    """

    environment: Environment
    cancel: Cancellation
    listener: Listener
    gate: Gate | None = None
    lock: PassLock = field(default_factory=PassLock)
    """The pass lock, from when the caller holds it: whoever writes to the vault needs it."""
    log: list[str] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    planned: tuple[Change, ...] = ()
    """What was to change, whatever came of it."""
    two_renames: str | None = None
    """Why the last exchange was not one step, if it was not."""

    def reconcile(self, *, audit: bool) -> Outcome:
        """Bring the environment to what is declared, if it is not.

        Args:
            audit: Check the presence of every recorded file first.

        Raises:
            Unready: The project's file cannot be used and never could.
            Insecure: As root: somebody else can write what decides what is installed.
            InterpreterError: There is no interpreter that works.
            HoldViolation: The plan would change a held package.
            VerifyFailed: The stage is not fit to go live.
            Postponed: It may not go live now.
            KeepsChanging: The live tree changed under every attempt.
            UvError: uv failed.
            Cancelled: The pass was asked to end.
            OSError: Something could not be written.
        """
        snapshot = self.look(audit=audit)
        if self._nothing_to_do(snapshot):
            return self._unchanged(snapshot)
        where = ""
        for _ in range(STARTS):
            try:
                return self._attempt(snapshot)
            except LiveTreeChanged as changed:
                where = changed.where
                log.info("live-tree.changed", folder=where)
                snapshot = self.look(audit=True)
                if self._nothing_to_do(snapshot):
                    return self._unchanged(snapshot)
        raise KeepsChanging(where)

    def plan(self, *, audit: bool = True) -> Outcome:
        """Find out what `reconcile` would do, and change nothing."""
        snapshot = self.look(audit=audit)
        if self._nothing_to_do(snapshot):
            return self._unchanged(snapshot)
        with self.workspace(snapshot) as work:
            planner = self._planner(snapshot, work)
            unheld = Unheld(planner)
            with self.step("plan"):
                decision = planner.decide()
                held_back = unheld.held_back(decision)
        return Outcome(
            result=Result.PARTIAL if decision.failed else Result.UNCHANGED,
            snapshot=snapshot,
            plan=decision.changes(snapshot.installed),
            failed=decision.failed,
            held_back=held_back,
            generation=generations.live(Workspace(snapshot.interpreter.prefix)).number,
            attempted=False,
        )

    def observe(self, snapshot: Snapshot) -> Outcome:
        """Only report what `look` found."""
        return replace(self._unchanged(snapshot), attempted=False)

    def create(self) -> None:
        """Make the environment, where there is none yet."""
        with self.step("create"):
            try:
                create_environment(self.environment, self.cancel, self.line)
            except FileProblem as problem:
                raise Unready(problem) from problem

    def refuse_insecure(self) -> None:
        """As root, act only on files that nobody else can write (as sshd does with keys).

        Raises:
            Insecure: Somebody else can.
        """
        problem = self.environment.insecure
        if problem is not None:
            log.error("environment.insecure", path=problem.file)
            raise Insecure(problem)

    def look(self, *, audit: bool) -> Snapshot:
        """The first step: desired, installed, holds, and how they differ."""
        with self.step("look"):
            snapshot = self.environment.look(audit_files=audit)
        if snapshot.desired is None and snapshot.problem is not None:
            raise Unready(snapshot.problem)
        return snapshot

    def _nothing_to_do(self, snapshot: Snapshot) -> bool:
        return (
            snapshot.drift.in_sync
            and self.environment.config.update is not Update.LATEST
            and not (self.environment.config.prune and prunable(snapshot))
        )

    def _unchanged(self, snapshot: Snapshot) -> Outcome:
        number = generations.live(Workspace(snapshot.interpreter.prefix)).number
        return Outcome(Result.UNCHANGED, snapshot, generation=number)

    def _attempt(self, snapshot: Snapshot) -> Outcome:
        """Plan, stage, verify, exchange: all of it on one view of the environment."""
        drifted = [row.name for row in snapshot.drift.drifted]
        log.info("drift.detected", packages=drifted, revision=snapshot.revision)
        if self.gate is not None:  # asked again before the exchange; here it saves the work
            self.gate.wait_until_open(self.environment, self.cancel)
        with self.workspace(snapshot) as work, ThreadPoolExecutor(3, "pass") as pool:
            staging = pool.submit(self.clone, snapshot, work)
            planner = self._planner(snapshot, work)
            unheld = Unheld(planner)
            with self.step("plan"):
                decision = planner.decide()
            self._tell_plan(decision, snapshot)
            if decision.is_empty:
                return self._only_failures(snapshot, decision, unheld)
            decision, incoming, held_back = self._install(unheld, decision, work, pool)
            if decision.is_empty:
                return self._only_failures(snapshot, decision, unheld)
            return self._apply(snapshot, decision, incoming, held_back, staging)

    def _tell_plan(self, decision: Decision, snapshot: Snapshot) -> None:
        changes = self.planned = decision.changes(snapshot.installed)
        log.info(
            "plan.ready",
            changes=[f"{c.name} {c.from_ or '-'} -> {c.to or '-'}" for c in changes],
            failed=[f.requirement for f in decision.failed],
        )

    def _only_failures(self, snapshot: Snapshot, decision: Decision, unheld: Unheld) -> Outcome:
        held_back = unheld.held_back(decision)
        result = Result.PARTIAL if decision.failed else Result.UNCHANGED
        number = generations.live(Workspace(snapshot.interpreter.prefix)).number
        return Outcome(
            result, snapshot, failed=decision.failed, held_back=held_back, generation=number
        )

    def _planner(self, snapshot: Snapshot, work: Path) -> Planner:
        project = project_for(self.environment, snapshot, work)
        return Planner(self.environment, snapshot, project, self.cancel, self.line)

    def _install(
        self, unheld: Unheld, decision: Decision, work: Path, pool: ThreadPoolExecutor
    ) -> tuple[Decision, Path, tuple[HeldBack, ...]]:
        """Let uv prepare the planned packages in a folder of their own.

        A package that does not build, or that may not come in, is left out, what depends
        on it too, and the rest goes on.
        """
        planner, snapshot = unheld.planner, unheld.planner.snapshot
        for attempt in range(len(decision.install) + 2):
            incoming = work / f"incoming-{attempt}"
            explaining = pool.submit(unheld.held_back, decision)
            try:
                found = self._prepare(planner, decision, incoming)
            except BuildFailed as error:
                refused = [build_failure(error, decision.install, snapshot.holds)]
            except HoldConflict as conflict:
                text = str(conflict)
                refused = [Failure(name=conflict.package, requirement=conflict.package,
                                   reason="HoldConflict", message=text)]  # fmt: skip
            else:
                held_back = explaining.result()
                allowed = self.environment.config.allow_downgrade
                refused = [] if allowed else unheld.objections(held_back, found)
                if not refused:
                    return planner.to_remove(decision, found), incoming, held_back
            explaining.result()
            decision = self._decide_without(planner, refused, decision)
            if decision.is_empty:
                break
        return decision, work / "nothing", ()

    def _decide_without(
        self, planner: Planner, refused: list[Failure], decision: Decision
    ) -> Decision:
        for failure in refused:
            log.warning("requirement.failed", package=failure.name, reason=failure.reason)
            pushed = failure.reason in ("WouldDowngrade", "HeldBackTooFar")
            planner.exclude(failure, None if pushed else decision)
        with self.step("plan"):
            decision = planner.decide()
        self._tell_plan(decision, planner.snapshot)
        return decision

    def _prepare(
        self, planner: Planner, decision: Decision, incoming: Path
    ) -> Mapping[NormalizedName, Distribution]:
        """Run uv into `incoming`, and see whether any file of it would hit a held one."""
        snapshot = planner.snapshot
        prefix = snapshot.interpreter.prefix
        if not decision.install:
            return {}
        with self.step("install"):
            self._download_and_unpack(planner, decision, incoming)
        follow_links(incoming, prefix)
        found = read_tree(snapshot, incoming, self.environment.metadata).distributions
        live = Tree(prefix, prefix, snapshot.installed, snapshot.holds)
        conflict = live.conflict(incoming, found.values())
        if conflict:
            raise conflict
        return found

    def _download_and_unpack(self, planner: Planner, decision: Decision, incoming: Path) -> None:
        uv = self.environment.uv
        ask = planner.project.to_install(list(decision.install.values()), decision.kept)
        if not decision.to_download:
            # The plan has just asked the index for all of it: no need to ask again.
            try:
                uv.install(ask, incoming, self.cancel, self.line, offline=True)
            except (DiskFull, TimedOut):
                raise
            except UvError:
                shutil.rmtree(incoming, ignore_errors=True)
            else:
                return
        uv.install(ask, incoming, self.cancel, self.line)

    def clone(self, snapshot: Snapshot, work: Path) -> "tuple[Path, Census] | StagingImpossible":
        """The stage, cloned while uv resolves; or why there can be none."""
        prefix = snapshot.interpreter.prefix
        if self.environment.in_place:
            return StagingImpossible(self.environment.in_place)
        if not snapshot.interpreter.is_venv:
            return StagingImpossible(
                f"{prefix} is no virtual environment, and the tree of a whole Python cannot be "
                "exchanged. Make a virtual environment (uv venv) for atomic changes"
            )
        stage = work / "stage"
        stage.mkdir()
        started = time.monotonic()
        try:
            census = clone(prefix, stage, self.cancel)
        except StagingImpossible as impossible:
            return impossible
        self.steps["clone"] = self.steps.get("clone", 0.0) + time.monotonic() - started
        return stage, census

    def _apply(
        self,
        snapshot: Snapshot,
        decision: Decision,
        incoming: Path,
        held_back: tuple[HeldBack, ...],
        staging: "Future[tuple[Path, Census] | StagingImpossible]",
    ) -> Outcome:
        staged = staging.result()
        if not isinstance(staged, StagingImpossible):
            try:
                number = self._go_live(snapshot, decision, incoming, *staged)
                return self._changed(snapshot, decision, held_back, number, self.two_renames)
            except ExchangeImpossible as impossible:
                # uv's folder was emptied into the stage, so begin again, in place.
                self.environment.in_place = (
                    f"the file system cannot exchange these folders ({impossible}). Put the "
                    "environment on an ordinary local file system for atomic changes"
                )
                raise LiveTreeChanged("the file system") from impossible
        number = self._change_in_place(snapshot, decision, incoming)
        reason = str(staged)
        if self.environment.config.verify:  # there was no stage to run them in
            reason += ". The `verify` commands have therefore not been run"
        return self._changed(snapshot, decision, held_back, number, reason)

    def _go_live(
        self, snapshot: Snapshot, decision: Decision, incoming: Path, stage: Path, census: Census
    ) -> int:
        """Complete the stage, verify it, and exchange it with the live tree."""
        prefix = snapshot.interpreter.prefix
        if self.environment.look().installed is not snapshot.installed:
            raise LiveTreeChanged("site-packages")  # before it was cloned, but after the plan
        tree = Tree(stage, prefix, snapshot.installed, snapshot.holds)
        before = fingerprints(tree.held_files, prefix)
        self._merge(snapshot, decision, incoming, tree)
        log.info("stage.ready", packages=len(decision.install))
        with self.step("verify"):
            staged = read_tree(snapshot, stage, self.environment.metadata)
            check_packages(staged, decision.install, decision.remove)
            broken = {n: w for n, w in snapshot.broken.items() if n not in decision.install}
            failing = [NormalizedName(f.name) for f in decision.failed]
            drift = staged_drift(snapshot, staged, broken)
            check_consistency(snapshot, drift, failing, decision.install)
            check_holds(tree.held_files, before, stage)
            if self.environment.config.verify:
                whole = audit(staged)
                self._run_verify_commands(stage)
                check_holds(tree.held_files, before, stage, commands_ran=True)
                after = read_tree(snapshot, stage, self.environment.metadata)
                check_untouched(staged, whole, after)
        if self.gate is not None:
            self.gate.wait_until_open(self.environment, self.cancel)
        with self.step("exchange"):
            return self.exchange(snapshot, stage, census, sorted(tree.touched), staged)

    def _merge(self, snapshot: Snapshot, decision: Decision, incoming: Path, tree: Tree) -> None:
        going = frozenset({*decision.install, *decision.remove})
        for name in going:
            for distribution in snapshot.installed.copies(name):
                tree.remove(distribution, going)
        if decision.install:
            tree.add(incoming, self.cancel)

    def _run_verify_commands(self, stage: Path) -> None:
        config = self.environment.config
        run_commands(
            config.verify, stage, self.environment.environ, config.verify_timeout, self.cancel,
            self.log.append,
        )  # fmt: skip
        log.info("verify.passed", commands=len(config.verify))

    def exchange(
        self, snapshot: Snapshot, stage: Path, census: Census, roots: list[str], staged: Installed
    ) -> int:
        """Make `roots` of the stage live, unless the live tree has changed; the new number."""
        workspace = Workspace(snapshot.interpreter.prefix)
        with workspace.uv_lock(self.cancel, self.environment.config.timeout):
            self.refuse_insecure()  # asked before the look as well, but that was a while ago
            changed = has_changed(workspace.prefix, census)
            if changed is not None:
                raise LiveTreeChanged(changed)
            before = generations.live(workspace)
            after = Generation(
                generations.next_number(workspace), iso(time.time()),
                len(staged.distributions), snapshot.revision, before.number,
            )  # fmt: skip
            # Others may have changed it since it went live; as a generation nobody does.
            before = replace(before, packages=len(snapshot.installed.distributions))
            archive = generations.folder_of(workspace, before.number)
            named = workspace.root / f"stage-{stage.parent.name}"
            stage.rename(named)
            self.cancel.check()
            in_one_step = exchange(
                workspace,
                named,
                roots,
                live=after.to_dict(),
                old=before.to_dict(),
                archive=archive,
            )
        self.two_renames = None if in_one_step else _TWO_RENAMES
        log.info("generation.activated", generation=after.number, roots=roots)
        self._forget_oldest(workspace)
        return after.number

    def _forget_oldest(self, workspace: Workspace) -> None:
        try:
            for number in generations.prune(workspace, self.environment.config.keep_generations):
                log.info("generation.removed", generation=number)
        except OSError as error:  # the new tree is live all the same
            log.warning("generation.kept", reason=str(error))

    def _change_in_place(self, snapshot: Snapshot, decision: Decision, incoming: Path) -> int:
        """Without a stage: the same merge, into the live tree, as short as it can be."""
        workspace = Workspace(snapshot.interpreter.prefix)
        prefix = workspace.prefix
        tree = Tree(prefix, prefix, snapshot.installed, snapshot.holds)
        if self.gate is not None:
            self.gate.wait_until_open(self.environment, self.cancel)
        with self.step("exchange"), workspace.uv_lock(self.cancel, None):
            self.refuse_insecure()
            before = fingerprints(tree.held_files, prefix)
            self._merge(snapshot, decision, incoming, tree)
            check_holds(tree.held_files, before, prefix)
        with self.step("verify"):
            installed = self.environment.look().installed
            check_packages(installed, decision.install, decision.remove)
        return generations.live(workspace).number

    def _changed(
        self,
        snapshot: Snapshot,
        decision: Decision,
        held_back: tuple[HeldBack, ...],
        number: int,
        in_place: str | None,
    ) -> Outcome:
        changes = decision.changes(snapshot.installed)
        for change in changes:
            log.info("package.changed", package=change.name, action=change.action,
                     **{"from": change.from_, "to": change.to})  # fmt: skip
        with self.step("look"):
            self.environment.forget_broken({*decision.install, *decision.remove})
            after = self.environment.look()
        return Outcome(
            result=Result.PARTIAL if decision.failed else Result.CHANGED,
            snapshot=after,
            changes=changes,
            plan=changes,
            failed=decision.failed,
            held_back=held_back,
            generation=number,
            atomic=in_place is None,
            atomic_reason=in_place,
        )

    @contextmanager
    def workspace(self, snapshot: Snapshot) -> Iterator[Path]:
        """A private folder for this attempt, gone afterwards."""
        workspace = Workspace(snapshot.interpreter.prefix)
        workspace.create()
        work = workspace.new_work()
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step of the pass: told to the listener, and timed."""
        self.cancel.check()
        self.listener.step(name)
        started = time.monotonic()
        try:
            yield
        finally:
            self.steps[name] = self.steps.get(name, 0.0) + time.monotonic() - started

    def line(self, text: str) -> None:
        """A line for the pass's log and its listener."""
        self.log.append(text + "\n")
        self.listener.line(text)


def recover(environment: Environment) -> str | None:
    """Finish or undo what a crash interrupted, and remove what it left behind.

    The caller holds the pass lock.

    Returns:
        What was done, in words, or None.
    """
    workspace = environment.workspace
    finished = finish_interrupted(workspace)
    removed = workspace.clean_up()
    if finished:
        return f"an exchange that was interrupted has been {finished}"
    return f"{removed} unfinished stages have been removed" if removed else None
