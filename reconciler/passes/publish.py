"""The only way to the live tree: every change goes live through `publish`.

It makes every safety check once, in this order: whether the new files are on the disk, the gate
(windows, running jobs, a pause), uv's lock, who may write, whether the live tree is still the one
that was looked at, whether the held files are unchanged, a request to stop. After that, only an
error ends it, and an error puts the old tree back.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
from msgspec.structs import replace
from packaging.utils import NormalizedName

from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.environment.steadiness import installer_in
from reconciler.journal.history import iso
from reconciler.log.logger import get_logger
from reconciler.passes.outcome import KeepsChanging, LiveTreeChanged, NotUndone
from reconciler.passes.prove import check_holds
from reconciler.passes.running import STARTS, Pass, vanished_from
from reconciler.trees import generations
from reconciler.trees.census import Census, changes_since
from reconciler.trees.durability import sync_folders
from reconciler.trees.exchange import ExchangeImpossible, exchange
from reconciler.trees.fingerprints import Fingerprints
from reconciler.trees.generations import Generation
from reconciler.trees.in_place import InPlaceChange
from reconciler.trees.stage import carry_over
from reconciler.trees.tree import Tree
from reconciler.trees.workspace import Workspace, remove_tree

log = get_logger(__name__)

T = TypeVar("T")

_TWO_RENAMES = (
    "the file system cannot exchange two folders in one step, so two renames do it; if they "
    "are interrupted, the next start finishes them. Put the environment on an "
    "ordinary local file system for atomic changes"
)
_CANNOT_EXCHANGE = (
    "the file system cannot exchange these folders ({}). Put the environment on an ordinary local "
    "file system for atomic changes"
)


class Published(msgspec.Struct, frozen=True):
    """What is live now, and how it went live."""

    generation: int
    atomic: bool = True
    reason: str | None = None
    """Why it was not atomic."""


class LiveChange(Protocol):
    """A change that is to go live."""

    @property
    def snapshot(self) -> Snapshot:
        """The environment that the change was made for."""

    def catch_up(self, prefix: Path) -> str | None:
        """The first place where an installer has changed the live tree since then, or None.

        If there is none, files that programs wrote meanwhile are taken over.
        """

    def check_holds(self, prefix: Path) -> None:
        """Compare the held files with the live ones; raises `VerifyFailed` if one differs."""

    def go_live(self, running: Pass, workspace: Workspace) -> Published:
        """Make the change. If it raises, the live tree is the old one."""


class StagedTree(msgspec.Struct, frozen=True):
    """A clone of the live tree with packages replaced, verified.

    Attributes:
        tree: The stage, and which of its top-level folders differ.
        held: The fingerprints of the held files before anything was replaced.
        census: The contents of the live tree when it was cloned.
        packages: The number of packages.
    """

    snapshot: Snapshot
    tree: Tree
    held: Fingerprints
    census: Census
    packages: int

    def catch_up(self, prefix: Path) -> str | None:
        """Going by the census: what packages own must be unchanged; caches are linked as well."""
        changes = changes_since(prefix, self.census, self.snapshot.installed)
        if changes.installed is None:
            sync_folders(self.tree.folder, carry_over(prefix, self.tree.folder, changes.loose))
        return changes.installed

    def check_holds(self, prefix: Path) -> None:
        """The held files in the stage must be the same inodes, with the same size and time."""
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


class KeptTree(msgspec.Struct, frozen=True):
    """A generation that is to go live again."""

    snapshot: Snapshot
    generation: Generation

    def catch_up(self, prefix: Path) -> str | None:
        """It keeps nothing of the live tree, so only the packages count."""
        _ = prefix
        return None

    def check_holds(self, prefix: Path) -> None:
        """The holds return to their state in that generation: there is nothing to compare."""

    def go_live(self, running: Pass, workspace: Workspace) -> Published:
        """Exchange it with the live tree, which becomes a generation itself."""
        _ = running
        folder = generations.folder_of(workspace, self.generation.number)
        roots = generations.differing_roots(workspace.prefix, folder)
        return _exchange(workspace, self.snapshot, folder, roots, self.generation)


class LiveEdit(msgspec.Struct, frozen=True):
    """Packages replaced in the live tree itself, if nothing can be staged.

    Attributes:
        tree: The live tree.
        held: The fingerprints of the held files before.
        going: The packages that leave.
        incoming: The new packages, in a separate folder.
        reason: Why it is not atomic.
        prove: Raises if the changed tree must not stay.
    """

    snapshot: Snapshot
    tree: Tree
    held: Fingerprints
    going: frozenset[NormalizedName]
    incoming: Path | None
    reason: str
    prove: Callable[[Tree], object]

    def catch_up(self, prefix: Path) -> str | None:
        """No stage was cloned, so only the packages count."""
        _ = prefix
        return None

    def check_holds(self, prefix: Path) -> None:
        """The held files must be as they were when the pass began."""
        check_holds(self.tree.held_files, self.held, prefix)

    def go_live(self, running: Pass, workspace: Workspace) -> Published:
        """Move old files aside and new ones in; if anything fails, put the old ones back."""
        change = InPlaceChange(workspace, self.tree, self.going, self.incoming)
        try:
            change.begin()
            self.check_holds(workspace.prefix)
            with running.step("verify"):
                self.prove(self.tree)
            running.refuse_edited()  # again: verify commands have run since
            change.commit()
        except BaseException as error:
            _undo(change, error)
            raise
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
        OSError: The new files may not be on the disk, or a file could not be written.
        Busy: Another uv was running for too long.
        Insecure: As root: someone else can write files that decide what is installed.
        LiveTreeChanged: The live tree has changed since the change was prepared.
        HoldEdited: A held file was edited in place while the change was prepared.
        VerifyFailed: A held file would change, or the changed tree failed a check.
        ExchangeImpossible: These folders cannot be exchanged.
        Cancelled: The pass was asked to end.
        NotUndone: A change in place failed, and so did putting the old files back.
    """
    environment = running.environment
    workspace = Workspace(change.snapshot.interpreter.prefix)
    # Not under uv's lock: this may take minutes. What is written afterwards is synced by itself.
    running.make_durable(workspace.root)
    running.wait_until_open()
    with (
        running.step("exchange"),
        workspace.uv_lock(running.cancel, environment.config.timeout),
    ):
        running.refuse_insecure(every_entry=True)
        refuse_changed(environment, change.snapshot)
        changed = change.catch_up(workspace.prefix)
        if changed is not None:
            raise LiveTreeChanged(changed)
        change.check_holds(workspace.prefix)
        running.refuse_edited()
        running.cancel.check()
        published = _go_live(running, change, workspace)
    forget_oldest(environment, workspace)
    return published


