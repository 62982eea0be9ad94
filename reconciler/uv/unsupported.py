"""Which of the user's uv settings and variables do not count, and what to do instead.

Without this they would be dropped in silence. Read-only.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier

from reconciler.log.redact import redact
from reconciler.state.bounds import specifier_set_in
from reconciler.state.desired import BadFile
from reconciler.state.notice import Notice
from reconciler.uv.known_settings import (
    FILES_OF,
    PARTS_OF_PROJECT,
    UNKNOWN,
    UNSUPPORTED,
    VARIABLES_UNSUPPORTED,
    Use,
    use_of,
    use_of_variable,
)
from reconciler.uv.requirement_files import read_files
from reconciler.uv.settings import Layer, is_on, layers_of

_OFF: tuple[object, ...] = (False, None, "", [], {})
_ELSEWHERE_READ = (
    "only the project's own [tool.uv.pip] chooses parts of the project",
    "Write it there, or set `extras` and `groups` in [environments.NAME].",
)


def unsupported(
    project_file: Path, project_uv: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[Notice]:
    """Everything that is set and does not count.

    Args:
        project_file: The project's `pyproject.toml`.
        project_uv: Its `[tool.uv]` table.
        environ: The service's environment variables.
    """
    try:
        layers = list(layers_of(project_file, project_uv, environ))
    except BadFile:
        return  # reported as the problem that it is
    told: set[tuple[str, str]] = set()
    for layer in layers:
        for table, key, value in _entries(layer):
            if (table, key) not in told:  # else a stronger file says otherwise
                told.add((table, key))
                yield from _setting(layer, project_file, table, key, value)
    yield from _beside(layers, project_file, project_uv)
    yield from _variables(project_file.parent, environ)


def _entries(layer: Layer) -> Iterator[tuple[str, str, Any]]:
    for key, value in layer.table.items():
        yield "", key, value
    of_pip = layer.table.get("pip")
    for key, value in of_pip.items() if isinstance(of_pip, dict) else ():
        yield "pip", key, value


def _setting(
    layer: Layer, project_file: Path, table: str, key: str, value: Any
) -> Iterator[Notice]:
    if value in _OFF:
        return
    of_pip = table == "pip"
    if of_pip and key in PARTS_OF_PROJECT and layer.file != project_file:
        why = _ELSEWHERE_READ
    elif use_of(key, of_pip=of_pip) is not Use.UNSUPPORTED or _is_satisfied(key, value):
        return
    else:
        why = UNSUPPORTED.get(key, UNKNOWN)
    yield _caution(f"`{key}` in {_place(layer.file, table)}", why)


def _is_satisfied(key: str, value: Any) -> bool:
    if key != "required-version":
        return False
    from importlib.metadata import version  # noqa: PLC0415 -- rare, and slow to import

    try:
        return specifier_set_in(value).contains(version("uv"))
    except (InvalidSpecifier, TypeError, AttributeError):
        return False


def _place(file: Path, table: str) -> str:
    if file.name == "pyproject.toml":
        return f"[tool.uv.{table}] of {file}" if table else f"[tool.uv] of {file}"
    return f"[{table}] of {file}" if table else str(file)


def _beside(
    layers: list[Layer], project_file: Path, project_uv: Mapping[str, Any]
) -> Iterator[Notice]:
    """uv ignores [tool.uv] where a uv.toml is beside it, except sources and the workspace."""
    beside = project_file.with_name("uv.toml")
    if not any(layer.file == beside for layer in layers):
        return
    ignored = [k for k in project_uv if use_of(k) is not Use.ELSEWHERE and k not in _STAYING]
    if ignored:
        listed = ", ".join(f"`{key}`" for key in ignored)
        yield _caution(
            f"[tool.uv] of {project_file} ({listed})",
            ("uv reads the uv.toml beside it instead", f"Move these settings to {beside}."),
        )


_STAYING = frozenset({"sources", "workspace", "index"})


def _variables(folder: Path, environ: Mapping[str, str]) -> Iterator[Notice]:
    for name, value in environ.items():
        if not name.startswith("UV_") or not value:
            continue
        if name in FILES_OF:
            yield from _remarks(name, value, folder)
        elif use_of_variable(name) is Use.UNSUPPORTED and is_on(value):
            why = VARIABLES_UNSUPPORTED.get(name, UNKNOWN)
            yield _caution(f"the variable `{name}`", why)


def _remarks(name: str, value: str, folder: Path) -> Iterator[Notice]:
    try:
        remarks = read_files(value, folder).remarks
    except BadFile:
        return  # reported as the problem that it is
    for remark in remarks:
        yield Notice(f"`{name}`: {redact(remark)}", "Only names and versions in local files count.")


def _caution(what: str, why: tuple[str, str]) -> Notice:
    return Notice(f"{what} does not count: {why[0]}", why[1])
