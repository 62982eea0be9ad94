"""What the project's file declares for one environment (PEP 621, 508, 735).

Takes the file's bytes and the target's marker environment, and returns frozen values. Does not
touch the disk or start a process. A bad file raises `BadFile`, which says where the problem is
and how to fix it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from reconciler.state.adjustments import Adjustments
from reconciler.state.bounds import requirement_in, shown, specifier_set_in
from reconciler.state.declared import Declared, each_once, specifier_in
from reconciler.state.dependency_groups import BadGroup, requirements_of_group
from reconciler.state.desired_project import Desired, revision_of
from reconciler.state.lowering import BadSource, NotWanted, Sources, section_of
from reconciler.state.parts import extras_chosen, groups_chosen, groups_for
from reconciler.state.phrases import kind_of, nearest
from reconciler.state.places import Places
from reconciler.state.position import KeyPath, Position
from reconciler.state.requirements_lines import Listed, bad_line
from reconciler.state.toml_reading import BadFile, TomlReading
from reconciler.state.uv_workspace import NO_CONTEXT, ProjectContext
from reconciler.state.variables import expanded
from reconciler.status import Problem

_List = tuple[object, KeyPath]
"""The value of a list of requirements, and its key."""

_LOOKS_LIKE = 'A requirement looks like "numpy>=1.24,<2.0" (PEP 508).'


def parse(
    file: Path,
    text: bytes,
    markers: Mapping[str, str],
    *,
    extras: Sequence[str] = (),
    groups: Sequence[str] = (),
    context: ProjectContext = NO_CONTEXT,
) -> Desired:
    """Read a `pyproject.toml`.

    Args:
        file: The file of `text`: the base of relative paths, named in errors.
        text: The file's bytes.
        markers: The PEP 508 environment of the *target* interpreter.
        extras: Extras of the project to include (`project.optional-dependencies`).
        groups: Dependency groups to include (PEP 735).
        context: Everything outside the file that decides what it means.

    Raises:
        BadFile: The file is not TOML, is not a project's, or has a malformed requirement.
    """
    return _Reader(file, text, markers, context).read(extras, groups)


def parse_script(
    file: Path,
    text: bytes,
    markers: Mapping[str, str],
    *,
    context: ProjectContext = NO_CONTEXT,
    document: bytes,
) -> Desired:
    """Read the metadata of a script (PEP 723).

    Args:
        file: The script.
        text: Its content, which decides the revision.
        markers: The PEP 508 environment of the *target* interpreter.
        context: Everything outside the file that decides what it means.
        document: The TOML in it, each character where it is in the script.

    Raises:
        BadFile: As for `parse`.
    """
    found = _ScriptReader(file, document, markers, context).read((), ())
    return replace(found, revision=revision_of(text))


class _Reader(TomlReading):
    """One reading of one file; keeps the text to point into it."""

    within: KeyPath = ("project",)
    """The table that has the dependencies."""

    def __init__(
        self, file: Path, text: bytes, markers: Mapping[str, str], context: ProjectContext
    ) -> None:
        super().__init__(file, text)
        self.context = context
        self.text = text
        self.revision = revision_of(text, context.workspace, context.dynamic.texts.values())
        self.markers = {**markers, "extra": ""}
        self.extras_read: set[str] = set()
        self.root_places: Places | None = None

    def read(self, extras: Sequence[str], groups: Sequence[str]) -> Desired:
        # uv reads the groups of a file that declares no project, such as a workspace's root.
        tool_uv = self._table(self._table(self.document, "tool"), "tool", "uv")
        dynamic = self.context.dynamic
        required = dynamic.dependencies is None and (
            not groups_chosen(groups, tool_uv) or bool(extras)
        )
        project = self._project(required=required)
        self._refuse_dynamic(project)
        self._table(tool_uv, "tool", "uv", "sources")
        root = self.context.workspace
        self.overridden = Adjustments.of(root.uv if root else tool_uv).overrides.keys()
        name = project.get("name", dynamic.name)
        self.name = canonicalize_name(name) if isinstance(name, str) else None
        self.optional = self._table(project, "project", "optional-dependencies")
        self.sources = Sources(self.file, self.name, tool_uv, self.markers, self.context)
        listed = dynamic.dependencies or project.get("dependencies", [])
        declared = [
            *self._requirements([(listed, (*self.within, "dependencies"))]),
            *self._requirements(
                self._extras(extras_chosen(extras, tool_uv, self._extra_keys.values()))
            ),
            *self._requirements(self._groups(groups_chosen(groups, tool_uv), tool_uv)),
        ]
        return Desired(
            file=self.file,
            revision=self.revision,
            project=self.name,
            requirements=each_once(declared, self.markers),
            requires_python=self._requires_python(project),
            uv=tool_uv,
            workspace=self.context.workspace,
            notices=dynamic.notices,
            texts={self.file: self.text, **dynamic.texts} if dynamic.texts else {},
        )

    def _project(self, *, required: bool) -> dict[str, Any]:
        return self._table(self.document, "project", required=required)

    def _where_else(self) -> str:
        """What to do about a file without a project."""
        if "dependency-groups" in self.document or self.context.workspace is not None:
            return (
                "Name `groups` of its [dependency-groups] in the configuration, or let `pyproject` "
                "be the file of a project, such as a member of its workspace."
            )
        beside = self.context.requirements_beside
        if beside:
            return (
                f"If `{beside[0]}` beside it is what counts, let `pyproject` in the configuration, "
                "or --pyproject, name that file. Otherwise declare the project in a [project] "
                "table (PEP 621)."
            )
        return (
            "Declare the project as in PEP 621: a [project] table with `name`, `version` and "
            "`dependencies`. (If the file is being written right now, it will be read again.)"
        )

    def _refuse_dynamic(self, project: Mapping[str, Any]) -> None:
        dynamic = project.get("dynamic", [])
        unread = self.context.dynamic.dependencies is None
        if isinstance(dynamic, list) and "dependencies" in dynamic and unread:
            raise self._bad(
                "`dependencies` is dynamic, so they are unknown without running the project's "
                "build backend, which Reconciler never does",
                "List them in `project.dependencies` and remove `dependencies` from `dynamic`, or "
                "let setuptools read them from a `file` in [tool.setuptools.dynamic].",
                self.places.key(("project", "dynamic")),
            )

    def _requires_python(self, project: Mapping[str, Any]) -> SpecifierSet | None:
        value = project.get("requires-python", self.context.dynamic.requires_python)
        if value is None:
            return None
        try:
            return specifier_set_in(value)
        except (InvalidSpecifier, TypeError, AttributeError) as error:
            raise self._bad(
                f"`requires-python` is not a version specifier: {shown(str(value))}",
                'Write it as in PEP 440, for example ">=3.11".',
                self.places.key((*self.within, "requires-python")),
            ) from error

    def _requirements(self, lists: Iterable[_List]) -> Iterator[Declared]:
        """The requirements of these lists, and of those that they include, in their order."""
        # A list of iterators, not a recursion: extras may include each other a thousand deep.
        waiting: list[Iterator[Declared | _List]] = [iter(lists)]
        while waiting:
            found = next(waiting[-1], None)
            if found is None:
                waiting.pop()
            elif isinstance(found, Declared):
                yield found
            else:
                waiting.append(self._in_list(*found))

    def _in_list(self, values: object, path: KeyPath) -> Iterator[Declared | _List]:
        """The requirements of one list that apply to the target, and the lists it includes."""
        if isinstance(values, tuple):
            yield from self._in_file(values, path)
            return
        origin = ".".join(map(str, path))
        if not isinstance(values, list):
            raise self._bad(
                f"`{origin}` must be a list of strings, not {kind_of(values)}",
                'Write it as [ "numpy>=1.24", ... ].',
                self.places.key(path),
            )
        earlier: Counter[str] = Counter()
        for index, value in enumerate(values):
            place = f"{origin}[{index}]"
            if not isinstance(value, str):
                raise self._bad(
                    f"`{place}` must be a string, not {kind_of(value)}", _LOOKS_LIKE,
                    self.places.key(path),
                )  # fmt: skip
            at = self.places.string(value, within=path, occurrence=earlier[value])
            earlier[value] += 1
            requirement = self._requirement(value, place, at)
            if not self._counts(requirement, place, at):
                continue
            if self._is_own(requirement):
                yield from self._extras(sorted(requirement.extras))
                continue
            declared = self._lowered(requirement, path, at)
            if declared is not None:
                yield replace(declared, origin=place, specifier=specifier_in(value))

    def _in_file(self, listed: Iterable[Listed], path: KeyPath) -> Iterator[Declared | _List]:
        """The same for the lines of a file that the build backend would read."""
        for one in listed:
            value, line = one.line.value, one.line.at.line
            try:
                requirement = requirement_in(value)
            except InvalidRequirement as error:
                reason = f"not a valid requirement, {shown(value)}"
                raise bad_line(one, reason, _LOOKS_LIKE) from error
            place = f"{one.file.name}:{line}"
            if not self._counts(requirement, place, None):
                continue
            if self._is_own(requirement):
                yield from self._extras(sorted(requirement.extras))
                continue
            declared = self._lowered(requirement, path, None)
            if declared is not None:
                yield replace(declared, origin=place, specifier=specifier_in(value), line=line)

    def _requirement(self, value: str, place: str, at: Position | None) -> Requirement:
        try:
            return requirement_in(value)
        except InvalidRequirement as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise self._bad(
                f"`{place}` is not a valid requirement, {shown(value)}: {reason}", _LOOKS_LIKE, at
            ) from error

    def _applies(self, marker: Marker | None, place: str, at: Position | None) -> bool:
        try:
            return marker is None or marker.evaluate(self.markers)
        except (UndefinedComparison, UndefinedEnvironmentName) as error:
            raise self._bad(
                f"the marker of `{place}` cannot be evaluated: {marker}",
                "Compare a variable of PEP 508 with a string, using an operator that suits both.",
                at,
            ) from error

    def _counts(self, requirement: Requirement, place: str, at: Position | None) -> bool:
        """Whether it applies to the target, or may: an override would replace its marker too."""
        is_used = self._applies(requirement.marker, place, at)
        return is_used or canonicalize_name(requirement.name) in self.overridden

    def _is_own(self, requirement: Requirement) -> bool:
        """Whether it is `project[extra]` within the project itself: extras, not a package."""
        return bool(requirement.extras) and canonicalize_name(requirement.name) == self.name

    def _lowered(
        self, requirement: Requirement, path: KeyPath, at: Position | None
    ) -> Declared | None:
        """The requirement with its source; None if its workspace does not want it here.

        A source that cannot be used costs this requirement only.
        """
        line = at.line if at else None
        try:
            source = self.sources.of(canonicalize_name(requirement.name), section_of(path))
            if requirement.url and source is None:
                self.sources.refuse_endless(requirement.url)
        except NotWanted:
            return None
        except BadSource as error:
            return Declared(requirement, "", None, line, unusable=self._unusable(error, at))
        if requirement.url:
            # uv takes a source before a URL.
            url = None if source else expanded(requirement.url, self.context.environ,
                                               self.file.parent)  # fmt: skip
            requirement.url = Path(url).as_uri() if url and url.startswith("/") else url
        return Declared(requirement, "", source, line)

    def _unusable(self, error: BadSource, at: Position | None) -> Problem:
        if error.key is None:
            return self._bad(error.reason, error.fix, at).problem
        root = self.context.workspace
        file, places = self.file, self.places
        if error.of_root and root is not None:
            self.root_places = self.root_places or Places(root.text.decode("utf-8-sig"))
            file, places = root.file, self.root_places
        found = places.key(("tool", "uv", "sources", error.key))
        line, column = (found.line, found.column) if found else (None, None)
        return Problem(
            file=str(file), line=line, column=column, text=places.line(line), fix=error.fix,
            reason=f"`tool.uv.sources.{error.key}` {error.reason}",
        )  # fmt: skip

    def _extras(self, extras: Iterable[str]) -> Iterator[_List]:
        """The lists of these extras that have not been read yet."""
        table = ("project", "optional-dependencies")
        by_name = self._extra_keys
        for extra in extras:
            key = by_name.get(canonicalize_name(extra))
            if key is None:
                raise self._bad(
                    f"there is no extra `{extra}` in [{'.'.join(table)}]{nearest(extra, by_name)}",
                    "Correct `extras` in the configuration or [tool.uv.pip], or declare the extra.",
                    self.places.key(table),
                )
            if key not in self.extras_read:
                self.extras_read.add(key)
                dynamic = self.context.dynamic.extras
                known = key in self.optional
                listed = self.optional[key] if known else dynamic[canonicalize_name(key)]
                yield listed, (*table, key)

    @cached_property
    def _extra_keys(self) -> Mapping[str, str]:
        names = (*self.context.dynamic.extras, *self.optional)
        return {canonicalize_name(key): key for key in names}

    def _groups(self, groups: Sequence[str], tool_uv: Mapping[str, Any]) -> Iterator[_List]:
        if not groups:
            return
        tables = self._table(self.document, "dependency-groups")
        tables = groups_for(self.markers["python_full_version"], tables, tool_uv)
        for group in groups:
            elsewhere = self.context.dynamic.groups.get(canonicalize_name(group))
            if elsewhere is not None:
                yield elsewhere, ("dependency-groups", group)
                continue
            try:
                resolved = requirements_of_group(tables, group)
            except BadGroup as error:
                raise self._bad(
                    f"the dependency group `{group}` cannot be read: {error}"
                    f"{nearest(group, tables)}",
                    "Correct [dependency-groups] (PEP 735), or `groups` in the configuration.",
                    self.places.key(("dependency-groups", group)),
                ) from error
            yield resolved, ("dependency-groups", group)


class _ScriptReader(_Reader):
    """The same for a script, whose document is what is a table in a project's file."""

    within = ()

    def _project(self, *, required: bool) -> dict[str, Any]:  # noqa: ARG002
        return {k: v for k, v in self.document.items() if k in ("dependencies", "requires-python")}


__all__ = ["BadFile", "Desired", "parse", "parse_script", "revision_of"]
