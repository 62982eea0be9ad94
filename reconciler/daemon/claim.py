"""Being the only service on an environment, for as long as it is managed.

A lock in the environment's workspace: the service that holds it may change things. The
environment may be made later, or removed and recreated, so it is looked at again and again.
"""

import os
from contextlib import ExitStack
from pathlib import Path

from reconciler.environment.environment import Environment
from reconciler.trees.workspace import Workspace


class Claim:
    """The claim of this process on one environment."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._held = ExitStack()
        self._inode: int | None = None

    def take_if_there(self) -> None:
        """Have the claim, if the environment was ever managed.

        Starts no process, which may hang: this is for the start, before anything is answered.

        Raises:
            Busy: Another service manages this environment.
            OSError: Its workspace cannot be written.
        """
        workspace = Workspace(Path(os.path.realpath(self._environment.config.root)))
        if workspace.root.is_dir() and self._environment.insecure is None:
            self._lock(workspace)

    def take(self) -> None:
        """Have the claim, now; costs two `stat`s while nothing has changed.

        Raises:
            Busy: Another service manages this environment.
            InterpreterError: There is no environment yet.
            OSError: Its workspace cannot be written.
        """
        workspace = self._environment.workspace
        if self._inode is not None and self._inode == _inode_of(workspace):
            return
        workspace.create()
        self._lock(workspace)

    def _lock(self, workspace: Workspace) -> None:
        self.release()
        self._held.enter_context(workspace.service_lock())
        self._inode = _inode_of(workspace)

    def handed_over(self, environment: Environment) -> "Claim":
        """The same claim for what a new configuration makes of the environment.

        Not released and taken again: a child that is just being forked has the lock's
        descriptor as well, until it becomes another program, so that it would seem held.
        """
        successor = Claim(environment)
        successor._held, successor._inode = self._held.pop_all(), self._inode
        self._inode = None
        return successor

    def release(self) -> None:
        """Leave the environment to others."""
        self._inode = None
        self._held.close()


def _inode_of(workspace: Workspace) -> int | None:
    try:
        return os.stat(workspace.service_lock_file).st_ino  # noqa: PTH116 -- at every pass
    except OSError:
        return None
