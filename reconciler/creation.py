"""Making an environment that is not there yet: a virtual one, by uv, for the project's Python."""

import sys
from pathlib import Path

import structlog
import tomli
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from reconciler.environment import Environment
from reconciler.interpreter import InterpreterError
from reconciler.processes import Cancellation
from reconciler.uv import OnLine

log = structlog.get_logger()


def create_environment(environment: Environment, cancel: Cancellation, on_line: OnLine) -> None:
    """Create the environment's folder with an interpreter and nothing else.

    Raises:
        InterpreterError: Something else is in its place.
        UvError: uv found no Python that fits, or could not write.
    """
    folder = environment.config.python.parent.parent
    if folder.exists() and any(p.name != ".reconciler" for p in folder.iterdir()):
        raise InterpreterError(
            environment.config.python,
            f"there is no interpreter, but {folder} is not empty",
            "Move that folder away, or point `python` at an environment.",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    wanted = _python_for(environment.config.pyproject)
    environment.uv.create_environment(folder, wanted, cancel)
    on_line(f"Created {folder}")
    log.info("environment.created", path=str(folder), python=wanted)


def _python_for(pyproject: Path) -> str:
    """Our own interpreter if the project allows it, else what it asks for."""
    try:
        project = tomli.loads(pyproject.read_text(encoding="utf-8")).get("project", {})
        wanted = SpecifierSet(project.get("requires-python", ""))
    except (OSError, ValueError, InvalidSpecifier, TypeError, AttributeError):
        return sys.executable
    own = "{}.{}.{}".format(*sys.version_info[:3])
    return getattr(sys, "_base_executable", sys.executable) if own in wanted else str(wanted)
