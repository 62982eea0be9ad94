"""One pass: from the first look to a live tree.

Reads top to bottom in the order of `docs/how-it-works.md`: look, diff, plan, guard, install,
stage, prove, publish. Nothing is live before it is published. The caller records the outcome.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from msgspec.structs import replace

from reconciler.config import OnError, Update
from reconciler.environment.creation import create_environment
from reconciler.environment.snapshot import Snapshot
from reconciler.holds.leftovers import left_by, newly_left
from reconciler.log.logger import get_logger
from reconciler.passes.agreement import disagreements
from reconciler.passes.incoming import Incoming, decide_without, prepare, tell_plan
from reconciler.passes.outcome import Outcome, Unready
from reconciler.passes.prove import prove
from reconciler.passes.proving import ImportProof, ImportsBroken
from reconciler.passes.publish import Published, until_unchanged
from reconciler.passes.running import Pass
from reconciler.passes.staging import Replacement, Staging, clone_live, discard_stage, make_live
from reconciler.planning.counterfactual import Unheld
from reconciler.planning.decision import Decision
from reconciler.planning.planner import Planner
from reconciler.planning.pruning import prunable
from reconciler.planning.resolver import Resolver, project_for
from reconciler.state.desired import BadFile
from reconciler.state.installed import Installed
from reconciler.status import ExpectedEnd, Failure, Result
from reconciler.trees import generations
from reconciler.trees.fingerprints import Fingerprints
from reconciler.trees.tree import Tree
from reconciler.trees.workspace import Workspace

log = get_logger(__name__)


def create(running: Pass) -> None:
    """Create the environment if it does not exist: a change like any other.

    Raises:
        Unready: The project's file cannot be used.
        Postponed: It may not be created now.
        UvError: uv found no Python that fits.
        OSError: The folder cannot be written.
    """
    running.wait_until_open()
    with running.step("create"):
        try:
            create_environment(running.environment, running.cancel, running.line)
        except BadFile as error:
            raise Unready(error.problem) from error


def reconcile(running: Pass, *, audit: bool) -> Outcome:
    """Bring the environment to its desired state, if it differs.

    Args:
        running: The pass.
        audit: Whether to check first that every recorded file exists.

    Raises:
        Unready: The project's file cannot be used and has never been good.
        Insecure: As root: someone else can write files that decide what is installed.
        InterpreterError: There is no working interpreter.
        HoldViolation: The plan would change a held package.
        HoldEdited: Something edited a held file in place meanwhile.
        VerifyFailed: The changed tree failed a check.
        Postponed: It may not go live now.
        KeepsChanging: The live tree changed during every attempt.
        UvError: uv failed.
        Cancelled: The pass was asked to end.
        OSError: A file could not be written.
    """
    audits = iter([audit])

    def attempt() -> Outcome:
        snapshot = running.look(audit=next(audits, True))
        if _nothing_to_do(running, snapshot):
            return unchanged(snapshot)
        return _attempt(running, snapshot)

    return until_unchanged(running, attempt)


def plan(running: Pass, *, audit: bool = True) -> Outcome:
    """Find out what `reconcile` would do, without changing anything.

    It decides as `reconcile` does, holds included; nothing is built and no file is compared.
    """
    snapshot = running.look(audit=audit)
    if _nothing_to_do(running, snapshot):
        return unchanged(snapshot)
    with (
        running.holding(snapshot),
        running.work_folder(snapshot) as work,
        ThreadPoolExecutor(1, "plan") as pool,
    ):
        planner = _planner(running, snapshot, work)
        unheld = Unheld(planner)
        with running.step("plan"):
            decision = planner.decide()
        incoming = prepare(running, unheld, decision, work, pool, fetch=False)
        if incoming.decision.is_empty:
            incoming = replace(incoming, held_back=unheld.held_back(incoming.decision))
    changes = incoming.decision.changes(snapshot.installed)
    running.listener.planned(changes)
    left = None if running.environment.config.prune else left_by(snapshot, changes)
    return replace(_only_failures(snapshot, incoming), plan=changes, message=left, attempted=False)


def observe(snapshot: Snapshot) -> Outcome:
    """Only report the result of a look."""
    return replace(unchanged(snapshot), attempted=False)


def unchanged(snapshot: Snapshot) -> Outcome:
    """The outcome of a pass that has nothing to do."""
    return Outcome(Result.UNCHANGED, snapshot, generation=_live_number(snapshot))


def _nothing_to_do(running: Pass, snapshot: Snapshot) -> bool:
    config = running.environment.config
    return (
        snapshot.drift.in_sync
        and config.update is not Update.LATEST
        and not (config.prune and prunable(snapshot))
    )


def _attempt(running: Pass, snapshot: Snapshot) -> Outcome:
    """Plan, install, stage, prove, publish: all based on one snapshot of the environment."""
    drifted = [row.name for row in snapshot.drift.drifted]
    log.info("drift.detected", packages=drifted, revision=snapshot.revision)
    running.wait_until_open()  # checked again in `publish`; here it saves the work
    with (
        running.holding(snapshot),
        running.work_folder(snapshot) as work,
        ThreadPoolExecutor(3, "pass") as pool,
    ):
        staging = pool.submit(clone_live, running, snapshot, work)
        planner = _planner(running, snapshot, work)
        unheld = Unheld(planner)
        with running.step("plan"):
            decision = planner.decide()
        tell_plan(running, planner, decision)
        if decision.is_empty:
            held_back = unheld.held_back(decision)
            return _only_failures(snapshot, Incoming(decision, work, held_back))
        proof = ImportProof(running, snapshot, work)
        for number in count():
            incoming = prepare(running, unheld, decision, _folder_of(work, number), pool)
            if incoming.decision.is_empty:
                held_back = unheld.held_back(incoming.decision)
                return _only_failures(snapshot, replace(incoming, held_back=held_back))
            try:
                published = _prove_and_publish(running, snapshot, incoming, staging.result(), proof)
                break
            except ImportsBroken as broken:
                refused = proof.failures(broken.broken)
            decision = _decide_without(running, planner, refused, incoming.decision)
            discard_stage(work)
            staging = pool.submit(clone_live, running, snapshot, work)
    return _changed(running, snapshot, incoming, published)


def _folder_of(work: Path, number: int) -> Path:
    """Where packages are prepared: again from the start, once changes have been left out."""
    folder = work / f"again-{number}" if number else work
    folder.mkdir(exist_ok=True)
    return folder


def _prove_and_publish(
    running: Pass, snapshot: Snapshot, incoming: Incoming, staging: Staging, imports: ImportProof
) -> Published:
    """Build the new tree, and make it live if it is as it should be."""
    decision = incoming.decision

    def proved(tree: Tree, held: Fingerprints) -> Installed:
        return prove(running, snapshot, decision, tree, held, imports)

    return make_live(running, _replacement(snapshot, incoming), staging, proved)


def _decide_without(
    running: Pass, planner: Planner, refused: list[Failure], decision: Decision
) -> Decision:
    """Decide again, without the changes that break imports.

    Raises:
        ExpectedEnd: The configuration says to abort.
    """
    if not refused:
        return decision  # what fails now has failed before
    if running.environment.config.on_error is OnError.ABORT:
        raise ExpectedEnd(refused[0].message, reason=refused[0].reason)
    return decide_without(running, planner, refused, decision)


def _planner(running: Pass, snapshot: Snapshot, work: Path) -> Planner:
    environment = running.environment
    project = project_for(environment, snapshot, work)
    resolver = Resolver(environment, snapshot, project, running.cancel, running.line)
    return Planner(environment, snapshot, resolver)


def _replacement(snapshot: Snapshot, incoming: Incoming) -> Replacement:
    decision = incoming.decision
    going = frozenset({*decision.install, *decision.remove})
    folder = incoming.folder if decision.install else None
    return Replacement(snapshot, going, folder, snapshot.holds)


def _only_failures(snapshot: Snapshot, incoming: Incoming) -> Outcome:
    failed = incoming.decision.failed
    if incoming.decision.is_empty and not failed:
        failed = disagreements(snapshot, snapshot)
    return Outcome(
        Result.PARTIAL if failed else Result.UNCHANGED,
        snapshot,
        failed=failed,
        held_back=incoming.held_back,
        generation=_live_number(snapshot),
    )


def _changed(
    running: Pass, snapshot: Snapshot, incoming: Incoming, published: Published
) -> Outcome:
    decision = incoming.decision
    changes = decision.changes(snapshot.installed)
    for change in changes:
        log.info("package.changed", package=change.name, action=change.action,
                 **{"from": change.from_, "to": change.to})  # fmt: skip
    running.environment.forget_broken({*decision.install, *decision.remove})
    after = running.environment.look()  # not a step: it is live, and too late for a stop
    failed = decision.failed or disagreements(snapshot, after)
    return Outcome(
        result=Result.PARTIAL if failed else Result.CHANGED,
        snapshot=after,
        changes=changes,
        plan=changes,
        failed=failed,
        held_back=incoming.held_back,
        generation=published.generation,
        atomic=published.atomic,
        atomic_reason=published.reason,
        message=newly_left(snapshot, after),
    )


def _live_number(snapshot: Snapshot) -> int:
    return generations.live(Workspace(snapshot.interpreter.prefix)).number
