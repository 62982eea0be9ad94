"""Installed packages that require a hold by URL (`torch @ https://...`).

uv would compare that URL with the one of the hold's stub and find no solution. If the held build
has the required version, uv gets the package's metadata with that version in place of the URL.
"""

from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from reconciler.state.distribution import Distribution
from reconciler.state.holds import HoldSet, is_build_at, version_at
from reconciler.state.installed import Installed


def metadata_without_addresses(installed: Installed, holds: HoldSet) -> tuple[dict[str, Any], ...]:
    """uv's `dependency-metadata` for such packages."""
    return tuple(
        _rewritten(found, holds)
        for found in installed.distributions.values()
        if not holds.covers(found.name)
        and not _may_change(found)
        and any(_is_held_at(r, holds) for r in found.requires)
    )


def _may_change(found: Distribution) -> bool:
    """Whether it comes from a folder or a repository: its requirements may differ by now."""
    origin = found.direct_url
    return origin is not None and version_at(origin.url) is None


def _rewritten(found: Distribution, holds: HoldSet) -> dict[str, Any]:
    return {
        "name": found.name,
        "version": str(found.version),
        "requires-dist": [str(_by_version(r, holds)) for r in found.requires],
        "provides-extra": sorted(found.provides_extra),
    }


def _is_held_at(requirement: Requirement, holds: HoldSet) -> bool:
    held, url = holds.held.get(canonicalize_name(requirement.name)), requirement.url
    return held is not None and url is not None and is_build_at(held.version, url)


def _by_version(requirement: Requirement, holds: HoldSet) -> Requirement:
    """The requirement; if it is a hold by URL, then by the held version instead."""
    if not _is_held_at(requirement, holds):
        return requirement
    bare = Requirement(str(requirement))
    bare.url = None
    bare.specifier = SpecifierSet(f"=={holds.held[canonicalize_name(bare.name)].version}")
    return bare
