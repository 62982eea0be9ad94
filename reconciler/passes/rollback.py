"""Going back to a tree that was live once: one exchange, offline, everything included.

Held, editable, local and VCS packages come back as they were, since whole trees change
places. That the environment is then left alone is the caller's part.
"""

from dataclasses import replace

from packaging.utils import NormalizedName

from reconciler.environment.snapshot import Snapshot
from reconciler.log.logger import get_logger
from reconciler.passes.outcome import Outcome, Refused
from reconciler.passes.prove import read_tree
from reconciler.passes.reconcile import Pass
from reconciler.state.installed import Installed, audit
from reconciler.status import Change, Reason, Result
from reconciler.trees import generations
from reconciler.trees.exchange import exchange
from reconciler.trees.generations import Generation
from reconciler.trees.workspace import Workspace

log = get_logger(__name__)


class NoSuchGeneration(Refused):
    """There is no tree to go back to, or not the one asked for."""

    reason = Reason.UNKNOWN_GENERATION

    def __init__(self, number: int | None, known: list[int]) -> None:
        listed = ", ".join(map(str, known)) or "none"
        asked = "an older generation" if number is None else f"generation {number}"
        super().__init__(f"there is no {asked} to go back to. Kept are: {listed}.")
        self.number = number


class GenerationBroken(Refused):
    """The tree asked for is not whole any more."""

    reason = Reason.GENERATION_BROKEN


def choose(workspace: Workspace, number: int | None) -> Generation:
    """The generation of that number, or the one that the live one took the place of.

    Where that one is not kept, it is the newest one older than the live one.

    Raises:
        NoSuchGeneration: There is none.
    """
    kept = {generation.number: generation for generation in generations.kept(workspace)}
    current = generations.live(workspace)
    if number is None:
        older = [known for known in kept if known < current.number]
        number = current.previous if current.previous in kept else max(older, default=None)
    if number not in kept:
        raise NoSuchGeneration(number, list(kept))
    return kept[number]


def roll_back(running: Pass, number: int | None) -> Outcome:
    """Make an older tree live again; the live one becomes a generation itself.

    Raises:
        NoSuchGeneration: There is none of that number.
        GenerationBroken: Files of it are gone.
        OSError, Cancelled: As `Pass.reconcile`.
    """
    snapshot = running.look(audit=False)
    workspace = Workspace(snapshot.interpreter.prefix)
    target = choose(workspace, number)
    folder = generations.folder_of(workspace, target.number)
    with running.step("verify"):
        staged = read_tree(snapshot, folder, running.environment.metadata)
        _refuse_broken(target, snapshot, staged)
    with (
        running.step("exchange"),
        workspace.uv_lock(running.cancel, running.environment.config.timeout),
    ):
        current = replace(
            generations.live(workspace), packages=len(snapshot.installed.distributions)
        )
        exchange(
            workspace,
            folder,
            generations.differing_roots(workspace.prefix, folder),
            live=target.to_dict(),
            old=current.to_dict(),
            archive=generations.folder_of(workspace, current.number),
        )
    log.info("generation.rolled-back", generation=target.number, from_generation=current.number)
    return Outcome(
        result=Result.CHANGED,
        snapshot=running.environment.look(audit_files=True),
        changes=difference(snapshot.installed, staged),
        generation=target.number,
        attempted=False,
    )


def _refuse_broken(target: Generation, snapshot: Snapshot, staged: Installed) -> None:
    known = set(audit(snapshot.installed))
    broken = {n: why for n, why in audit(staged).items() if n not in known}
    if len(staged.distributions) < target.packages:
        raise GenerationBroken(
            f"generation {target.number} is not whole any more (it had {target.packages} packages, "
            f"and has {len(staged.distributions)}), so it is not made live. Choose another one."
        )
    if broken:
        name, why = next(iter(broken.items()))
        raise GenerationBroken(
            f"generation {target.number} is not whole any more ({name}: {why}), so it is not made "
            "live. Choose another one."
        )


def difference(before: Installed, after: Installed) -> tuple[Change, ...]:
    """What changes between two installed states, by name."""
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
            action = "downgrade" if new < old else "upgrade"
            found.append(Change(name=name, action=action, from_=str(old), to=str(new)))  # type: ignore[arg-type]
    return tuple(found)
