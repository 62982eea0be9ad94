"""Makes a project resolvable without its packages: an index with a stub of all that it names.

The stubs are empty wheels in enough versions to satisfy every specifier. What the project's file
says about *where* packages come from is pointed at that index; which names are asked for, and
when, stays as it is.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from tests.support.index import PackageIndex
from tests.support.wheels import make_wheel

_LONG_AGO = "2020-01-01T00:00:00Z"  # `exclude-newer` lets them through
_LISTS = ("override-dependencies", "constraint-dependencies", "build-constraint-dependencies")


def localized(table: dict[str, Any], index_url: str) -> dict[str, Any]:
    """The project with every place replaced by the index."""
    project = table["project"]
    _without_urls(project.get("dependencies", []))
    for lines in project.get("optional-dependencies", {}).values():
        _without_urls(lines)
    for lines in table.get("dependency-groups", {}).values():
        _without_urls(lines)
    uv = table.setdefault("tool", {}).setdefault("uv", {})
    for key in _LISTS:
        _without_urls(uv.get(key, []))
    for index in uv.get("index", []):
        index["url"] = index_url
    uv["sources"] = {name: kept for name, one in uv.get("sources", {}).items()
                     if (kept := _indexes_of(one))}  # fmt: skip
    uv.pop("workspace", None)
    return table


def _without_urls(lines: list[Any]) -> None:
    for number, line in enumerate(lines):
        if isinstance(line, str) and " @ " in line:
            requirement = Requirement(line)
            requirement.url = None
            lines[number] = str(requirement)


def _indexes_of(source: Any) -> Any:
    tables = source if isinstance(source, list) else [source]
    return [table for table in tables if "index" in table]


def stub_everything(table: dict[str, Any], index: PackageIndex, folder: Path) -> None:
    """Put a stub of every name in the project's file on the index."""
    versions: dict[str, set[str]] = defaultdict(set)
    for requirement in _requirements(table):
        versions[canonicalize_name(requirement.name)] |= set(_candidates(requirement))
    for name, candidates in versions.items():
        wheels = [make_wheel(folder, name, version, files={}) for version in sorted(candidates)]
        index.add(*wheels, uploaded=_LONG_AGO)


def _requirements(node: Any) -> Iterator[Requirement]:
    """Whatever in the file may be a requirement; a stub too many does no harm."""
    if isinstance(node, str):
        try:
            yield Requirement(node)
        except InvalidRequirement:
            return
    elif isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _requirements(child)


def _candidates(requirement: Requirement) -> Iterator[str]:
    """Versions on and around each bound, and one above all."""
    yield from ("0.0.1", "99999")
    for clause in requirement.specifier:
        version = clause.version.removesuffix(".*")
        try:
            release = Version(version).release
        except InvalidVersion:
            continue
        yield version
        if not re.search(r"[a-z+]", version):
            yield f"{version}.0.1"
        last = next((n for n in reversed(range(len(release))) if release[n]), None)
        if last is not None:  # the newest below the bound
            yield ".".join(map(str, (*release[:last], release[last] - 1, 99)))
