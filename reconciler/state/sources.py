"""Where a single requirement is to come from, when not simply from the indexes.

`[tool.uv.sources]` and PEP 508 direct references, with paths made absolute, and how
an installed copy shows the same origin (PEP 610).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.utils import canonicalize_name

_PLACE_KEYS = ("path", "url", "git")


@dataclass(frozen=True, slots=True)
class Source:
    """One `[tool.uv.sources]` entry that applies to the target, paths absolute."""

    table: Mapping[str, Any]

    @property
    def is_direct(self) -> bool:
        """Whether it names the package's very place, not an index to look in."""
        return any(key in self.table for key in _PLACE_KEYS)

    @property
    def is_editable(self) -> bool:
        """Whether the package is to be installed as an editable one."""
        return bool(self.table.get("editable", False))

    @property
    def url(self) -> str | None:
        """The place as the URL that PEP 610 would record; None for an index."""
        if "path" in self.table:
            return Path(self.table["path"]).as_uri()
        place = self.table.get("url", self.table.get("git"))
        return str(place) if place is not None else None

    @property
    def revision(self) -> str | None:
        """The tag, branch or commit asked for, of a git source."""
        for key in ("rev", "tag", "branch"):
            if key in self.table:
                return str(self.table[key])
        return None


@dataclass(frozen=True, slots=True)
class DirectUrl:
    """What PEP 610's `direct_url.json` records of an installed distribution."""

    url: str
    editable: bool = False
    is_directory: bool = False
    vcs_revision: str | None = None
    commit: str | None = None
    subdirectory: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "DirectUrl":
        """Read a decoded `direct_url.json`; unknown keys are ignored."""
        directory = data.get("dir_info")
        vcs = data.get("vcs_info") or {}
        return cls(
            url=str(data.get("url", "")),
            editable=bool((directory or {}).get("editable", False)),
            is_directory=directory is not None,
            vcs_revision=vcs.get("requested_revision"),
            commit=vcs.get("commit_id"),
            subdirectory=data.get("subdirectory"),
        )


def sources_for(
    name: str, sources: Mapping[str, Any], base: Path, markers: Mapping[str, str], origin: str
) -> Source | None:
    """The source that applies to `name` on the target, or None.

    Args:
        name: The required package, in any spelling.
        sources: The `[tool.uv.sources]` table.
        base: The folder that relative paths start from.
        markers: The target's PEP 508 environment.
        origin: Where the requirement stands, to match `extra` and `group`.
    """
    wanted = canonicalize_name(name)
    for key, entry in sources.items():
        if canonicalize_name(key) != wanted:
            continue
        for table in entry if isinstance(entry, list) else [entry]:
            if isinstance(table, dict) and _applies(table, markers, origin):
                return Source(_absolute(table, base))
    return None


def _applies(table: Mapping[str, Any], markers: Mapping[str, str], origin: str) -> bool:
    owner = origin.rsplit(".", 1)[-1]
    if any(key in table and table[key] != owner for key in ("extra", "group")):
        return False
    try:
        return "marker" not in table or Marker(table["marker"]).evaluate(dict(markers))
    except InvalidMarker:
        return False


def _absolute(table: Mapping[str, Any], base: Path) -> dict[str, Any]:
    kept = {k: v for k, v in table.items() if k not in ("marker", "extra", "group")}
    if isinstance(kept.get("path"), str):
        kept["path"] = str((base / Path(kept["path"]).expanduser()).resolve())
    return kept


def same_place(asked: str, installed: str) -> bool:
    """Whether two URLs mean the same place; fragments, credentials and `git+` aside."""
    return _plain(asked) == _plain(installed)


def _plain(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url.removeprefix("git+"))
    host = parts.netloc.rpartition("@")[2]
    path = unquote(parts.path).rstrip("/").removesuffix(".git")
    if parts.scheme.startswith("git") or "@" in path:
        path = path.partition("@")[0]
    return parts.scheme, host, path
