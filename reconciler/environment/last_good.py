"""A copy of the project's file as it was when it was last good, for a start with a bad one."""

from pathlib import Path

from reconciler.environment.snapshot import Snapshot
from reconciler.files.deciding import read_deciding
from reconciler.files.trust import Insecure
from reconciler.state.desired import revision_of
from reconciler.trees.workspace import Workspace, write_durably

_NAME = "last-good-pyproject.toml"


def last_good(workspace: Workspace) -> bytes:
    """The text that an earlier process kept.

    Raises:
        OSError: There is none, or it cannot be read.
    """
    return read_deciding(workspace.root / _NAME)


def keep_good(workspace: Workspace, project: Path, snapshot: Snapshot) -> None:
    """Keep the project's file, if it is still the one of a good snapshot."""
    if snapshot.desired is None or snapshot.problem is not None:
        return
    try:
        text = read_deciding(project)
        kept = workspace.root / _NAME
        if revision_of(text, snapshot.desired.workspace) != snapshot.revision:
            return  # saved again since the look: nobody knows whether it is good
        if not kept.exists() or read_deciding(kept) != text:
            write_durably(kept, text.decode("utf-8"))  # unchanged: its revision stays the same
    except (OSError, Insecure):
        return  # only a convenience: the pass itself reports what cannot be written
