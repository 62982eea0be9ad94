"""Whether a change of an environment was interrupted, and waits for recovery. Only looks.

Found by the environment's path alone: between two renames there may be no interpreter.
"""

import os
from pathlib import Path

from reconciler.status import Problem
from reconciler.trees.workspace import Workspace


def record_of(workspace: Workspace) -> Path | None:
    """The record of a change that has begun; while a pass is running, it may be that pass's."""
    records = (workspace.intent, workspace.in_place, workspace.created)
    return next((path for path in records if os.path.lexists(path)), None)


def interruption_of(workspace: Workspace) -> Problem | None:
    """What waits for recovery, and what to do; None if nothing does."""
    if record_of(workspace) is None or workspace.pass_is_running:
        return None
    record = record_of(workspace)  # a pass may just have ended
    if record is None:
        return None
    return Problem(
        file=str(record),
        reason=f"a change of {workspace.prefix} was interrupted and waits for recovery",
        fix="Run `reconciler apply` or start the service; the next pass finishes or undoes it.",
    )
