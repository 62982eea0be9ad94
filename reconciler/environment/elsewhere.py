"""Where a project declares its requirements if the file that is followed declares none here.

"In sync: 0 of 0" would be false comfort beside a requirements.txt, or beside extras that nobody
has selected. Reads the project's file and those beside it; writes nothing.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from reconciler.config import EnvironmentConfig
from reconciler.files.bounded import read_head
from reconciler.files.deciding import read_deciding_text
from reconciler.files.parsing import toml_of
from reconciler.state.desired import Desired
from reconciler.state.project_kinds import ProjectKind, kind_of_project
from reconciler.status import Problem

_MOST_BYTES = 1 << 20
_SHOWN = 5


def declared_elsewhere(config: EnvironmentConfig, desired: Desired | None) -> Problem | None:
    """What is declared in other places; None if something is declared here, or nothing anywhere."""
    if desired is None or desired.requirements:
        return None
    try:
        kind = kind_of_project(config.pyproject)
        if kind is ProjectKind.PYPROJECT:
            document = toml_of(read_deciding_text(config.pyproject))
            found = [*_not_selected(document, config), *_of_other_tools(document, config.pyproject)]
        elif kind is ProjectKind.REQUIREMENTS:
            found = list(_in_pyproject_beside(config.pyproject))
        else:
            return None
    except (OSError, ValueError):
        return None  # saved again since it was read
    if not found:
        return None
    places = "; ".join(place for place, _ in found)
    fixes = " ".join(dict.fromkeys(fix for _, fix in found))
    return Problem(
        file=str(config.pyproject),
        reason=f"nothing is declared here for this environment, but elsewhere: {places}",
        fix=fixes,
    )


def _not_selected(
    document: Mapping[str, Any], config: EnvironmentConfig
) -> Iterator[tuple[str, str]]:
    """The extras and groups that the configuration does not name."""
    extras = _others(_table(document, "project", "optional-dependencies"), config.extras)
    if extras:
        yield (
            f"the extras {_listed(extras)} in [project.optional-dependencies]",
            f'Select them with `extras = ["{extras[0]}"]` in the configuration of the environment.',
        )
    tables = {
        "[dependency-groups]": _table(document, "dependency-groups"),
        "[tool.poetry.group]": _groups_of_poetry(document),
    }
    for place, table in tables.items():
        groups = _others(table, config.groups)
        if not groups:
            continue
        yield (
            f"the groups {_listed(groups)} in {place}",
            f'Select them with `groups = ["{groups[0]}"]` in the configuration of the environment.',
        )


def _groups_of_poetry(document: Mapping[str, Any]) -> dict[str, Any]:
    tables = _table(document, "tool", "poetry", "group")
    return {name: _table(tables, name, "dependencies") for name in tables}


def _of_other_tools(document: Mapping[str, Any], file: Path) -> Iterator[tuple[str, str]]:
    """Tables and files that follow no standard, and that Reconciler does not read."""
    fix = (
        "Copy what you need to `project.dependencies`, which is what counts while `pyproject` "
        "names this file."
    )
    poetry = [n for n in _table(document, "tool", "poetry", "dependencies") if n != "python"]
    project = _table(document, "project")
    if poetry and project and not _is_dynamic(project):
        yield f"{len(poetry)} packages in [tool.poetry.dependencies]", fix
    older = _table(document, "tool", "uv").get("dev-dependencies")
    if isinstance(older, list) and older:
        yield "`dev-dependencies` in [tool.uv]", fix
    files = [path.name for path in sorted(file.parent.glob("requirements*.txt")) if _lists(path)]
    if files:
        which = _which_one(files[0], file.name, "list in its `project.dependencies` what is needed")
        yield f"{_listed(files)} beside it", which


def _in_pyproject_beside(file: Path) -> Iterator[tuple[str, str]]:
    """What is declared beside a requirements file that declares nothing."""
    beside = file.with_name("pyproject.toml")
    project = _table(toml_of(read_deciding_text(beside)), "project")
    if project.get("dependencies") or _is_dynamic(project):
        which = _which_one(beside.name, file.name, "list in it what is needed")
        yield f"[project] in `{beside.name}` beside it", which


def _which_one(other: str, own: str, instead: str) -> str:
    return (
        f"Which one counts? For `{other}`, let `pyproject` in the configuration, or --pyproject, "
        f"name it. For `{own}`, {instead}."
    )


def _is_dynamic(project: Mapping[str, Any]) -> bool:
    dynamic = project.get("dynamic")
    return isinstance(dynamic, list) and "dependencies" in dynamic


def _table(document: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    found: Any = document
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _others(tables: Mapping[str, Any], selected: Collection[str]) -> list[str]:
    names = {canonicalize_name(name) for name in selected}
    return [
        name for name, listed in tables.items() if listed and canonicalize_name(name) not in names
    ]


def _lists(path: Path) -> bool:
    """Whether a requirements file has anything but comments."""
    try:
        text = read_head(path, _MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return False
    return any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines())


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
