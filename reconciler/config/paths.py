"""Makes the paths in a configuration file absolute."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from reconciler.config.address import LONGEST_SOCKET_PATH
from reconciler.config.problem import Unfit

_INTERPRETER = re.compile(r"(?:python|pypy)[\d.]*t?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """The folder that paths in a file are relative to."""

    folder: Path
    home: Path


def absolute(text: str, place: Place) -> Path:
    """Expand a leading `~`, and resolve relative paths from the file's folder.

    Raises:
        Unfit: It is empty, or has a NUL, a variable or an unknown user in it.
    """
    if not text.strip() or "\0" in text:
        raise Unfit("a path")
    if text.startswith("$"):
        raise Unfit("a path without variables", fix='Write it out, or begin it with "~/".')
    return Path(os.path.abspath(place.folder / _expanded(text, place)))  # noqa: PTH100 # keeps symlinks


def _expanded(text: str, place: Place) -> Path:
    path = Path(text)
    if path.parts[:1] == ("~",):
        return place.home.joinpath(*path.parts[1:])
    try:
        return path.expanduser()
    except RuntimeError:
        raise Unfit("the home folder of an existing user", fix="Write the path out.") from None


def pyproject_of(path: Path) -> Path:
    """A project's pyproject.toml; for a folder, the one in it."""
    names_file = path.suffix == ".toml" and not path.is_dir()
    return path if names_file else path / "pyproject.toml"


def interpreter_of(path: Path) -> Path:
    """An environment's interpreter; for a folder, its `bin/python`.

    If the path does not exist yet, its name decides.
    """
    by_name = path.parent.name == "bin" and _INTERPRETER.fullmatch(path.name)
    # Path.is_file raises if a folder cannot be entered; os.path.isfile returns False.
    return path if by_name or os.path.isfile(path) else path / "bin" / "python"  # noqa: PTH113


def socket_path(text: str, place: Place) -> Path:
    """The path of a unix socket, short enough for the kernel."""
    path = absolute(text, place)
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise Unfit(f"a socket path of at most {LONGEST_SOCKET_PATH} bytes")
    return path
