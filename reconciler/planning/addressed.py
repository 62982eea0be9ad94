"""Installed packages that require a hold by URL (`torch @ https://...`).

uv would compare that URL with the one of the hold's stub and find no solution. If the held build
has the required version, uv gets the package's metadata with that version in place of the URL.
"""

from collections.abc import Iterator
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from reconciler.environment.snapshot import Snapshot
from reconciler.state.holds import HoldSet, is_build_at
from reconciler.state.installed import Distribution


def metadata_without_addresses(snapshot: Snapshot) -> tuple[dict[str, Any], ...]:
    """uv's `dependency-metadata` for such packages, except those that the user wrote some for."""
    written = {
        canonicalize_name(str(table.get("name")))
        for table in snapshot.settings.get("dependency-metadata", ())
    }
    holds = snapshot.holds
    return tuple(_rewritten(snapshot.installed.distributions[n], holds) for n in _names(snapshot, written))


def _names(snapshot: Snapshot, written: set[Any]) -> Iterator[Any]:
    for name, found in snapshot.installed.distributions.items():
        origin = found.direct_url
        # The metadata of a folder may have changed since it was installed.
        folder = origin is not None and origin.is_folder
        if folder or name in written or snapshot.holds.covers(name):
            continue
        if any(_is_held_there(r, snapshot.holds) for r in found.requires):
            yield name


def _rewritten(found: Distribution, holds: HoldSet) -> dict[str, Any]:
    return {
        "name": found.name,
        "version": str(found.version),
        "requires-dist": [_without_address(r, holds) for r in found.requires],
        "provides-extra": sorted(found.provides_extra),
    }


def _is_held_there(requirement: Requirement, holds: HoldSet) -> bool:
    held = holds.held.get(canonicalize_name(requirement.name))
    url = requirement.url
    return held is not None and url is not None and is_build_at(held.version, url)


def _without_address(requirement: Requirement, holds: HoldSet) -> str:
    if not _is_held_there(requirement, holds):
        return str(requirement)
    bare = Requirement(str(requirement))
    bare.url = None
    held = holds.held[canonicalize_name(requirement.name)]
    bare.specifier = SpecifierSet(f"=={held.version}")
    return str(bare)
