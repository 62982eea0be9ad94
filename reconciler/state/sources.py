"""Where a single requirement comes from, if not simply from the indexes.

`[tool.uv.sources]` and PEP 508 direct references, with absolute paths, and the recorded
origin of an installed copy (PEP 610).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from packaging.markers import (
    InvalidMarker,
    Marker,
    UndefinedComparison,
    UndefinedEnvironmentName,
)
from packaging.utils import NormalizedName, canonicalize_name

_PLACE_KEYS = ("path", "url", "git")


@dataclass(frozen=True, slots=True)
class Source:
    """One `[tool.uv.sources]` entry that applies to the target, with absolute paths."""

    table: Mapping[str, Any]

    @property
    def is_direct(self) -> bool:
        """Whether it names the exact location of the package, not an index to search."""
        return any(key in self.table for key in _PLACE_KEYS)

    @property
    def is_editable(self) -> bool | None:
        """Whether the package should be editable; None if either is fine."""
        editable = self.table.get("editable", False)
        return None if editable is None else bool(editable)

    @property
    def url(self) -> str | None:
        """The location as the URL that PEP 610 would record; None for an index."""
        if "path" in self.table:
            return Path(self.table["path"]).as_uri()
        place = self.table.get("url", self.table.get("git"))
        return str(place) if place is not None else None

    @property
    def revision(self) -> str | None:
        """The requested tag, branch or commit of a git source."""
        found = (self.table.get(key) for key in ("rev", "tag", "branch"))
        return next((str(revision) for revision in found if revision is not None), None)

    @property
    def subdirectory(self) -> str | None:
        """The folder of the package within the source."""
        folder = self.table.get("subdirectory")
        return str(folder) if folder is not None else None

    @classmethod
    def of_reference(cls, url: str) -> "Source":
        """The same from a PEP 508 direct reference (`name @ URL`)."""
        place, _, fragment = url.partition("#")
        folder = parse_qs(fragment).get("subdirectory", [None])[0]
        if not place.startswith("git+"):
            return cls({"url": place, "subdirectory": folder, "editable": None})
        parts = urlsplit(place.removeprefix("git+"))
        path, _, revision = (
            parts.path.rpartition("@") if "@" in parts.path else (parts.path, "", "")
        )
        git = parts._replace(path=path).geturl()
        return cls({"git": git, "rev": revision or None, "subdirectory": folder, "editable": None})


@dataclass(frozen=True, slots=True)
class DirectUrl:
    """What PEP 610's `direct_url.json` records about an installed distribution."""

    url: str
    editable: bool | None = None
    """None if it is not recorded: uv tells that from False, at least for a folder."""
    is_folder: bool = False
    vcs_revision: str | None = None
    commit: str | None = None
    subdirectory: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "DirectUrl":
        """Read a decoded `direct_url.json`; unknown keys are ignored."""
        vcs = _table(data.get("vcs_info"))
        return cls(
            url=str(data.get("url", "")),
            editable=_table(data.get("dir_info")).get("editable"),
            is_folder="dir_info" in data,
            vcs_revision=vcs.get("requested_revision"),
            commit=vcs.get("commit_id"),
            subdirectory=data.get("subdirectory"),
        )


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


class BadSource(Exception):
    """An invalid entry of `[tool.uv.sources]`; `reason` completes the sentence after its key."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key, reason)
        self.key = key
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Section:
    """The extra or group that a requirement belongs to, if any; names by PEP 503."""

    extra: NormalizedName | None = None
    group: NormalizedName | None = None


def section_of(path: Sequence[str | int]) -> Section:
    """The section of the list of requirements at that key in a `pyproject.toml`."""
    name = canonicalize_name(str(path[-1]))
    if path[0] == "dependency-groups":
        return Section(group=name)
    return Section(extra=name) if "optional-dependencies" in path[:-1] else Section()


def sources_for(
    name: str, sources: Mapping[str, Any], base: Path, markers: Mapping[str, str], section: Section
) -> Source | None:
    """The source that applies to `name` on the target, or None.

    Args:
        name: The required package, in any spelling.
        sources: The `[tool.uv.sources]` table.
        base: The folder that paths are relative to.
        markers: The target's PEP 508 environment.
        section: The requirement's section, to match `extra` and `group`.

    Raises:
        BadSource: The entry is invalid. Ignoring it would take a package of that name from
                somewhere else.
    """
    wanted = canonicalize_name(name)
    for key, entry in sources.items():
        if canonicalize_name(key) != wanted:
            continue
        for table in entry if isinstance(entry, list) else [entry]:
            if not isinstance(table, dict):
                raise BadSource(key, "must be a table, or a list of tables")
            if _applies(table, markers, section, key):
                return Source(_absolute(table, base))
    return None


def _applies(
    table: Mapping[str, Any], markers: Mapping[str, str], section: Section, key: str
) -> bool:
    for word, own in (("extra", section.extra), ("group", section.group)):
        if word in table and (own is None or canonicalize_name(str(table[word])) != own):
            return False
    try:
        return "marker" not in table or Marker(table["marker"]).evaluate(dict(markers))
    except (InvalidMarker, UndefinedComparison, UndefinedEnvironmentName, TypeError) as error:
        raise BadSource(key, f"has an invalid marker: {table['marker']!r}") from error


def _absolute(table: Mapping[str, Any], base: Path) -> dict[str, Any]:
    kept = {k: v for k, v in table.items() if k not in ("marker", "extra", "group")}
    if isinstance(kept.get("path"), str):
        kept["path"] = str((base / Path(kept["path"]).expanduser()).resolve())
    return kept
