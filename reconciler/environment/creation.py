"""Creates a missing environment: a virtual one, with uv, for the project's Python.

Never creates one for a project that cannot be read: its folder may just have been moved away.
"""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from packaging.markers import default_environment
from packaging.specifiers import SpecifierSet

from reconciler.environment.declaration import declared_by
from reconciler.environment.environment import Environment
from reconciler.environment.interpreter import InterpreterError
from reconciler.files.lock_holder import holder_of
from reconciler.log.logger import get_logger
from reconciler.processes import Cancellation, OnLine
from reconciler.trees.newborn import (
    InTheWay,
    begin_beside,
    beside,
    finish_beside,
    finish_within,
    is_in_the_way,
    remove_unfinished,
    was_taken,
)
from reconciler.trees.workspace import NAME, Busy, remove_tree

log = get_logger(__name__)

_LOCK_POLL_SECONDS = 0.05
_NOBODYS = frozenset({NAME, ".lock", ".gitignore", "CACHEDIR.TAG"})
"""What `rm -rf .venv/*` leaves in an environment: our files and uv's."""


def create_environment(environment: Environment, cancel: Cancellation, on_line: OnLine) -> None:
    """Create the environment's folder with an interpreter and nothing else.

    Until it is complete, nothing of it is where the interpreter is expected.

    Raises:
        BadFile: The project's file cannot be used, so it is not known which Python is needed.
        InterpreterError: Something else is in its place.
        UvError: uv found no Python that fits.
        OSError: The folder cannot be written.
        Busy: Someone has locked the project's folder, or a pass is running.
        Cancelled: The pass was asked to end.
    """
    folder = environment.config.root
    wanted = _python_for(environment)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder.parent, cancel, environment.config.timeout):
        if environment.exists:
            return  # another process was faster
        if os.path.lexists(folder):
            _create_within(environment, wanted, cancel)
        else:
            _create_beside(environment, wanted, cancel)
    on_line(f"Created {folder}")
    log.info("environment.created", path=str(folder), python=wanted)


def _create_beside(environment: Environment, wanted: str, cancel: Cancellation) -> None:
    folder = environment.config.root
    try:
        fresh = begin_beside(folder)
    except InTheWay as error:
        raise _in_the_way(environment) from error
    try:
        environment.uv.create_environment(fresh, wanted, cancel)
        finish_beside(fresh, folder)
    except OSError as error:
        obstacle = obstacle_to(environment) if was_taken(error) else None
        if obstacle is not None:
            raise obstacle from error
        raise
    finally:
        with suppress(OSError, InTheWay):  # else the next start removes it
            remove_unfinished(folder)


def _create_within(environment: Environment, wanted: str, cancel: Cancellation) -> None:
    """Create it in a folder that is there already: it is empty, or has our files, and the vault."""
    folder, workspace = environment.config.root, environment.place
    obstacle = obstacle_to(environment)
    if obstacle is not None:
        raise obstacle
    workspace.create()
    with workspace.pass_lock(cancel, environment.config.timeout):
        fresh = workspace.new_environment()
        try:
            # uv writes the path into scripts as it is given here.
            environment.uv.create_environment(folder / NAME / fresh.name, wanted, cancel)
            finish_within(workspace, fresh)
        finally:
            with suppress(OSError):  # else the next start removes it
                remove_tree(fresh)


def remove_leftovers(environment: Environment) -> bool:
    """Remove what an interrupted attempt to create it beside its place left, if nobody is at it.

    Returns:
        Whether there was any.
    """
    folder = environment.config.root
    if not os.path.lexists(beside(folder)):
        return False
    try:
        with _alone_in(folder.parent, Cancellation(), 0.0):
            return remove_unfinished(folder)
    except (Busy, InTheWay, OSError):  # it is just being created, or is not ours; or it may stay
        return False


def obstacle_to(environment: Environment) -> InterpreterError | None:
    """What is in the place of an environment without an interpreter, so that none is created."""
    folder = environment.config.root
    if not os.path.lexists(folder):
        return _in_the_way(environment) if is_in_the_way(beside(folder)) else None
    if folder.is_dir() and all(_is_nobodys(path) for path in folder.iterdir()):
        return None
    lacking = "empty" if folder.is_dir() else "a folder"
    return InterpreterError(
        environment.config.python,
        f"there is no interpreter, but {folder} is not {lacking}",
        "Move it away, or point `python` at an environment.",
    )


def _in_the_way(environment: Environment) -> InterpreterError:
    fresh = beside(environment.config.root)
    return InterpreterError(
        environment.config.python,
        f"the environment is created as {fresh} first, and what has that name is not Reconciler's",
        "Move it away.",
    )


def _is_nobodys(path: Path) -> bool:
    """Whether this may stay; through a link, uv would write to another place."""
    return path.name in _NOBODYS and not path.is_symlink()


@contextmanager
def _alone_in(folder: Path, cancel: Cancellation, timeout: float) -> Iterator[None]:
    """Keep others from creating an environment in this folder; leaves no file behind.

    Raises:
        Busy: Someone had locked the folder for longer than `timeout` seconds; anyone who can
            read it can.
    """
    deadline = time.monotonic() + timeout
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Busy(folder, holder_of(descriptor), "Wait for it, or end it.") from None
                cancel.sleep(_LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _python_for(environment: Environment) -> str:
    """Our own interpreter if the project allows it, else the version that it asks for."""
    markers = {key: str(value) for key, value in default_environment().items()}
    desired = declared_by(environment.config, markers, environment.environ)
    wanted = desired.requires_python or SpecifierSet()
    own = "{}.{}.{}".format(*sys.version_info[:3])
    return own_python() if wanted.contains(own, prereleases=True) else str(wanted)


def own_python() -> str:
    """The interpreter that runs us, outside any virtual environment."""
    return str(getattr(sys, "_base_executable", sys.executable))
