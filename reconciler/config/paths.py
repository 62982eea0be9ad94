"""Makes the paths in a configuration file absolute, and refuses those that no file should have.

A line break or an escape character in a path would be read as something else by a unit file, a
log or a terminal, and a name that is not UTF-8 cannot be written to any of them.
"""

import os
import re
from pathlib import Path

import msgspec

from reconciler.config.address import LONGEST_SOCKET_PATH, UnixAddress
from reconciler.config.problem import Unfit
from reconciler.log.visible import visible_in_cell
from reconciler.patterns import regex
from reconciler.state.bounds import LONGEST_PATH
from reconciler.state.project_kinds import BY_PREFERENCE, names_a_project

_CONTROL = regex("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""C0, DEL and C1, among them NEL, and Unicode's line and paragraph separators."""
_NOT_UTF8 = regex("[\ud800-\udfff]")
"""How Python shows bytes that are not UTF-8 (PEP 383)."""
_NAMES = {"\0": "a NUL", "\n": "a line feed", "\r": "a carriage return", "\t": "a tab"}
_INTERPRETER = regex(r"(?:python|pypy)[\d.]*t?", re.ASCII)


class Place(msgspec.Struct, frozen=True):
    """The folder that paths in a file are relative to."""

    folder: Path
    home: Path


def absolute(text: str, place: Place) -> Path:
    """Expand a leading `~`, and resolve relative paths from the file's folder.

    Raises:
        Unfit: It is empty, or has a NUL, a variable or an unknown user in it.
    """
    if not text.strip():
        raise Unfit("a path")
    require_plain(text)
    if text.startswith("$"):
        raise Unfit("a path without variables", fix='Write it out, or begin it with "~/".')
    path = Path(os.path.abspath(place.folder / _expanded(text, place)))  # noqa: PTH100 # keeps symlinks
    require_plain(path)
    return path


_LONGEST_NAME = 255
"""Bytes in the name of a file or folder, on every file system of Linux."""


def require_plain(text: str | Path, *, key: str | None = None) -> None:
    """Refuse control characters, and names that are not UTF-8 or too long to exist.

    Args:
        text: A path.
        key: The key that it is the value of, for the error.

    Raises:
        Unfit: It has one; says which and where.
    """
    what = odd_character(str(text))
    if what is not None:
        raise Unfit(
            key=key,
            reason=f"expected a path without control characters, in UTF-8, found {what}: "
            f"{visible(text)}",
            fix="Rename the file or the folder, and correct the path.",
        )
    names = Path(text).parts
    if len(str(text)) > LONGEST_PATH or any(len(os.fsencode(n)) > _LONGEST_NAME for n in names):
        raise Unfit(
            key=key,
            reason="expected a path, found one that is too long to exist",
            fix="Correct the path.",
        )


def require_plain_paths(values: msgspec.Struct) -> None:
    """The same for every path among the values of a table, wherever it came from.

    Raises:
        Unfit: One has such a character.
    """
    for name in values.__struct_fields__:
        value = getattr(values, name)
        value = value.path if isinstance(value, UnixAddress) else value
        if isinstance(value, Path):
            require_plain(value, key=name)


def odd_character(text: str, *, allowed: str = "") -> str | None:
    """The first control character or part that is not UTF-8, in words; None if there is none."""
    if text.isprintable():
        return None
    for found in _CONTROL.finditer(text):
        if found[0] not in allowed:
            name = _NAMES.get(found[0], "a control character")
            return f"{name} (U+{ord(found[0]):04X}) at character {found.start() + 1}"
    foreign = _NOT_UTF8.search(text)
    return f"a byte that is not UTF-8 at character {foreign.start() + 1}" if foreign else None


def visible(text: str | Path) -> str:
    """A path for messages, with such characters written out."""
    shown = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))
    return visible_in_cell(shown)


def _expanded(text: str, place: Place) -> Path:
    path = Path(text)
    if path.parts[:1] == ("~",):
        return place.home.joinpath(*path.parts[1:])
    try:
        return path.expanduser()
    except RuntimeError:
        raise Unfit("the home folder of an existing user", fix="Write the path out.") from None


def pyproject_of(path: Path) -> Path:
    """A project's file; for a folder, its pyproject.toml, or else its requirements.txt."""
    # Path.is_file raises if a folder cannot be entered; os.path.isfile returns False.
    if os.path.isfile(path) or (names_a_project(path) and not path.is_dir()):  # noqa: PTH113
        return path
    inside = [path / name for name in BY_PREFERENCE]
    return next((file for file in inside if os.path.isfile(file)), inside[0])  # noqa: PTH113


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
