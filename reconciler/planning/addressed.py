"""Packages that require a hold by URL (`torch @ https://...`): installed, or a folder declared.

uv would compare that URL with the one of the hold's stub and find no solution. If the held build
has the required version, uv gets the package's metadata with that version in place of the URL.
"""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from reconciler.files.deciding import read_deciding_text
from reconciler.files.parsing import toml_of
from reconciler.state.bounds import marker_in, requirement_in
from reconciler.state.declared import Declared
from reconciler.state.desired import Desired
from reconciler.state.distribution import Distribution
from reconciler.state.holds import HoldSet, is_build_at, version_at
from reconciler.state.installed import Installed
from reconciler.state.requires import Requires


def metadata_without_addresses(
    installed: Installed, desired: Desired | None, holds: HoldSet
) -> tuple[dict[str, Any], ...]:
    """uv's `dependency-metadata` for such packages."""
    packages = [d for d in installed.distributions.values() if not _may_change(d)]
    folders = filter(None, map(_folder_of, desired.requirements if desired else ()))
    packages += filter(None, (_static_project(folder, holds) for folder in folders))
    return tuple(
        _rewritten(found, holds)
        for found in packages
        if not holds.covers(found.name) and any(_is_held_at(r, holds) for r in found.requires)
    )


def _folder_of(declared: Declared) -> Path | None:
    """The folder that a requirement is declared to come from, if any."""
    url = declared.requirement.url or (declared.source.url if declared.source else None) or ""
    path = Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None
    return path if path is not None and path.is_dir() else None


def _static_project(folder: Path, holds: HoldSet) -> Distribution | None:
    """What its pyproject.toml says, if that is all there is to know about its requirements."""
    try:
        document = toml_of(read_deciding_text(folder / "pyproject.toml"))
        project, sources = document["project"], document.get("tool", {}).get("uv", {})
        elsewhere = {canonicalize_name(n) for n in sources.get("sources", {})} - holds.held.keys()
        dynamic = {"version", "dependencies", "optional-dependencies"}.intersection(
            project.get("dynamic", ())
        )
        if dynamic or elsewhere:
            return None
        extras = project.get("optional-dependencies", {})
        lines = [*project.get("dependencies", ())]
        lines += [_for_extra(line, extra) for extra, those in extras.items() for line in those]
        return Distribution(
            canonicalize_name(project["name"]), Version(project["version"]), folder,
            Requires.of(lines), frozenset(map(canonicalize_name, extras)),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # uv says what is wrong with it


def _for_extra(line: str, extra: str) -> str:
    requirement = requirement_in(line)
    only = f'extra == "{canonicalize_name(extra)}"'
    marker = f"({requirement.marker}) and {only}" if requirement.marker else only
    requirement.marker = marker_in(marker)
    return str(requirement)


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
