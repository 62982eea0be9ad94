"""Reads files of requirements, and the files that they include with `-r` and `-c`.

Those of a project in that form, and those that variables of uv name (`UV_CONSTRAINT` and the
like). Read-only; nothing is fetched. What cannot count is remarked on, never dropped in silence.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from packaging.requirements import Requirement

from reconciler.files.deciding import read_deciding
from reconciler.log.redact import redact
from reconciler.state.bounds import shown
from reconciler.state.desired import BadFile
from reconciler.state.lenient import requirement_of
from reconciler.state.requirements_lines import BadLine, Listed, bad_line, lines_of
from reconciler.state.variables import expanded
from reconciler.status import Problem

_MOST_FILES = 200
_DEEPEST = 20
"""Files that include each other."""
_INCLUDES = ("--requirement", "--constraint")

Read = Callable[[Path], bytes]
"""Reads a file that decides."""


@dataclass
class RequirementFiles:
    """The files that were read so far, and the requirements of those that a variable names."""

    requirements: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    """Every file that was read, or that is missing."""
    remarks: list[str] = field(default_factory=list)
    """What does not count, and where it is."""
    seen: set[tuple[str, bool]] = field(default_factory=set)
    """How these files are named, and where they are: one may name itself in ever longer ways."""
    texts: dict[Path, bytes] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    project: Path | None = None
    """The folder of the project whose files these are; None for those of a variable."""
    read: Read = read_deciding


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
        for one in _listed(name, folder, "the variable", found):
            _count(one, found)
    return found


def paths_in(environ: Mapping[str, str], names: Iterable[str], folder: Path) -> Iterator[Path]:
    """Every file that takes part, as far as they can be read."""
    for name in names:
        found = RequirementFiles()
        for word in environ.get(name, "").split():
            try:
                for _ in _listed(word, folder, name, found):
                    pass
            except BadFile:
                continue
        yield from found.files


def lines_of_project(file: Path, found: RequirementFiles) -> Iterator[Listed]:
    """The lines of a project's requirements file and of those that it includes, in their order.

    Args:
        file: The project's file.
        found: Where the files are noted; says how they are read.

    Raises:
        BadFile: A file is missing or elsewhere, or has a line that uv refuses as well.
    """
    return _listed(str(file), file.parent, "`pyproject`", found)


def _listed(
    name: str,
    folder: Path,
    place: str,
    found: RequirementFiles,
    depth: int = 0,
    *,
    constraint: bool = False,
) -> Iterator[Listed]:
    if "://" in name or name.startswith("file:"):
        if not name.startswith("file:"):
            _refuse_remote(name, place, found)
            return
        name = unquote(name.removeprefix("file:").removeprefix("//").removeprefix("localhost"))
    named = f"{folder}{os.sep}{name}", constraint
    if named in found.seen:
        return
    path = folder / name
    real = _real(path), constraint
    known = real in found.seen
    found.seen.update((named, real))
    if known:
        return
    if depth > _DEEPEST or len(found.files) >= _MOST_FILES:
        raise _bad(path, f"there are more than {_MOST_FILES} files of requirements, or one "
                   f"is more than {_DEEPEST} deep", f"Correct {place} that names it.")  # fmt: skip
    found.files.append(path)
    for one in _lines(path, _text_of(path, place, found), constraint=constraint):
        if one.line.option in _INCLUDES:
            inner = one.line.value
            if found.project is not None:
                inner = expanded(inner, found.environ, found.project)
            bounds = constraint or one.line.option == "--constraint"
            here = f"{path}:{one.line.at.line}"
            yield from _listed(inner, path.parent, here, found, depth + 1, constraint=bounds)
        else:
            yield one


def _refuse_remote(name: str, place: str, found: RequirementFiles) -> None:
    if found.project is None:
        found.remarks.append(f"{name} ({place}) is not fetched")
        return
    file, _, line = place.rpartition(":")
    raise BadFile(
        Problem(file=file, line=int(line), column=1, reason=f"{name} is not fetched",
                fix="Download the file and include the copy.")
    )  # fmt: skip


def _real(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # a NUL
        return str(path)


def _lines(path: Path, text: str, *, constraint: bool) -> Iterator[Listed]:
    try:
        for line in lines_of(text):
            yield Listed(path, line, constraint)
    except BadLine as error:
        physical = text.split("\n")[error.at.line - 1].rstrip("\r")
        raise BadFile(
            Problem(file=str(path), line=error.at.line, column=error.at.column,
                    reason=error.reason, fix=error.fix, text=physical)
        ) from error  # fmt: skip


def _text_of(path: Path, place: str, found: RequirementFiles) -> str:
    try:
        if path.exists() and not path.is_file():  # a pipe would never end
            raise _bad(path, "it is not a regular file", f"Correct {place} that names it.")
        content = found.read(path)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise _bad(path, f"the file cannot be read ({error.strerror})",
                   f"Create it, or correct {place} that names it.") from error  # fmt: skip
    except ValueError as error:  # or a NUL in its name
        raise _bad(path, "the file is not UTF-8", "Save it as UTF-8.") from error
    found.texts[path] = content
    redact.register_addresses(text)
    return text


def _count(one: Listed, found: RequirementFiles) -> None:
    """What a line of a file that a variable names says."""
    line, place = one.line, f"{one.file}:{one.line.at.line}"
    if line.option:
        found.remarks.append(f"{line.option} in {place} does not count")
        return
    if line.hashes:
        found.remarks.append(f"the hash in {place} is not checked")
    found.requirements.append(str(_requirement(one)))


def _requirement(one: Listed) -> Requirement:
    requirement = requirement_of(one.line.value)
    if requirement is None:
        raise bad_line(one, f"not a valid requirement: {shown(one.line.value)}",
                       "Correct the line; uv would refuse it as well.")  # fmt: skip
    return requirement


def _bad(path: Path, reason: str, fix: str) -> BadFile:
    return BadFile(Problem(file=str(path), reason=reason, fix=fix))
