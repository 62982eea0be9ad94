"""Where a single requirement comes from, if not simply from the indexes.

A source (`lowering` finds it) or a PEP 508 direct reference, with absolute paths, and the
recorded origin of an installed copy (PEP 610).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec

from reconciler.state.locations import parts_of

_PLACE_KEYS = ("path", "url", "git")


@dataclass(frozen=True, slots=True)
class Source:
    """One `[tool.uv.sources]` entry that applies to the target, with absolute paths.

    `index` is the `[[tool.uv.index]]` table that it refers to: uv looks for one in the file that
    has the source (uv-facts 12b).
    """

    table: Mapping[str, Any]
    index: Mapping[str, Any] | None = field(default=None, repr=False)

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
        folder = parse_qs(fragment).get("subdirectory", [None])[0]  # a requirement is short
        if not place.startswith("git+"):
            return cls({"url": place, "subdirectory": folder, "editable": None})
        parts = parts_of(place.removeprefix("git+"))
        path, _, revision = (
            parts.path.rpartition("@") if "@" in parts.path else (parts.path, "", "")
        )
        git = parts._replace(path=path).geturl()
        return cls({"git": git, "rev": revision or None, "subdirectory": folder, "editable": None})


class DirectUrl(msgspec.Struct, frozen=True):
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
        editable = _table(data.get("dir_info")).get("editable")
        return cls(
            url=_text(data.get("url")) or "",
            editable=editable if isinstance(editable, bool) else None,
            is_folder="dir_info" in data,
            vcs_revision=_text(vcs.get("requested_revision")),
            commit=_text(vcs.get("commit_id")),
            subdirectory=_text(data.get("subdirectory")),
        )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
