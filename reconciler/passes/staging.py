"""Builds the tree that is to go live, in a stage where there can be one, else in place.

Nothing here is live before `publish`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import NormalizedName

from reconciler.environment.snapshot import Snapshot
from reconciler.log.logger import get_logger
from reconciler.passes.publish import LiveEdit, Published, StagedTree, publish, refuse_changed
from reconciler.passes.running import Pass
from reconciler.state.holds import HoldSet
from reconciler.state.installed import Installed
from reconciler.trees.fingerprints import Fingerprints, fingerprints
from reconciler.trees.stage import Census, StagingImpossible, clone
from reconciler.trees.tree import Tree

log = get_logger(__name__)

Staging = tuple[Path, Census] | StagingImpossible
"""A clone of the live tree and what was where in it, or why there can be none."""

Prove = Callable[[Tree, Fingerprints], Installed]
"""Says what is in a changed tree, if that may go live; else raises `VerifyFailed`. It is given
the fingerprints that the held files had before."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """Packages that leave, and what comes.

    Attributes:
        going: The packages that leave.
        incoming: What comes, in a folder that mirrors the environment; None: nothing.
        holds: Whose files stay the very same.
    """

    snapshot: Snapshot
    going: frozenset[NormalizedName]
    incoming: Path | None
    holds: HoldSet


def clone_live(running: Pass, snapshot: Snapshot, work: Path) -> Staging:
    """Clone the live tree by hard links; meant to run while uv resolves.

    Raises:
        Cancelled: The pass was asked to end.
        OSError: The disk is full.
    """
    prefix = snapshot.interpreter.prefix
    if running.environment.in_place:
        return StagingImpossible(running.environment.in_place)
    if not snapshot.interpreter.is_venv:
        return StagingImpossible(
            f"{prefix} is not a virtual environment, and the tree of a whole Python cannot be "
            "exchanged. Use a virtual environment (uv venv) for atomic changes"
        )
    stage = work / "stage"
    stage.mkdir()
    started = time.monotonic()
    try:
        census = clone(prefix, stage, running.cancel)
    except StagingImpossible as impossible:
        return impossible
    running.spent("clone", time.monotonic() - started)
    return stage, census


def make_live(running: Pass, replacement: Replacement, staging: Staging, prove: Prove) -> Published:
    """Replace packages in the stage, prove it, and publish it; without one, in place.

    Raises:
        VerifyFailed: The changed tree is not fit to go live.
        Exception: As `publish`.
    """
    snapshot = replacement.snapshot
    prefix, installed = snapshot.interpreter.prefix, snapshot.installed
    if isinstance(staging, StagingImpossible):
        live = Tree(prefix, prefix, installed, replacement.holds)
        held = fingerprints(live.held_files, prefix)
        change = LiveEdit(
            snapshot, live, held, replacement.going, replacement.incoming, str(staging),
            lambda tree: prove(tree, held),
        )  # fmt: skip
        return publish(running, change)
    stage, census = staging
    refuse_changed(running.environment, snapshot)  # before it was cloned, but after the plan
    tree = Tree(stage, prefix, installed, replacement.holds)
    held = fingerprints(tree.held_files, prefix)
    tree.replace(replacement.going, replacement.incoming, running.cancel)
    log.info("stage.ready", packages=len(replacement.going))
    with running.step("verify"):
        packages = len(prove(tree, held).distributions)
    return publish(running, StagedTree(snapshot, tree, held, census, packages))
