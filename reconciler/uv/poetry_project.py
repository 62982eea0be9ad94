"""Reads the dependencies in Poetry's own tables, with Poetry's own library and without a build.

`poetry-core` turns each entry into the requirement that a build would record. Read-only.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import NormalizedName, canonicalize_name

from reconciler.patterns import regex
from reconciler.state.bounds import marker_in, requirement_in, shown
from reconciler.state.desired import BadFile
from reconciler.state.notice import Notice
from reconciler.state.places import Places
from reconciler.state.position import KeyPath, Position
from reconciler.state.requirements_lines import Listed, RequirementLine, bad_line
from reconciler.state.uv_workspace import DynamicFiles

if TYPE_CHECKING:
    from poetry.core.factory import Factory

_BACKENDS = frozenset({"poetry.core.masonry.api", "poetry.masonry.api"})
_POETRY = ("tool", "poetry")
_PLATFORM = regex(r"[A-Za-z0-9_.-]+")
_FIX = "Write it as in Poetry's documentation on dependency specification."


def poetry_tables(file: Path, text: bytes, document: Mapping[str, Any]) -> DynamicFiles | None:
    """The dependencies, extras and groups in `[tool.poetry]`; None if they are elsewhere.

    Args:
        file: The project's `pyproject.toml`.
        text: Its content, to say where something is wrong.
        document: The same, parsed.

    Raises:
        BadFile: An entry cannot be used.
    """
    poetry = _table(_table(document.get("tool")).get("poetry"))
    project = _table(document.get("project"))
    backend = _table(document.get("build-system")).get("build-backend")
    if not poetry or backend not in (None, *_BACKENDS):
        return None
    dynamic = project.get("dynamic")
    if project and not (isinstance(dynamic, list) and "dependencies" in dynamic):
        return None
    return _Tables(file, poetry, Places(text.decode("utf-8-sig", "replace"))).read()


class _Tables:
    """`[tool.poetry]` of one file."""

    def __init__(self, file: Path, poetry: Mapping[str, Any], places: Places) -> None:
        self.file = file
        self.poetry = poetry
        self.places = places

    def read(self) -> DynamicFiles:
        main = _table(self.poetry.get("dependencies"))
        optional = {name for name, entry in main.items() if _is_optional(entry)}
        always = {name: entry for name, entry in main.items() if name not in optional}
        groups = {
            canonicalize_name(name): self._all(
                _table(_table(group).get("dependencies")), "group", name, "dependencies"
            )
            for name, group in _table(self.poetry.get("group")).items()
        }
        if "dev-dependencies" in self.poetry:  # as it was before groups
            dev = self._all(_table(self.poetry["dev-dependencies"]), "dev-dependencies")
            groups.setdefault(canonicalize_name("dev"), dev)
        name = self.poetry.get("name")
        return DynamicFiles(
            dependencies=self._all(always, "dependencies"),
            extras=dict(self._extras(main)),
            groups=groups,
            name=name if isinstance(name, str) else None,
            requires_python=self._python(main),
            notices=tuple(self._notices()),
        )

    def _all(self, entries: Mapping[str, Any], *path: str) -> tuple[Listed, ...]:
        return tuple(
            listed
            for name, entry in entries.items()
            if canonicalize_name(name) != "python"
            for listed in self._listed(name, entry, (*_POETRY, *path, name))
        )

    def _extras(
        self, main: Mapping[str, Any]
    ) -> Iterator[tuple[NormalizedName, tuple[Listed, ...]]]:
        known = {canonicalize_name(name): name for name in main}
        for extra, names in _table(self.poetry.get("extras")).items():
            listed = map(str, names) if isinstance(names, list) else ()
            found = (known.get(canonicalize_name(name)) for name in listed)
            wanted = {name: main[name] for name in found if name is not None}
            yield canonicalize_name(extra), self._all(wanted, "dependencies")

    def _listed(self, name: str, entry: object, path: KeyPath) -> Iterator[Listed]:
        for one in entry if isinstance(entry, list) else [entry]:
            at = self.places.key(path) or Position(1, 1)
            line = Listed(self.file, RequirementLine("", f"{name} = {one!r}", at))
            text = self._made(line, name, one)[0]
            yield Listed(self.file, RequirementLine("", text, at))

    def _made(self, line: Listed, name: str, entry: Any) -> tuple[str, str]:
        """The requirement and its versions, as Poetry writes them into a package's metadata."""
        if not isinstance(entry, str | dict):
            raise self._bad(line, "it is neither a version nor a table")
        # Markers stay out of it: what its parser raises for a bad one is not documented.
        rest = (
            {k: v for k, v in entry.items() if k != "markers"} if isinstance(entry, dict) else entry
        )
        markers = entry.get("markers") if isinstance(entry, dict) else None
        try:
            if isinstance(entry, dict) and not _PLATFORM.fullmatch(entry.get("platform", "any")):
                raise self._bad(line, "its `platform` is not a name")
            made = _factory().create_dependency(name, rest, root_dir=self.file.parent)
            return _with_marker(made.to_pep_508(with_extras=False), markers), str(made.constraint)
        except (ValueError, TypeError, RuntimeError, LookupError, AttributeError) as error:
            raise self._bad(line, str(error).splitlines()[0] or type(error).__name__) from error

    def _bad(self, line: Listed, reason: str) -> BadFile:
        return bad_line(line, f"not a dependency of Poetry's, {shown(line.line.value)}: {reason}",
                        _FIX)  # fmt: skip

    def _python(self, main: Mapping[str, Any]) -> str | None:
        wanted = next((main[name] for name in main if canonicalize_name(name) == "python"), None)
        if not isinstance(wanted, str):
            return None
        at = self.places.key((*_POETRY, "dependencies", "python")) or Position(1, 1)
        line = Listed(self.file, RequirementLine("", f"python = {wanted!r}", at))
        versions = self._made(line, "python", wanted)[1]
        return None if "||" in versions or versions == "*" else versions

    def _notices(self) -> Iterator[Notice]:
        if self.poetry.get("source"):
            yield Notice(
                f"[[tool.poetry.source]] of {self.file} does not count, as for uv",
                "Declare the index in [[tool.uv.index]], and name it in [tool.uv.sources].",
            )


def _with_marker(text: str, marker: str | None) -> str:
    if marker is None:
        return text
    requirement = requirement_in(text)
    own = requirement.marker
    requirement.marker = marker_in(f"({own}) and ({marker})" if own else marker)
    return str(requirement)


def _factory() -> "type[Factory]":
    """Poetry's library: slow to import, and only Poetry's projects need it.

    It puts packages of its own first on the path; they must not come before those installed.
    """
    before = list(sys.path)
    from poetry.core.factory import Factory  # noqa: PLC0415

    sys.path[:] = [*before, *(place for place in sys.path if place not in before)]
    return Factory


def _is_optional(entry: object) -> bool:
    return any(
        _table(one).get("optional") is True
        for one in (entry if isinstance(entry, list) else [entry])
    )


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
