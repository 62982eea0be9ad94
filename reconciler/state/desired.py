"""What the project's file declares for one environment (PEP 621, 508, 735).

Takes the file's bytes and the target's marker environment, returns frozen values;
touches no disk and starts no process. A file that cannot be understood raises
`FileProblem`, which says where and how to mend it.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import tomli
from packaging.dependency_groups import resolve_dependency_groups
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.state.sources import Source, sources_for


@dataclass(frozen=True)
class FileProblem(Exception):
    """Why a file cannot be used: where, what for, and what to do. Lines and columns from 1."""

    file: Path
    reason: str
    mend: str
    line: int | None = None
    column: int | None = None
    text: str | None = None

    def __str__(self) -> str:
        place = "".join(f":{n}" for n in (self.line, self.column) if n is not None)
        return f"{self.file}{place}: {self.reason}. {self.mend}"


@dataclass(frozen=True, slots=True)
class Declared:
    """One requirement that the project declares, and where it stands."""

    requirement: Requirement
    origin: str
    source: Source | None = None
    line: int | None = None

    @property
    def name(self) -> NormalizedName:
        """The required package, by PEP 503."""
        return canonicalize_name(self.requirement.name)

    @property
    def text(self) -> str:
        """The requirement without its marker, as a user would write it."""
        bare = Requirement(str(self.requirement))
        bare.marker = None
        return str(bare)


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything that the project declares for one target.

    `revision` is `sha256:` and the digest of the file's bytes: what `sha256sum` prints.
    """

    file: Path
    revision: str
    project: str | None
    requirements: tuple[Declared, ...]
    requires_python: SpecifierSet | None
    uv: Mapping[str, Any]
    """The `[tool.uv]` table as it stands."""


def revision_of(text: bytes) -> str:
    """The name of this content of the project's file."""
    return "sha256:" + hashlib.sha256(text).hexdigest()


def parse(
    file: Path,
    text: bytes,
    markers: Mapping[str, str],
    *,
    extras: Sequence[str] = (),
    groups: Sequence[str] = (),
) -> Desired:
    """Read a `pyproject.toml`.

    Args:
        file: Where `text` came from: the base of relative paths, and named in errors.
        text: The file's bytes.
        markers: The PEP 508 environment of the *target* interpreter.
        extras: Extras of the project to include (`project.optional-dependencies`).
        groups: Dependency groups to include (PEP 735).

    Raises:
        FileProblem: The file is not TOML, not a project's, or a requirement is malformed.
    """
    return _Reader(file, text, markers).read(extras, groups)


