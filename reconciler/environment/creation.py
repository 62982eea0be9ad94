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
from reconciler.log.logger import get_logger
from reconciler.processes import Cancellation, OnLine
from reconciler.trees.lock_holder import holder_of
from reconciler.trees.workspace import NAME, Busy
from reconciler.uv.program import UvError

log = get_logger(__name__)

_LOCK_POLL_SECONDS = 0.05
_NOBODYS = frozenset({NAME, ".lock", ".gitignore", "CACHEDIR.TAG"})
"""What `rm -rf .venv/*` leaves in an environment: our files and uv's."""


def create_environment(environment: Environment, cancel: Cancellation, on_line: OnLine) -> None:
    """Create the environment's folder with an interpreter and nothing else.

    Raises:
        BadFile: The project's file cannot be used, so it is not known which Python is needed.
        InterpreterError: Something else is in its place.
        UvError: uv found no Python that fits.
        OSError: The folder cannot be written.
        Busy: Someone has locked the project's folder.
        Cancelled: The pass was asked to end.
    """
    folder = environment.config.python.parent.parent
    wanted = _python_for(environment)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder.parent, cancel, environment.config.timeout):
        if environment.exists:
            return  # another process was faster
        if folder.exists() and not all(_is_nobodys(path) for path in folder.iterdir()):
            raise InterpreterError(
                environment.config.python,
                f"there is no interpreter, but {folder} is not empty",
                "Move that folder away, or point `python` at an environment.",
            )
        # We create the folder: uv would hide the system's error if it cannot be written.
        folder.mkdir(exist_ok=True)
        try:
            environment.uv.create_environment(folder, wanted, cancel)
        except UvError:
            with suppress(OSError):  # not empty: uv got further
                folder.rmdir()
            raise
    on_line(f"Created {folder}")
    log.info("environment.created", path=str(folder), python=wanted)


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
