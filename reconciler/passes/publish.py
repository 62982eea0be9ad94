"""The one door to the live tree: whatever goes live goes through `publish`.

Every safety is asked there, once, in this order: the gate (windows, running jobs, a pause),
uv's lock, who may write, whether the live tree is still the one that was looked at, whether
the held files are the very same, a request to stop. After that nothing but an error ends it,
and an error puts the old tree back.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from packaging.utils import NormalizedName

from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.journal.history import iso
from reconciler.log.logger import get_logger
from reconciler.passes.outcome import KeepsChanging, LiveTreeChanged, NotUndone, Outcome
from reconciler.passes.prove import check_holds
from reconciler.passes.running import Pass
from reconciler.trees import generations
from reconciler.trees.exchange import ExchangeImpossible, exchange, finish_interrupted
from reconciler.trees.fingerprints import Fingerprints
from reconciler.trees.generations import Generation
from reconciler.trees.in_place import InPlaceChange, undo_interrupted
from reconciler.trees.stage import Census, has_changed
from reconciler.trees.tree import Tree
from reconciler.trees.workspace import Workspace, remove_tree

log = get_logger(__name__)

STARTS = 4
"""How often a pass starts over because the live tree changed under it."""

_TWO_RENAMES = (
    "the file system cannot exchange two folders in one step, so two renames do it, with a record "
    "by which the next start finishes them if they are interrupted. Put the environment on an "
    "ordinary local file system for atomic changes"
)
_CANNOT_EXCHANGE = (
    "the file system cannot exchange these folders ({}). Put the environment on an ordinary local "
    "file system for atomic changes"
)


@dataclass(frozen=True, slots=True)
class Published:
    """What is live now, and how it came there."""

    generation: int
    atomic: bool = True
    reason: str | None = None
    """Why it was not atomic."""


class LiveChange(Protocol):
    """What is to go live."""

    @property
    def snapshot(self) -> Snapshot:
        """The environment that it was made for."""

    def changed_since(self, prefix: Path) -> str | None:
        """Where the live tree differs from the one that the change was made for, if it does."""

    def check_holds(self, prefix: Path) -> None:
        """Compare the held files with the live ones; raises `VerifyFailed` if one differs."""

    def go_live(self, running: Pass, workspace: Workspace) -> Published:
        """Make the change. If it raises, the live tree is the old one."""


@dataclass(frozen=True)
class StagedTree:
    """A clone of the live tree with packages replaced, verified.

    Attributes:
        tree: The stage, and which of its top-level folders differ.
        held: The fingerprints of the held files before anything was replaced.
        census: What was where in the live tree when it was cloned.
        packages: How many packages it has.
    """

    snapshot: Snapshot
    tree: Tree
    held: Fingerprints
    census: Census
    packages: int

    def changed_since(self, prefix: Path) -> str | None:
        """By the census: any folder whose content is not as it was cloned."""
        return has_changed(prefix, self.census)

    def check_holds(self, prefix: Path) -> None:
        """Those of the stage are the very same inodes, with the same size and time."""
        _ = prefix
        check_holds(self.tree.held_files, self.held, self.tree.folder)

    def go_live(self, running: Pass, workspace: Workspace) -> Published:
        """Exchange it with the live tree, which becomes a generation."""
        before = generations.live(workspace)
        after = Generation(
            number=generations.next_number(workspace), created_at=iso(time.time()),
            packages=self.packages, revision=self.snapshot.revision, previous=before.number,
        )  # fmt: skip
        # Outside the work folder, so that a crash between here and the exchange is seen.
        _ = running
        stage = workspace.root / f"stage-{self.tree.folder.parent.name}"
        self.tree.folder.rename(stage)
        try:
            return _exchange(workspace, self.snapshot, stage, sorted(self.tree.touched), after)
        finally:
            if stage.exists() and not workspace.intent.exists():
                remove_tree(stage)


@dataclass(frozen=True)
class KeptTree:
    """A generation that is to be live again."""

    snapshot: Snapshot
    generation: Generation

    def changed_since(self, prefix: Path) -> str | None:
        """Nothing of the live tree is kept in it, so the packages are all that counts."""
        _ = prefix
        return None

    def check_holds(self, prefix: Path) -> None:
        """The holds come back as they were in that generation: nothing to compare."""

    def go_live(self, running: Pass, workspace: Workspace) -> Published:
        """Exchange it with the live tree, which becomes a generation itself."""
        _ = running
        folder = generations.folder_of(workspace, self.generation.number)
        roots = generations.differing_roots(workspace.prefix, folder)
        return _exchange(workspace, self.snapshot, folder, roots, self.generation)


@dataclass(frozen=True)
class LiveEdit:
    """Packages replaced in the live tree itself, where nothing can be staged.

    Attributes:
        tree: The live tree.
        held: The fingerprints of the held files before.
        going: The packages that leave.
        incoming: What comes, in a folder of its own.
        reason: Why it is not atomic.
        prove: Raises if the changed tree may not stay.
    """

    snapshot: Snapshot
    tree: Tree
    held: Fingerprints
    going: frozenset[NormalizedName]
    incoming: Path | None
    reason: str
    prove: Callable[[Tree], object]

    def changed_since(self, prefix: Path) -> str | None:
        """No stage was cloned, so the packages are all that counts."""
        _ = prefix
        return None

    def check_holds(self, prefix: Path) -> None:
        """Compare with how they were when the pass began."""
        check_holds(self.tree.held_files, self.held, prefix)

    def go_live(self, running: Pass, workspace: Workspace) -> Published:
        """Move old files aside and new ones in; unless all is well, put the old ones back."""
        change = InPlaceChange(workspace, self.tree, self.going, self.incoming)
        try:
            change.begin()
            self.check_holds(workspace.prefix)
            with running.step("verify"):
                self.prove(self.tree)
        except BaseException as error:
            _undo(change, error)
            raise
        change.commit()
        return Published(generations.live(workspace).number, atomic=False, reason=self.reason)


def _undo(change: InPlaceChange, error: BaseException) -> None:
    try:
        change.undo()
    except OSError as failed:
        raise NotUndone(error, failed) from error


def publish(running: Pass, change: LiveChange) -> Published:
    """Make a change live.

    Args:
        running: The pass.
        change: A staged tree, a kept generation, or an edit of the live tree itself.

    Raises:
        Postponed: It may not go live now.
        Busy: Another uv was at work for too long.
        Insecure: As root: somebody else can write what decides what is installed.
        LiveTreeChanged: The live tree is not the one that the change was made for.
        VerifyFailed: A held file would change, or the changed tree may not stay.
        ExchangeImpossible: These folders cannot change places.
        Cancelled: The pass was asked to end.
        NotUndone: A change in place failed, and so did putting the old files back.
        OSError: Something could not be written.
    """
    running.wait_until_open()
    environment = running.environment
    workspace = Workspace(change.snapshot.interpreter.prefix)
    with (
        running.step("exchange"),
        workspace.uv_lock(running.cancel, environment.config.timeout),
    ):
        running.refuse_insecure()
        refuse_changed(environment, change.snapshot)
        changed = change.changed_since(workspace.prefix)
        if changed is not None:
            raise LiveTreeChanged(changed)
        change.check_holds(workspace.prefix)
        running.cancel.check()
        published = _go_live(running, change, workspace)
    _forget_oldest(environment, workspace)
    return published


def _go_live(running: Pass, change: LiveChange, workspace: Workspace) -> Published:
    running.untouched = False
    try:
        return change.go_live(running, workspace)
    except BaseException:
        running.untouched = not (workspace.intent.exists() or workspace.in_place.exists())
        raise


def refuse_changed(environment: Environment, snapshot: Snapshot) -> None:
    """Go on only if the live tree has the packages that it had.

    Raises:
        LiveTreeChanged: It has others.
    """
    if environment.look().installed is not snapshot.installed:
        raise LiveTreeChanged("site-packages")


def until_unchanged(running: Pass, attempt: Callable[[], Outcome]) -> Outcome:
    """Run `attempt`, and start over while the live tree changes under it.

    That includes a file that is removed while it is read.

    Where folders turn out not to be exchangeable it starts over as well: in place.

    Raises:
        KeepsChanging: The live tree changed under every attempt.
    """
    where, left = "", STARTS
    while left:
        try:
            return attempt()
        except LiveTreeChanged as changed:
            where, left = changed.where, left - 1
            log.info("live-tree.changed", folder=where)
        except FileNotFoundError as missing:
            vanished = _from_live_tree(running.environment, missing)
            if vanished is None:
                raise
            where, left = vanished, left - 1
            log.info("live-tree.changed", folder=where)
        except ExchangeImpossible as impossible:
            if running.environment.in_place is not None:
                raise
            running.environment.in_place = _CANNOT_EXCHANGE.format(impossible)
            log.warning("exchange.impossible", reason=str(impossible))
    raise KeepsChanging(where)


def _from_live_tree(environment: Environment, missing: FileNotFoundError) -> str | None:
    """What was removed from the live tree while it was read, if that is what is missing."""
    workspace, path = environment.workspace, Path(str(missing.filename))
    inside = path.is_relative_to(workspace.prefix) and not path.is_relative_to(workspace.root)
    return str(path.relative_to(workspace.prefix)) if inside else None


def recover(environment: Environment) -> str | None:
    """Finish or undo what a crash interrupted, and remove what it left behind.

    The caller holds the pass lock.

    Returns:
        What was done, in words, or None.
    """
    workspace = environment.workspace
    finished = finish_interrupted(workspace)
    undone = undo_interrupted(workspace)
    removed = workspace.clean_up()
    if undone:
        return "a change in place that was interrupted has been undone"
    if finished:
        return f"an exchange that was interrupted has been {finished}"
    folders = "1 folder" if removed == 1 else f"{removed} folders"
    return f"unfinished work has been removed ({folders})" if removed else None


def _exchange(
    workspace: Workspace, snapshot: Snapshot, tree: Path, roots: list[str], after: Generation
) -> Published:
    live = generations.live(workspace)
    # Others may have changed it since it went live; as a generation nobody does.
    before = replace(live, packages=len(snapshot.installed.distributions))
    in_one_step = exchange(
        workspace,
        tree,
        roots,
        live=replace(after, activation=live.activation + 1).to_dict(),
        old=before.to_dict(),
        archive=generations.folder_of(workspace, before.number),
    )
    log.info("generation.activated", generation=after.number, roots=roots)
    return Published(after.number, atomic=in_one_step, reason=None if in_one_step else _TWO_RENAMES)


def _forget_oldest(environment: Environment, workspace: Workspace) -> None:
    try:
        for number in generations.prune(workspace, environment.config.keep_generations):
            log.info("generation.removed", generation=number)
    except OSError as error:  # the new tree is live anyway
        log.warning("generation.kept", reason=str(error))
