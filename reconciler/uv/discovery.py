"""Finds the uv workspace that a project belongs to, in the way that uv does.

Reads the files of the workspace's root and members, and changes nothing.
"""

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli
from packaging.requirements import InvalidRequirement
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.files.deciding import read_deciding
from reconciler.files.parsing import toml_of
from reconciler.log.redact import redact
from reconciler.state.bounds import requirement_in
from reconciler.state.desired import BadFile, Desired
from reconciler.state.holds import HoldSet
from reconciler.state.lowering import BadSource, NotWanted, Section, Sources
from reconciler.state.sources import Source
from reconciler.state.uv_workspace import Member, ProjectContext, UvWorkspace
from reconciler.status import Problem
from reconciler.uv.dynamic_files import dynamic_files
from reconciler.uv.poetry_project import poetry_tables
from reconciler.uv.requirement_files import Read
from reconciler.uv.settings import settings_for

_Document = Mapping[str, Any]


def context_of(
    file: Path, text: bytes, environ: Mapping[str, str], read: Read = read_deciding
) -> ProjectContext:
    """What decides, besides its own text, what a project's file means.

    Args:
        file: The project's `pyproject.toml`.
        text: Its content. If it is not TOML, the file belongs to no workspace.
        environ: The environment variables that uv would see.
        read: Reads the files that its dependencies are in, if they are dynamic.

    Raises:
        BadFile: The file of the workspace's root, or one with dependencies, cannot be used.
    """
    document = _parsed(text)
    redact.register_addresses_of(document)  # a requirement that is not valid is quoted as well
    workspace = _workspace_of(file, text, document)
    tables = [(file, _uv(document))] + ([(workspace.file, workspace.uv)] if workspace else [])
    settings = _settings(*tables[-1], environ)
    return ProjectContext(
        workspace=workspace,
        without_sources=settings.get("no-sources") is True,
        sourceless=frozenset(_names(settings.get("no-sources-package"))),
        named=dict(_named(tables)),
        environ=environ,
        index_names=_index_names(environ),
        requirements_beside=_requirements_beside(file, document),
        dynamic=poetry_tables(file, text, document) or dynamic_files(file, document, read),
        exists=os.path.lexists,
        endless=is_endless,
    )


def _requirements_beside(file: Path, document: _Document) -> tuple[str, ...]:
    """The requirements files beside a file without a project; looked for in no other case."""
    if "project" in document:
        return ()
    return tuple(sorted(path.name for path in file.parent.glob("requirements*.txt")))


def _names(entries: object) -> Iterator[NormalizedName]:
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, str):
            yield canonicalize_name(entry)


def is_endless(path: Path) -> bool:
    """Whether it is a pipe, a socket or a device, which uv would wait for."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _settings(file: Path, uv: Mapping[str, Any], environ: Mapping[str, str]) -> Mapping[str, Any]:
    """uv's settings; none if they cannot be read, which is reported when they are needed."""
    try:
        return settings_for(file, uv, HoldSet((), {}), environ)
    except BadFile:
        return {}


def sources_of_projects(
    desired: Desired | None, markers: Mapping[str, str], environ: Mapping[str, str]
) -> list[tuple[NormalizedName, Source]]:
    """The sources that local projects declare for what they require.

    uv follows them when it plans. An installation of exact versions has to repeat them: otherwise
    it would look in other indexes, or record another kind of source.

    Args:
        desired: What is declared; its local sources are followed, and theirs.
        markers: The target's PEP 508 environment.
        environ: The environment variables.
    """
    found: list[tuple[NormalizedName, Source]] = []
    declared = desired.requirements if desired else ()
    waiting = [_project_in(one.source) for one in declared]
    seen: set[Path] = set()
    while waiting:
        file = waiting.pop()
        text = _read(file) if file and file not in seen else None
        if file is None or text is None:
            continue
        seen.add(file)
        for name, source in _sources_in(file, text, markers, environ):
            found.append((name, source))
            waiting.append(_project_in(source))
    return found


def _project_in(source: Source | None) -> Path | None:
    place = source.table.get("path") if source else None
    return Path(place, "pyproject.toml") if place else None


def _sources_in(
    file: Path, text: bytes, markers: Mapping[str, str], environ: Mapping[str, str]
) -> Iterator[tuple[NormalizedName, Source]]:
    """The sources of what a project requires; what cannot be read has none: uv reports it."""
    document = _parsed(text)
    project = _table(document.get("project"))
    own = canonicalize_name(str(project.get("name")))
    extras = _table(project.get("optional-dependencies"))
    lists = [(Section(), project.get("dependencies"))]
    lists += [(Section(extra=canonicalize_name(extra)), its) for extra, its in extras.items()]
    with suppress(BadFile):
        sources = Sources(file, own, _uv(document), markers, context_of(file, text, environ))
        for section, requirements in lists:
            for requirement in requirements if isinstance(requirements, list) else ():
                with suppress(BadSource, NotWanted, InvalidRequirement, TypeError):
                    name = canonicalize_name(requirement_in(requirement).name)
                    source = sources.of(name, section)
                    if source is not None:
                        yield name, source


