"""Recovery: what a crash interrupted is finished, undone or removed, before anything else is done.

Found by the environment's path alone, since a crash may have left no interpreter to ask.
"""

from reconciler.environment.creation import remove_leftovers
from reconciler.environment.environment import Environment
from reconciler.log.logger import get_logger
from reconciler.passes.outcome import reason_of
from reconciler.processes import Cancellation
from reconciler.status import ExpectedEnd
from reconciler.trees import generations
from reconciler.trees.exchange import finish_interrupted
from reconciler.trees.in_place import undo_interrupted
from reconciler.trees.interruption import record_of
from reconciler.trees.newborn import finish_creation
from reconciler.trees.workspace import Workspace

log = get_logger(__name__)


class NotRecovered(ExpectedEnd):
    """What a crash interrupted can be neither finished nor undone just now."""

    def __init__(self, workspace: Workspace, error: OSError) -> None:
        reason, fix = reason_of(error)
        super().__init__(
            f"an interrupted change of {workspace.prefix} waits for recovery, and it failed "
            f"({error}). {fix} Nothing else is changed before it succeeds.",
            reason=reason,
        )


def recover_first(environment: Environment, cancel: Cancellation) -> str | None:
    """Recover if a change was interrupted; costs a few `stat`s if none was.

    The caller does not hold the pass lock.

    Returns:
        What was done, in words, or None.

    Raises:
        NotRecovered: The file system prevents it.
        Busy: Another pass is running.
        Cancelled: The pass was asked to end.
    """
    remove_leftovers(environment)
    workspace = environment.place
    if record_of(workspace) is None:
        return None
    workspace.create()
    with workspace.pass_lock(cancel, environment.config.timeout):
        return recover(environment)


def recover(environment: Environment) -> str | None:
    """Finish or undo what a crash interrupted, and remove what it left behind.

    The caller holds the pass lock.

    Returns:
        What was done, in words, or None.

    Raises:
        NotRecovered: The file system prevents it.
    """
    workspace = environment.place
    try:
        done = _recover(workspace)
        removed = remove_leftovers(environment) + workspace.clean_up()
        removed += generations.drop_half(workspace)
    except OSError as error:
        raise NotRecovered(workspace, error) from error
    if removed and not done:
        folders = "1 folder" if removed == 1 else f"{removed} folders"
        done = [f"unfinished work was removed ({folders})"]
    if not done:
        return None
    log.warning("recovered", what="; ".join(done))
    return "; ".join(done)


def _recover(workspace: Workspace) -> list[str]:
    done = [
        finish_creation(workspace),
        *generations.set_aside_unusable(workspace),
        finish_interrupted(workspace),
        undo_interrupted(workspace),
    ]
    return [words for words in done if words]