class _Reader:
    """One reading of one file; knows the text, so that it can point into it."""

    def __init__(self, file: Path, text: bytes, markers: Mapping[str, str]) -> None:
        self.file = file
        self.bytes = text
        self.markers = {**markers, "extra": ""}
        self.text = self._decode()
        self.document = self._toml()

    def _decode(self) -> str:
        try:
            return self.bytes.decode("utf-8")
        except UnicodeDecodeError as error:
            before = self.bytes[: error.start]
            raise FileProblem(
                self.file,
                "the file is not UTF-8, as TOML requires",
                "Save it as UTF-8.",
                line=before.count(b"\n") + 1,
                column=error.start - (before.rfind(b"\n") + 1) + 1,
            ) from error

    def _toml(self) -> dict[str, Any]:
        try:
            return tomli.loads(self.text)
        except tomli.TOMLDecodeError as error:
            raise self._problem(
                f"not valid TOML: {error.msg}",
                "Mend the line; until then the last good state of the file stays in force.",
                line=error.lineno,
                column=error.colno,
            ) from error

    def _problem(
        self, reason: str, mend: str, *, line: int | None = None, column: int | None = None
    ) -> FileProblem:
        lines = self.text.splitlines()
        shown = lines[line - 1] if line is not None and 0 < line <= len(lines) else None
        return FileProblem(self.file, reason, mend, line, column, shown)

    def _place(self, literal: str, occurrence: int = 0) -> tuple[int | None, int | None]:
        """Line and column of a string literal (tomli gives no positions for values)."""
        inner = re.escape(literal)
        escaped = re.escape(literal.replace("\\", "\\\\").replace('"', '\\"'))
        found = list(re.finditer(f"'{inner}'|\"{escaped}\"", self.text))
        if not found:
            return None, None
        start = found[min(occurrence, len(found) - 1)].start()
        line = self.text.count("\n", 0, start) + 1
        return line, start - (self.text.rfind("\n", 0, start) + 1) + 1

    def _heading(self, key: str) -> int | None:
        """The line on which a table or a key starts."""
        pattern = rf"^\s*(\[+\s*{re.escape(key)}\s*\]+|{re.escape(key.rsplit('.', 1)[-1])}\s*=)"
        found = re.search(pattern, self.text, re.MULTILINE)
        return self.text.count("\n", 0, found.end()) + 1 if found else None

    def read(self, extras: Sequence[str], groups: Sequence[str]) -> Desired:
        project = self._table(self.document, "project", required=True)
        tool_uv = self._table(self._table(self.document, "tool"), "uv", path="tool.uv")
        self._refuse_dynamic(project)
        self.sources = self._table(tool_uv, "sources", path="tool.uv.sources")
        name = project.get("name")
        self.name = canonicalize_name(name) if isinstance(name, str) else None
        declared = [
            *self._requirements(project.get("dependencies", []), "project.dependencies"),
            *self._extras(project, extras),
            *self._groups(groups),
        ]
        return Desired(
            file=self.file,
            revision=revision_of(self.bytes),
            project=self.name,
            requirements=tuple(declared),
            requires_python=self._requires_python(project),
            uv=tool_uv,
        )

    def _table(
        self,
        parent: Mapping[str, Any],
        key: str,
        *,
        path: str | None = None,
        required: bool = False,
    ) -> dict[str, Any]:
        path = path or key
        if key not in parent and not required:
            return {}
        table = parent.get(key)
        if isinstance(table, dict):
            return table
        if table is None:
            raise self._problem(
                f"there is no [{path}] table",
                "Declare the project by PEP 621: a [project] table with `name`, `version` and "
                "`dependencies`. (If the file is just being written, it will be read again.)",
            )
        raise self._problem(
            f"`{path}` must be a table, not {_kind(table)}",
            f"Write it as [{path}].",
            line=self._heading(path),
        )

    def _refuse_dynamic(self, project: Mapping[str, Any]) -> None:
        dynamic = project.get("dynamic", [])
        if isinstance(dynamic, list) and "dependencies" in dynamic:
            raise self._problem(
                "`dependencies` is declared dynamic, so only the project's build backend, which "
                "is code of the project, could tell them",
                "List them in `project.dependencies`, and take them out of `dynamic`.",
                line=self._heading("project.dynamic"),
            )

    def _requires_python(self, project: Mapping[str, Any]) -> SpecifierSet | None:
        value = project.get("requires-python")
        if value is None:
            return None
        try:
            return SpecifierSet(value)
        except (InvalidSpecifier, TypeError, AttributeError) as error:
            line = self._heading("project.requires-python")
            raise self._problem(
                f"`requires-python` is no version specifier: {value!r}",
                'Write it by PEP 440, for example ">=3.11".',
                line=line,
            ) from error

    def _requirements(self, values: object, origin: str) -> Iterator[Declared]:
        """The requirements of one list that apply to the target."""
        if not isinstance(values, list):
            raise self._problem(
                f"`{origin}` must be a list of strings, not {_kind(values)}",
                'Write it as [ "numpy>=1.24", ... ].',
                line=self._heading(origin),
            )
        for index, value in enumerate(values):
            place = f"{origin}[{index}]"
            earlier = sum(1 for other in values[:index] if other == value)
            requirement = self._requirement(value, place, origin, earlier)
            if requirement.marker is None or requirement.marker.evaluate(self.markers):
                yield from self._declared(requirement, place, value, origin)

    def _requirement(self, value: object, place: str, origin: str, occurrence: int) -> Requirement:
        if not isinstance(value, str):
            raise self._problem(
                f"`{place}` must be a string, not {_kind(value)}",
                'A requirement looks like "numpy>=1.24,<2.0" (PEP 508).',
                line=self._heading(origin),
            )
        try:
            return Requirement(value)
        except InvalidRequirement as error:
            line, column = self._place(value, occurrence)
            reason = str(error).splitlines()[0].rstrip(".")
            raise self._problem(
                f"`{place}` is no valid requirement, {value!r}: {reason}",
                'A requirement looks like "numpy>=1.24,<2.0" (PEP 508).',
                line=line,
                column=column,
            ) from error

    def _declared(
        self, requirement: Requirement, place: str, literal: str, origin: str
    ) -> Iterator[Declared]:
        if self.name and canonicalize_name(requirement.name) == self.name and requirement.extras:
            # `project[extra]` within the project itself: those extras, not a package.
            project = self.document["project"]
            yield from self._extras(project, sorted(requirement.extras), seen=(place,))
            return
        source = sources_for(requirement.name, self.sources, self.file.parent, self.markers, origin)
        yield Declared(requirement, place, source, self._place(literal)[0])

    def _extras(
        self, project: Mapping[str, Any], extras: Iterable[str], *, seen: tuple[str, ...] = ()
    ) -> Iterator[Declared]:
        path = "project.optional-dependencies"
        tables = self._table(project, "optional-dependencies", path=path)
        by_name = {canonicalize_name(key): key for key in tables}
        for extra in extras:
            key = by_name.get(canonicalize_name(extra))
            if key is None:
                raise self._problem(
                    f"there is no extra `{extra}` in [{path}]{_nearest(extra, by_name)}",
                    "Correct `extras` in the configuration, or declare the extra.",
                    line=self._heading(path),
                )
            origin = f"{path}.{key}"
            if any(place.startswith(origin + "[") for place in seen):
                continue
            yield from self._requirements(tables[key], origin)

    def _groups(self, groups: Sequence[str]) -> Iterator[Declared]:
        if not groups:
            return
        tables = self._table(self.document, "dependency-groups")
        for group in groups:
            try:
                resolved = resolve_dependency_groups(tables, group)
            except Exception as error:
                raise self._problem(
                    f"the dependency group `{group}` cannot be read: {_causes(error)}"
                    f"{_nearest(group, tables)}",
                    "Correct [dependency-groups] (PEP 735), or `groups` in the configuration.",
                    line=self._heading("dependency-groups"),
                ) from error
            yield from self._requirements(list(resolved), f"dependency-groups.{group}")


def _kind(value: object) -> str:
    names = {dict: "a table", list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), f"a {type(value).__name__}")


def _nearest(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _causes(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_causes(inner) for inner in error.exceptions)
    return str(error) or type(error).__name__
