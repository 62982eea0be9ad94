"""Reads dependencies that setuptools takes from files, without running it.

`[tool.setuptools.dynamic]` names the files. A build would say the same, but uv builds again only
when the pyproject.toml changes, and a build runs the project's code. Read-only.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.utils import NormalizedName, canonicalize_name

from reconciler.log.redact import redact
from reconciler.state.desired import BadFile
from reconciler.state.requirements_lines import BadLine, Listed, bad_line, lines_of
from reconciler.state.uv_workspace import DynamicFiles
from reconciler.status import Problem
from reconciler.uv.requirement_files import Read

_BACKENDS = frozenset({"setuptools.build_meta", "setuptools.build_meta:__legacy__"})


def dynamic_files(file: Path, document: Mapping[str, Any], read: Read) -> DynamicFiles:
    """The requirements in the files that setuptools would read.

    Args:
        file: The project's `pyproject.toml`; the files are relative to its folder.
        document: Its content.
        read: Reads them.

    Raises:
        BadFile: A file is missing, or setuptools would refuse a line of it.
    """
    project = _table(document.get("project"))
    dynamic = project.get("dynamic")
    backend = _table(document.get("build-system")).get("build-backend")
    if not isinstance(dynamic, list) or backend not in (None, *_BACKENDS):
        return DynamicFiles()
    tables = _table(_table(_table(document.get("tool")).get("setuptools")).get("dynamic"))
    texts: dict[Path, bytes] = {}
    dependencies: tuple[Listed, ...] | None = None
    extras: dict[NormalizedName, tuple[Listed, ...]] = {}
    if "dependencies" in dynamic:
        dependencies = _listed(file.parent, tables.get("dependencies"), read, texts)
    if "optional-dependencies" in dynamic:
        for extra, entry in _table(tables.get("optional-dependencies")).items():
            found = _listed(file.parent, entry, read, texts)
            if found is not None:
                extras[canonicalize_name(extra)] = found
    return DynamicFiles(dependencies, extras, texts)


def _listed(
    folder: Path, entry: object, read: Read, texts: dict[Path, bytes]
) -> tuple[Listed, ...] | None:
    """The lines of the files that an entry names; None if it names none."""
    named = _table(entry).get("file")
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(line for name in names for line in _lines(folder / name, read, texts))


def _lines(path: Path, read: Read, texts: dict[Path, bytes]) -> Iterator[Listed]:
    fix = "Correct it, or the file's name in [tool.setuptools.dynamic]."
    try:
        content = read(path)
        text = content.decode("utf-8")
    except OSError as error:
        reason = f"the file cannot be read ({error.strerror})"
        raise BadFile(Problem(file=str(path), reason=reason, fix=fix)) from error
    except ValueError as error:
        raise BadFile(Problem(file=str(path), reason="the file is not UTF-8", fix=fix)) from error
    texts[path] = content
    redact.register_addresses(text)
    try:
        for line in lines_of(text):
            one = Listed(path, line)
            if line.option or line.hashes:
                raise bad_line(one, "an option, which setuptools refuses in this file", fix)
            yield one
    except BadLine as error:
        raise BadFile(
            Problem(file=str(path), line=error.at.line, column=error.at.column,
                    reason=error.reason, fix=fix)
        ) from error  # fmt: skip


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
