"""Undoes the change of single packages in a stage that is only used to find a culprit."""

from contextlib import suppress
from pathlib import Path

from reconciler.state.installed import Distribution
from reconciler.trees.real_folders import RealFolders
from reconciler.trees.tree import recorded_paths


def undo_in_stage(
    stage: Path, prefix: Path, new: Distribution | None, old: Distribution | None
) -> None:
    """Remove the new files of a package, and link the old ones from the live tree.

    A file for which that is impossible stays as it is: the stage must never go live after this.

    Args:
        stage: The stage.
        prefix: The live tree.
        new: The package in the stage, if it is there.
        old: The package in the live tree, if it is there.
    """
    real = RealFolders(stage)
    for path in recorded_paths(new, stage) if new else ():
        if real.has(path.rpartition("/")[0]):
            with suppress(OSError):
                (stage / path).unlink()
    for path in recorded_paths(old, prefix) if old else ():
        with suppress(OSError):
            if _made(stage, path.rpartition("/")[0]):
                (stage / path).hardlink_to(prefix / path)


def _made(stage: Path, folder: str) -> bool:
    """Whether this is a real folder of the stage; made if it was not there."""
    if RealFolders(stage).has(folder):
        return True
    if not _made(stage, folder.rpartition("/")[0]):
        return False
    (stage / folder).mkdir()
    return True
