"""Reads the files of requirements that variables of uv name (`UV_CONSTRAINT` and the like).

In the form of requirements.txt, with `-r` and `-c` for further files. Read-only; nothing is
fetched. What cannot count is remarked on, never dropped in silence.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from packaging.requirements import Requirement

from reconciler.files.deciding import read_deciding_text
from reconciler.log.redact import redact
from reconciler.patterns import regex
from reconciler.state.bounds import shown
from reconciler.state.desired import BadFile
from reconciler.state.lenient import requirement_of
from reconciler.status import Problem

_COMMENT = regex(r"(^|\s)#.*$")
_HASH = regex(r"\s--hash[= ]\S+")
_MOST_FILES = 200
_DEEPEST = 20
"""Files that include each other."""
_INCLUDES = regex(r"^(?:-r|-c|--requirements?|--constraints?)[\s=]*(?P<file>.+)$")


@dataclass
class RequirementFiles:
    """The requirements that the files of one variable have."""

    requirements: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    """Every file that was read, or that is missing."""
    remarks: list[str] = field(default_factory=list)
    """What does not count, and where it is."""
    seen: set[str] = field(default_factory=set)
    """How these files are named, and where they are: one may name itself in ever longer ways."""


def read_files(value: str, folder: Path) -> RequirementFiles:
    """Read files that are named with spaces between them, as uv does.

    Args:
        value: The value of the variable.
        folder: Where relative paths start.

    Raises:
        BadFile: A file is missing, or has a line that uv refuses as well.
    """
    found = RequirementFiles()
    for name in value.split():
        _read(name, folder, "the variable", found)
    return found


def paths_in(environ: Mapping[str, str], names: Iterable[str], folder: Path) -> Iterator[Path]:
    """Every file that takes part, as far as they can be read."""
    for name in names:
        found = RequirementFiles()
        for word in environ.get(name, "").split():
            try:
                _read(word, folder, name, found)
            except BadFile:
                continue
        yield from found.files


def _read(name: str, folder: Path, place: str, found: RequirementFiles, depth: int = 0) -> None:
    if "://" in name or name.startswith("file:"):
        if not name.startswith("file:"):
            found.remarks.append(f"{name} ({place}) is not fetched")
            return
        name = unquote(name.removeprefix("file:").removeprefix("//").removeprefix("localhost"))
    named = f"{folder}{os.sep}{name}"
    if named in found.seen:
        return
    path = folder / name
    real = _real(path)
    known = real in found.seen
    found.seen.update((named, real))
    if known:
        return
    if depth > _DEEPEST or len(found.files) >= _MOST_FILES:
        raise _bad(path, None, f"there are more than {_MOST_FILES} files of requirements, or one "
                   f"is more than {_DEEPEST} deep", f"Correct {place} that names it.")  # fmt: skip
    found.files.append(path)
    for number, line in _lines(_text_of(path, place)):
        stripped = _COMMENT.sub("", line).strip()
        if stripped:
            _line(stripped, path, number, found, depth)


def _real(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # a NUL
        return str(path)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Each line with the number that it begins on; a backslash at its end continues it."""
    begun = ""
    first = 1
    for number, line in enumerate(text.splitlines(), start=1):
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        yield first, begun + line
        begun, first = "", number + 1
    if begun:
        yield first, begun


def _text_of(path: Path, place: str) -> str:
    try:
        if path.exists() and not path.is_file():  # a pipe would never end
            raise _bad(path, None, "it is not a regular file", f"Correct {place} that names it.")
        text = read_deciding_text(path)
    except OSError as error:
        raise _bad(path, None, f"the file cannot be read ({error.strerror})",
                   f"Create it, or correct {place} that names it.") from error  # fmt: skip
    except ValueError as error:  # or a NUL in its name
        raise _bad(path, None, "the file is not UTF-8", "Save it as UTF-8.") from error
    redact.register_addresses(text)
    return text


def _line(line: str, path: Path, number: int, found: RequirementFiles, depth: int) -> None:
    included = _INCLUDES.match(line)
    if included is not None:
        _read(included["file"].strip(), path.parent, f"{path}:{number}", found, depth + 1)
        return
    if line.startswith("-"):
        option = re.split(r"[\s=]", line, maxsplit=1)[0]
        found.remarks.append(f"{option} in {path}:{number} does not count")
        return
    requirement = _HASH.sub("", line)
    if requirement != line:
        found.remarks.append(f"the hash in {path}:{number} is not checked")
    found.requirements.append(str(_requirement(requirement, path, number)))


def _requirement(text: str, path: Path, number: int) -> Requirement:
    requirement = requirement_of(text)
    if requirement is None:
        raise _bad(path, number, f"not a valid requirement: {shown(text)}",
                   "Correct the line; uv would refuse it as well.")  # fmt: skip
    return requirement


def _bad(path: Path, line: int | None, reason: str, fix: str) -> BadFile:
    return BadFile(Problem(file=str(path), line=line, reason=reason, fix=fix))
