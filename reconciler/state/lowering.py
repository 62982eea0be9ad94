"""Finds where a requirement comes from, by `[tool.uv.sources]`, as uv does.

A project's own sources come before those of its workspace's root, name by name. An entry that
uv could not use raises `BadSource`: ignoring it would take another package of that name from
somewhere else.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from packaging.markers import InvalidMarker, UndefinedComparison, UndefinedEnvironmentName
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.state.bounds import marker_in
from reconciler.state.locations import from_home, local_path, parts_of
from reconciler.state.sources import Source
from reconciler.state.uv_workspace import ProjectContext, UvWorkspace

_KINDS = ("git", "url", "path", "index", "workspace")
_REVISIONS = ("rev", "tag", "branch")
_TEXTS = frozenset({"git", "url", "path", "index", *_REVISIONS, "subdirectory", "marker", "extra",
                    "group"})  # fmt: skip
_FLAGS = frozenset({"editable", "package", "lfs"})
_ONLY_WITH = {**dict.fromkeys((*_REVISIONS, "lfs"), ("git",)), "editable": ("path", "workspace"),
              "package": ("path",)}  # fmt: skip
_AS_DOCUMENTED = "Write it as shown in uv's documentation on sources."

_NO_PIPE = "Name a file or a folder: uv would wait for ever for the end of a pipe or a device."


_Keys = Mapping[NormalizedName, str]
"""The key for each package, as it is written in `[tool.uv.sources]`."""


class BadSource(Exception):
    """A requirement's source cannot be used.

    Args:
        key: The package's key in `[tool.uv.sources]`; None if it should have one.
        reason: What is wrong; completes the sentence after the key.
        fix: What to do.
        of_root: Whether the entry is in the workspace's root.
    """

    def __init__(
        self, key: str | None, reason: str, fix: str = _AS_DOCUMENTED, *, of_root: bool = False
    ) -> None:
        super().__init__(key, reason)
        self.key = key
        self.reason = reason
        self.fix = fix
        self.of_root = of_root


class NotWanted(Exception):
    """The workspace declares its member for other platforms or extras only: uv leaves it out."""


class Section(msgspec.Struct, frozen=True):
    """The extra or group that a requirement belongs to, if any; names by PEP 503."""

    extra: NormalizedName | None = None
    group: NormalizedName | None = None


def section_of(path: Sequence[str | int]) -> Section:
    """The section of the list of requirements at that key in a `pyproject.toml`."""
    name = canonicalize_name(str(path[-1]))
    if path[0] == "dependency-groups":
        return Section(group=name)
    return Section(extra=name) if "optional-dependencies" in path[:-1] else Section()


class Sources(msgspec.Struct, frozen=True, dict=True):
    """The sources of one project.

    Args:
        file: The project's file: relative paths start in its folder.
        project: The project's name.
        uv: Its `[tool.uv]` table.
        markers: The target's PEP 508 environment.
        context: What surrounds the project.
    """

    file: Path
    project: NormalizedName | None
    uv: Mapping[str, Any]
    markers: Mapping[str, str]
    context: ProjectContext

    @cached_property
    def _own_keys(self) -> _Keys:
        return _keys_of(self.uv)

    @cached_property
    def _root_keys(self) -> _Keys:
        return _keys_of(self.context.workspace.uv) if self.context.workspace else {}

    @cached_property
    def _indexes(self) -> Mapping[str, tuple[Mapping[str, Any], Path]]:
        """The first table of each declared index, and the folder that a path in it starts at."""
        workspace = self.context.workspace
        found: dict[str, tuple[Mapping[str, Any], Path]] = {}
        for uv, file in [(self.uv, self.file)] + (
            [(workspace.uv, workspace.file)] if workspace else []
        ):
            tables = uv.get("index")
            for table in tables if isinstance(tables, list) else ():
                if isinstance(table, dict) and isinstance(table.get("name"), str):
                    found.setdefault(table["name"], (table, file.parent))
        return found

    def of(self, name: NormalizedName, section: Section) -> Source | None:
        """The source that applies to a requirement on the target, or None.

        Args:
            name: The required package.
            section: The requirement's section, to match `extra` and `group`.

        Raises:
            BadSource: Its entry cannot be used.
            NotWanted: The requirement does not apply here.
        """
        if self.uv.get("managed") is False:
            return None  # uv reads no sources of a project that it does not manage
        if self.context.without_sources or name in self.context.sourceless:
            return None
        found = self._entry(name)
        if found is None:
            if self._is_member(name):
                raise BadSource(
                    None,
                    f"`{name}` is a member of the workspace, but no source says so",
                    f"Add `{name} = {{ workspace = true }}` to [tool.uv.sources].",
                )
            return None
        try:
            return self._applying(found, section)
        except BadSource as error:
            error.of_root = not found.is_own
            raise

    def _entry(self, name: NormalizedName) -> "_Entry | None":
        """The entry for a name: the project's own, otherwise that of the workspace's root."""
        workspace = self.context.workspace
        own = _Entry.find(name, self.uv, self._own_keys, self.file, is_own=True)
        if own is not None or workspace is None:
            return own
        return self._entry_of_root(name, workspace)

    def _entry_of_root(self, name: NormalizedName, workspace: UvWorkspace) -> "_Entry | None":
        return _Entry.find(name, workspace.uv, self._root_keys, workspace.file, is_own=False)

    def _is_member(self, name: NormalizedName) -> bool:
        workspace = self.context.workspace
        return workspace is not None and name in workspace.members and name != self.project

    def _applying(self, entry: "_Entry", section: Section) -> Source | None:
        for table in entry.tables():
            if self._is_member(entry.name) and not table.get("workspace"):
                raise BadSource(
                    entry.key,
                    "is not `{ workspace = true }`, though it is a member of the workspace",
                    f"Write `{entry.key} = {{ workspace = true }}`.",
                )
            _check(table, entry.key)
            if _applies(table, self.markers, section, entry.key):
                return self._source(table, entry)
        if self._is_member(entry.name):
            raise NotWanted
        return None

    def _source(self, table: Mapping[str, Any], entry: "_Entry") -> Source:
        if "workspace" in table:
            return self._of_workspace(table, entry)
        kept = {k: v for k, v in table.items() if k not in ("marker", "extra", "group")}
        if "index" in table:
            return Source(kept, self._index(table["index"], entry.key))
        if "path" in table:
            if "\0" in table["path"]:
                raise BadSource(entry.key, "has a `path` with a NUL character in it")
            place = (entry.folder / from_home(table["path"])).resolve()
            if not self.context.exists(place):
                raise BadSource(
                    entry.key,
                    f"is a path that does not exist: {place}",
                    "Create it, or correct the path; it is looked for again in every pass.",
                )
            if self.context.endless(place):
                raise BadSource(entry.key, f"is neither a file nor a folder: {place}", _NO_PIPE)
            kept["path"] = str(place)
        return Source(kept)

    def refuse_endless(self, url: str) -> None:
        """Refuse the URL of a requirement that leads to a pipe or a device of this machine.

        Raises:
            BadSource: It does; uv would wait for its end.
        """
        place = local_path(url)
        if place is not None and self.context.endless(place):
            raise BadSource(None, f"{place} is neither a file nor a folder", _NO_PIPE)

    def _index(self, name: str, key: str) -> Mapping[str, Any] | None:
        """The table of the index with that name; None if uv knows it from a variable."""
        if name in self._indexes:
            table, folder = self._indexes[name]
            if not isinstance(table.get("url"), str):
                raise BadSource(key, f"refers to the index `{name}`, which has no `url`",
                                f"Add the `url` to the index `{name}`.")  # fmt: skip
            return {**table, "url": absolute_address(table["url"], folder)}
        if name in self.context.index_names:
            return None
        raise BadSource(
            key,
            f"refers to the index `{name}`, which is not declared",
            f'Add a [[tool.uv.index]] table with `name = "{name}"` and its `url`.',
        )

    def _of_workspace(self, table: Mapping[str, Any], entry: "_Entry") -> Source:
        workspace = self._workspace_of(table["workspace"], entry)
        member = workspace.members.get(entry.name) if workspace else None
        if member is None and entry.name == self.project:
            return Source({"path": str(self.file.parent), "editable": True})
        if member is None:
            raise BadSource(
                entry.key,
                "refers to the workspace, which has no such member",
                "Add the project's folder to `members` in [tool.uv.workspace], or correct the "
                "source.",
            )
        editable = self._editable(table, entry.name) if member.is_package else False
        return Source({"path": str(member.folder), "editable": editable})

    def _workspace_of(self, value: object, entry: "_Entry") -> UvWorkspace | None:
        if value is False:
            raise BadSource(entry.key, "says `workspace = false`, which uv does not support")
        if isinstance(value, str):
            return self.context.named.get(entry.folder / value)
        return self.context.workspace

    def _editable(self, table: Mapping[str, Any], name: NormalizedName) -> bool:
        """uv goes by the root's entry if there is one, otherwise by the project's own."""
        workspace = self.context.workspace
        root = self._entry_of_root(name, workspace) if workspace else None
        if root is not None and isinstance(table["workspace"], bool):
            table = next((t for t in root.tables() if "workspace" in t), table)
        return bool(table.get("editable", True))


class _Entry(msgspec.Struct, frozen=True):
    """What `[tool.uv.sources]` of one file says about one package."""

    name: NormalizedName
    key: str
    value: object
    folder: Path
    is_own: bool

    @classmethod
    def find(
        cls, name: NormalizedName, uv: Mapping[str, Any], keys: _Keys, file: Path, *, is_own: bool
    ) -> "_Entry | None":
        key = keys.get(name)
        return None if key is None else cls(name, key, uv["sources"][key], file.parent, is_own)

    def tables(self) -> Iterator[Mapping[str, Any]]:
        for table in self.value if isinstance(self.value, list) else [self.value]:
            if not isinstance(table, dict):
                raise BadSource(self.key, "must be a table, or a list of tables")
            yield table


def _keys_of(uv: Mapping[str, Any]) -> _Keys:
    """The first key for each name in `[tool.uv.sources]`."""
    sources = uv.get("sources")
    keys: dict[NormalizedName, str] = {}
    for key in sources if isinstance(sources, dict) else ():
        keys.setdefault(canonicalize_name(key), key)
    return keys


def _applies(
    table: Mapping[str, Any], markers: Mapping[str, str], section: Section, key: str
) -> bool:
    for word, own in (("extra", section.extra), ("group", section.group)):
        if word in table and (own is None or canonicalize_name(str(table[word])) != own):
            return False
    try:
        return "marker" not in table or marker_in(table["marker"]).evaluate(dict(markers))
    except (InvalidMarker, UndefinedComparison, UndefinedEnvironmentName, TypeError) as error:
        raise BadSource(key, f"has an invalid marker: {table['marker']!r}") from error


def _check(table: Mapping[str, Any], key: str) -> None:
    """Refuse what uv would refuse: it would refuse the whole file for it."""
    kinds = [kind for kind in _KINDS if kind in table]
    if len(kinds) != 1:
        raise BadSource(key, f"must have exactly one of {', '.join(_KINDS)}")
    [kind] = kinds
    for word, value in table.items():
        if word not in _TEXTS | _FLAGS | {"workspace"}:
            raise BadSource(key, f"has an unknown key, `{word}`")
        if kind not in _ONLY_WITH.get(word, kinds):
            raise BadSource(key, f"cannot have both `{kind}` and `{word}`")
        if word == "marker":
            continue  # read below, with words of its own
        right = str if word in _TEXTS else bool if word in _FLAGS else (bool, str)
        if not isinstance(value, right):
            raise BadSource(key, f"has a wrong kind of value for `{word}`: {value!r}")
    if sum(word in table for word in _REVISIONS) > 1:
        raise BadSource(key, f"can have only one of {', '.join(_REVISIONS)}")
    if "extra" in table and "group" in table:
        raise BadSource(key, "cannot have both `extra` and `group`")
    if kind in ("git", "url") and not parts_of(table[kind]).scheme:
        raise BadSource(key, f"has a `{kind}` that is not a URL: {table[kind]!r}")


def absolute_address(url: str, folder: Path) -> str:
    """An index's URL, or the path that is written in its place, made absolute."""
    if "://" in url or url.startswith("file:"):
        return url
    return os.path.normpath(folder / from_home(url))
