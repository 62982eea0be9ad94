"""Rolls back to a tree that was live before: one exchange, offline, with everything in it.

Whole trees are exchanged, so held, editable, local and VCS packages return as they were. The
caller makes sure that the environment is left alone afterwards.
"""

from collections.abc import Callable
from typing import Literal

from packaging.utils import NormalizedName

from reconciler.environment.leads_out import refuse_packages_elsewhere
from reconciler.journal.history import RollingBack
from reconciler.log.logger import get_logger
from reconciler.passes.outcome import Outcome
from reconciler.passes.prove import read_tree
from reconciler.passes.publish import KeptTree, Published, publish, until_unchanged
from reconciler.passes.running import Pass
from reconciler.passes.wholeness import defect_of_tree
from reconciler.state.installed import Installed
from reconciler.status import Change, ExpectedEnd, Reason, Result
from reconciler.trees import generations
from reconciler.trees.exchange import ExchangeImpossible
from reconciler.trees.generations import Generation
from reconciler.trees.workspace import Workspace

log = get_logger(__name__)


class NoSuchGeneration(ExpectedEnd):
    """There is no tree to roll back to, or not the requested one."""

    reason = Reason.UNKNOWN_GENERATION

    def __init__(self, number: int | None, known: list[int]) -> None:
        listed = ", ".join(map(str, known)) or "none"
        asked = "older generation" if number is None else f"generation {number}"
        super().__init__(f"there is no {asked} to roll back to. Kept generations: {listed}.")
        self.number = number


class GenerationBroken(ExpectedEnd):
    """The requested tree is no longer whole."""

    reason = Reason.GENERATION_BROKEN

    def __init__(self, target: Generation, defect: str) -> None:
        super().__init__(
            f"generation {target.number} is no longer complete ({defect}), so it does not go live. "
            "Choose another one."
        )


class CannotExchange(ExpectedEnd):
    """The folders cannot be exchanged here, and a rollback has no other way."""

    reason = Reason.FILE_SYSTEM

    def __init__(self, target: Generation, why: ExchangeImpossible) -> None:
        super().__init__(
            f"generation {target.number} cannot be exchanged with the live tree ({why}). Nothing "
            "has changed. Put the environment on an ordinary local file system."
        )


def choose(workspace: Workspace, number: int | None) -> Generation:
    """The generation with that number; None: the one that the live one replaced.

    Raises:
        NoSuchGeneration: It does not exist.
    """
    kept = {generation.number: generation for generation in generations.kept(workspace)}
    found = generations.before_live(workspace) if number is None else kept.get(number)
    if found is None:
        raise NoSuchGeneration(number, sorted(kept))
    return found


def roll_back(
    running: Pass,
    number: int | None,
    reason: str | None = None,
    begun: Callable[[RollingBack], object] = lambda _: None,
) -> Outcome:
    """Make an older tree live again; the live one becomes a generation itself.

    Args:
        running: The pass.
        number: The generation; None: the one that the live one replaced.
        reason: Given by the caller.
        begun: Called before anything changes; records durably what is about to go live, so that
            the next start does not undo the rollback if this process is killed.

    Raises:
        NoSuchGeneration: It does not exist.
        GenerationBroken: Some of its files are gone.
        CannotExchange: The folders cannot be exchanged here.
        Exception: As for `publish`.
    """
    return until_unchanged(running, lambda: _attempt(running, number, reason, begun))


def _attempt(
    running: Pass,
    number: int | None,
    reason: str | None,
    begun: Callable[[RollingBack], object],
) -> Outcome:
    snapshot = running.look(audit=False)
    refuse_packages_elsewhere(snapshot.interpreter)
    workspace = Workspace(snapshot.interpreter.prefix)
    target = choose(workspace, number)
    with running.step("verify"):
        folder = generations.folder_of(workspace, target.number)
        found = read_tree(snapshot, folder, running.environment.metadata)
        defect = defect_of_tree(snapshot, target, folder, found)
        if defect is not None:
            raise GenerationBroken(target, defect)
    live = generations.live(workspace)
    begun(
        RollingBack(
            generation=target.number,
            activation=live.activation + 1,
            revision=snapshot.revision,
            reason=reason,
        )
    )
    published = _publish(running, KeptTree(snapshot, target))
    log.info("generation.rolled-back", generation=target.number, from_generation=live.number)
    return Outcome(
        result=Result.CHANGED,
        snapshot=running.environment.look(audit_files=True),
        changes=difference(snapshot.installed, found),
        generation=published.generation,
        atomic=published.atomic,
        atomic_reason=published.reason,
        attempted=False,
    )


def _publish(running: Pass, tree: KeptTree) -> Published:
    try:
        return publish(running, tree)
    except ExchangeImpossible as impossible:
        raise CannotExchange(tree.generation, impossible) from impossible


def difference(before: Installed, after: Installed) -> tuple[Change, ...]:
    """The changes between two installed states, by name."""
    names: set[NormalizedName] = {*before.distributions, *after.distributions}
    found = []
    for name in sorted(names):
        old, new = before.version(name), after.version(name)
        if old == new:
            continue
        if old is None:
            found.append(Change(name=name, action="install", to=str(new)))
        elif new is None:
            found.append(Change(name=name, action="remove", from_=str(old)))
        else:
            action: Literal["downgrade", "upgrade"] = "downgrade" if new < old else "upgrade"
            found.append(Change(name=name, action=action, from_=str(old), to=str(new)))
    return tuple(found)
