"""Builds the tree that is to go live: in a stage if possible, otherwise in place.

Nothing goes live before `publish`.
"""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from packaging.utils import NormalizedName

from reconciler.environment.snapshot import Snapshot
from reconciler.holds.strays import Strays
from reconciler.log.logger import get_logger
from reconciler.passes.prove import check_starts
from reconciler.passes.publish import LiveEdit, Published, StagedTree, publish, refuse_changed
from reconciler.passes.running import Pass
from reconciler.state.holds import HoldSet
from reconciler.state.installed import Installed
from reconciler.trees.census import Census
from reconciler.trees.fingerprints import Fingerprints, fingerprints
from reconciler.trees.stage import STAGE, StagingImpossible, clone
from reconciler.trees.tree import Tree
from reconciler.trees.workspace import remove_tree

log = get_logger(__name__)

Staging = tuple[Path, Census] | StagingImpossible
"""A clone of the live tree and its census, or the reason why there cannot be one."""

Prove = Callable[[Tree, Fingerprints], Installed]
"""Checks a changed tree and returns what is installed in it, or raises `VerifyFailed`. Its
argument is the fingerprints of the held files before the change."""


class Replacement(msgspec.Struct, frozen=True):
    """The packages that leave, and the new ones.

    Attributes:
        going: The packages that leave.
        incoming: The new packages, in a folder that mirrors the environment; None: none.
        holds: Packages whose files stay unchanged.
        strays: What leaves with packages though their RECORDs do not list it.
    """

    snapshot: Snapshot
    going: frozenset[NormalizedName]
    incoming: Path | None
    holds: HoldSet
    strays: Strays = msgspec.field(default_factory=dict)


def clone_live(running: Pass, snapshot: Snapshot, work: Path) -> Staging:
    """Clone the live tree with hard links; meant to run while uv resolves.

    Raises:
        Cancelled: The pass was asked to end.
        OSError: The disk is full.
    """
    prefix = snapshot.interpreter.prefix
    if running.environment.in_place:
        return StagingImpossible(running.environment.in_place)
    if not snapshot.interpreter.is_venv:
        return StagingImpossible(
            f"{prefix} is not a virtual environment, and a whole Python installation cannot be "
            "exchanged. Use a virtual environment (uv venv) for atomic changes"
        )
    stage = work / STAGE
    started = time.monotonic()
    try:
        census = clone(
            prefix, stage, running.cancel, running.held.linking if running.held else None
        )
    except StagingImpossible as impossible:
        return impossible
    running.spent("clone", time.monotonic() - started)
    return stage, census


def discard_stage(work: Path) -> None:
    """Make room for another stage, since this one may not go live.

    Call before the next build starts: it may not write there.
    """
    stage = work / STAGE
    remove_tree(stage)
    stage.mkdir()


def make_live(running: Pass, replacement: Replacement, staging: Staging, prove: Prove) -> Published:
    """Replace packages in the stage, prove it, and publish it; without a stage, in place.

    Raises:
        VerifyFailed: The changed tree failed a check.
        Exception: As for `publish`.
    """
    snapshot = replacement.snapshot

    def proved(tree: Tree, held: Fingerprints) -> Installed:
        check_starts(running, snapshot, tree.folder)
        return prove(tree, held)

    prefix, installed = snapshot.interpreter.prefix, snapshot.installed
    if isinstance(staging, StagingImpossible):
        live = Tree(prefix, prefix, installed, replacement.holds, strays=replacement.strays)
        held = fingerprints(live.held_files, prefix)
        change = LiveEdit(
            snapshot, live, held, replacement.going, replacement.incoming, str(staging),
            lambda tree: proved(tree, held),
        )  # fmt: skip
        return publish(running, change)
    stage, census = staging
    refuse_changed(
        running.environment, snapshot
    )  # it may have changed after the plan but before the clone
    tree = Tree(stage, prefix, installed, replacement.holds, strays=replacement.strays)
    held = fingerprints(tree.held_files, prefix)
    tree.replace(replacement.going, replacement.incoming, running.cancel)
    log.info("stage.ready", packages=len(replacement.going))
    with running.step("verify"):
        packages = len(proved(tree, held).distributions)
    return publish(running, StagedTree(snapshot, tree, held, census, packages))