def _go_live(running: Pass, change: LiveChange, workspace: Workspace) -> Published:
    running.untouched = False
    before = generations.live(workspace)
    try:
        return change.go_live(running, workspace)
    except BaseException:
        begun = workspace.intent.exists() or workspace.in_place.exists()
        running.untouched = not begun and generations.live(workspace) == before
        raise


def refuse_changed(environment: Environment, snapshot: Snapshot) -> None:
    """Check that the live tree still has the same packages.

    Raises:
        LiveTreeChanged: It has not.
    """
    if environment.look().installed is not snapshot.installed:
        raise LiveTreeChanged("site-packages")


def until_unchanged(running: Pass, attempt: Callable[[], T]) -> T:
    """Run `attempt`, and start over if the live tree changes meanwhile.

    That includes a file that is removed while it is read.

    If folders turn out not to be exchangeable, it starts over in place.

    Raises:
        KeepsChanging: The live tree changed during every attempt.
    """
    where, left = "", STARTS
    while left:
        try:
            return attempt()
        except LiveTreeChanged as changed:
            where, left = changed.where, left - 1
            log.info("live-tree.changed", folder=where)
        except FileNotFoundError as missing:
            vanished = vanished_from(running.environment.workspace, missing)
            if vanished is None:
                raise
            where, left = vanished, left - 1
            log.info("live-tree.changed", folder=where)
        except ExchangeImpossible as impossible:
            if running.environment.in_place is not None:
                raise
            running.environment.in_place = _CANNOT_EXCHANGE.format(impossible)
            log.warning("exchange.impossible", reason=str(impossible))
    raise KeepsChanging(where, installer_in(running.environment.workspace.prefix))


def _exchange(
    workspace: Workspace, snapshot: Snapshot, tree: Path, roots: list[str], after: Generation
) -> Published:
    live = generations.live(workspace)
    # Others may have changed it since it went live; nobody changes it as a generation.
    before = replace(live, packages=len(snapshot.installed.distributions))
    archive = generations.folder_of(workspace, before.number)
    if archive.exists() and archive != tree:  # a wrong label must not cost a generation
        number = max(generations.next_number(workspace), after.number) + 1
        before = replace(before, number=number)
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


def forget_oldest(environment: Environment, workspace: Workspace) -> None:
    """Discard the trees beyond `keep_generations`; call with the pass lock held.

    What cannot be removed stays for the next pass.
    """
    try:
        for number in generations.prune(workspace, environment.config.keep_generations):
            log.info("generation.removed", generation=number)
    except OSError as error:  # the live tree is not concerned
        log.warning("generation.kept", reason=str(error))