def _workspace_of(file: Path, text: bytes, document: _Document) -> UvWorkspace | None:
    uv = _uv(document)
    if uv.get("managed") is False:
        return None
    if "workspace" in uv:
        return _workspace(file, text)
    return _above(file.parent) if "project" in document else None


def _above(folder: Path) -> UvWorkspace | None:
    """The workspace that the project in this folder is a member of; the nearest file decides."""
    for parent in folder.parents:
        root = parent / "pyproject.toml"
        text = _read(root)
        if text is not None:
            definition = _uv(_parsed(text, root)).get("workspace")
            member = isinstance(definition, dict) and folder in _folders(parent, definition)
            return _workspace(root, text) if member else None
    return None


def _workspace(file: Path, text: bytes) -> UvWorkspace:
    document = _parsed(text, file)
    uv = _uv(document)
    folders = [file.parent, *_folders(file.parent, _table(uv.get("workspace")))]
    return UvWorkspace(file, text, uv, dict(_members(folders, file, document)))


def _members(
    folders: Iterable[Path], root: Path, document: _Document
) -> Iterator[tuple[NormalizedName, Member]]:
    """The members by name; one that cannot be read is none."""
    for folder in folders:
        file = folder / "pyproject.toml"
        project = document if file == root else _parsed(_read(file) or b"")
        name = _table(project.get("project")).get("name")
        if isinstance(name, str) and _uv(project).get("managed") is not False:
            is_package = _uv(project).get("package") is not False
            yield canonicalize_name(name), Member(folder, is_package)


def _folders(root: Path, definition: _Document) -> list[Path]:
    """The folders that a workspace's `members` match and its `exclude` does not."""
    excluded = set(_matching(root, definition.get("exclude")))
    found = _matching(root, definition.get("members"))
    return sorted({folder for folder in found if folder not in excluded})


def _matching(root: Path, patterns: object) -> Iterator[Path]:
    for pattern in patterns if isinstance(patterns, list) else ():
        if isinstance(pattern, str):
            whole = os.path.normpath(os.path.join(glob.escape(str(root)), pattern))  # noqa: PTH118 -- a pattern, not a path
            for found in glob.iglob(whole, recursive=True):  # noqa: PTH207 -- may lead out of root
                if os.path.isdir(found):  # noqa: PTH112
                    yield Path(found)


def _named(tables: Iterable[tuple[Path, _Document]]) -> Iterator[tuple[Path, UvWorkspace]]:
    """The workspaces that sources name by their folder (`{ workspace = "../other" }`)."""
    for file, uv in tables:
        for entry in _table(uv.get("sources")).values():
            for source in entry if isinstance(entry, list) else [entry]:
                place = _table(source).get("workspace")
                if not isinstance(place, str):
                    continue
                root = Path(os.path.normpath(file.parent / place)) / "pyproject.toml"
                text = _read(root)
                if text is not None and "workspace" in _uv(_parsed(text, root)):
                    yield file.parent / place, _workspace(root, text)


def _index_names(environ: Mapping[str, str]) -> frozenset[str]:
    """The names in uv's variables, which are lists of `name=URL`."""
    words = f"{environ.get('UV_INDEX', '')} {environ.get('UV_DEFAULT_INDEX', '')}".split()
    return frozenset(w.partition("=")[0] for w in words if "=" in w.partition("://")[0])


def _read(file: Path) -> bytes | None:
    try:
        return read_deciding(file)
    except OSError:
        return None


def _parsed(text: bytes, file: Path | None = None) -> _Document:
    """The document; if it is not TOML, an empty one, or `BadFile` if its file is named."""
    try:
        return toml_of(text.decode("utf-8-sig"))
    except tomli.TOMLDecodeError as error:
        reason, line, column = f"not valid TOML: {error.msg}", error.lineno, error.colno
    except UnicodeDecodeError:
        reason, line, column = "the file is not UTF-8, as TOML requires", None, None
    if file is None:
        return {}
    fix = "Correct the file: it is the root of the project's workspace, or would be."
    raise BadFile(Problem(file=str(file), line=line, column=column, reason=reason, fix=fix))


def _uv(document: _Document) -> _Document:
    return _table(_table(document.get("tool")).get("uv"))


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
