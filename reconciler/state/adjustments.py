"""How the user's uv settings change requirements: they override, exclude, bound or replace them.

Pure. Without this, a package with changed requirements would be drift forever.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from msgspec.structs import replace
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from reconciler.state.bounds import requirement_in, version_in
from reconciler.state.causes import OutOfBounds
from reconciler.state.holds import requires_of
from reconciler.state.installed import Distribution
from reconciler.state.markers import applies
from reconciler.state.requires import Requires

_ByName = Mapping[NormalizedName, tuple[Requirement, ...]]
_Scope = tuple[NormalizedName, Version | None]
"""A package, in one version or in any version (None)."""


class Adjustments(msgspec.Struct, frozen=True):
    """uv's `override-`, `exclude-` and `constraint-dependencies`, and `dependency-metadata`.

    `metadata` has the requirements that the user declares for a package. `scoped` applies only
    to the requirements of one package.
    """

    overrides: _ByName = msgspec.field(default_factory=dict)
    excluded: frozenset[NormalizedName] = frozenset()
    constraints: _ByName = msgspec.field(default_factory=dict)
    metadata: Mapping[_Scope, tuple[Requirement, ...]] = msgspec.field(default_factory=dict)
    scoped: Mapping[_Scope, "Adjustments"] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Adjustments":
        """From filtered uv settings; uv itself reports what it does not understand."""
        overrides = _entries(settings, "override-dependencies")
        excluded = _entries(settings, "exclude-dependencies")
        return cls(
            overrides=_by_name(overrides),
            excluded=_names(excluded),
            scoped=_scoped(overrides, excluded),
            constraints=_by_name(_entries(settings, "constraint-dependencies")),
            metadata=dict(_metadata(_entries(settings, "dependency-metadata"))),
        )

    def apply(
        self, requirements: Iterable[Requirement], markers: Mapping[str, str]
    ) -> Iterator[Requirement]:
        """The requirements as uv sees them."""
        for requirement in requirements:
            name = canonicalize_name(requirement.name)
            if name in self.excluded:
                continue
            if name in self.overrides:
                yield from (o for o in self.overrides[name] if applies(o.marker, markers))
            else:
                yield requirement

    def of_project(
        self, requirements: Iterable[Requirement], markers: Mapping[str, str]
    ) -> Iterator[Requirement]:
        """What the project declares, as uv sees it; a marker counts unless it is overridden."""
        return self.apply(
            (
                requirement for requirement in requirements
                if canonicalize_name(requirement.name) in self.overrides
                or applies(requirement.marker, markers)
            ),
            markers,
        )  # fmt: skip

    def requires_of(
        self,
        distribution: Distribution,
        markers: Mapping[str, str],
        extras: Iterable[str],
        *,
        first: bool = True,
    ) -> Iterator[Requirement]:
        """What a distribution requires on the target, as uv sees it; `first` as for holds."""
        keys = ((distribution.name, distribution.version), (distribution.name, None))
        described = next((self.metadata[key] for key in keys if key in self.metadata), None)
        if described is not None:
            distribution = replace(distribution, requires=Requires(described))
        adjusted = self
        for key in keys:
            if key in self.scoped:
                adjusted = adjusted.within(self.scoped[key])
        relevant = adjusted.relevant(distribution, markers, extras, first=first)
        return adjusted.apply(relevant, markers)

    def relevant(
        self,
        distribution: Distribution,
        markers: Mapping[str, str],
        extras: Iterable[str],
        *,
        first: bool = True,
    ) -> Iterator[Requirement]:
        """What applies on the target, or would not but is overridden.

        uv replaces the whole requirement, with its marker; only the extra still counts.
        """
        applying = requires_of(distribution, markers, extras := tuple(extras), first=first)
        yield from applying
        seen = {canonicalize_name(requirement.name) for requirement in applying}
        if not self.overrides:
            return
        always = (r for r in distribution.requires.always if "extra" not in str(r.marker))
        for requirement in (*(always if first else ()), *distribution.requires.only_with(extras)):
            name = canonicalize_name(requirement.name)
            if name in self.overrides and name not in seen:
                seen.add(name)
                yield requirement

    def within(self, scoped: "Adjustments") -> "Adjustments":
        """These together with those of one package, which take precedence."""
        overrides = {**self.overrides, **scoped.overrides}
        return replace(self, overrides=overrides, excluded=self.excluded | scoped.excluded)

    def out_of_bounds(self, found: Distribution, markers: Mapping[str, str]) -> OutOfBounds | None:
        """How an installed distribution violates the constraints, or None."""
        for constraint in self.constraints.get(found.name, ()):
            if applies(constraint.marker, markers) and not constraint.specifier.contains(
                found.version, prereleases=True
            ):
                return OutOfBounds(found.version, f"{found.name}{constraint.specifier}")
        return None


def _entries(settings: Mapping[str, Any], key: str) -> list[object]:
    found = settings.get(key)
    return list(found) if isinstance(found, list | tuple) else []


def _by_name(entries: Iterable[object]) -> _ByName:
    found: dict[NormalizedName, list[Requirement]] = {}
    for requirement in _requirements(entries):
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return {name: tuple(requirements) for name, requirements in found.items()}


def _requirements(entries: Iterable[object]) -> Iterator[Requirement]:
    for entry in entries:
        if isinstance(entry, str):
            with suppress(InvalidRequirement):
                yield requirement_in(entry)


def _names(entries: Iterable[object]) -> frozenset[NormalizedName]:
    return frozenset(canonicalize_name(name) for name in entries if isinstance(name, str))


def _scoped(overrides: Iterable[object], exclusions: Iterable[object]) -> dict[_Scope, Adjustments]:
    """Those from entries like `{package = {name = ..., version = ...}, dependencies = [...]}`."""
    found: dict[_Scope, Adjustments] = {}
    for key, dependencies in _scopes(overrides):
        more = Adjustments(overrides=_by_name(dependencies))
        found[key] = found.get(key, Adjustments()).within(more)
    for key, dependencies in _scopes(exclusions):
        more = Adjustments(excluded=_names(dependencies))
        found[key] = found.get(key, Adjustments()).within(more)
    return found


def _scopes(entries: Iterable[object]) -> Iterator[tuple[_Scope, list[object]]]:
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("package"), dict):
            key = _scope(entry["package"])
            dependencies = entry.get("dependencies")
            if key is not None and isinstance(dependencies, list):
                yield key, dependencies


def _scope(table: Mapping[str, Any]) -> _Scope | None:
    name, version = table.get("name"), table.get("version")
    if not isinstance(name, str):
        return None
    if not version:
        return canonicalize_name(name), None
    known = version_in(version) if isinstance(version, str) else None
    return (canonicalize_name(name), known) if known else None


def _metadata(entries: Iterable[object]) -> Iterator[tuple[_Scope, tuple[Requirement, ...]]]:
    for entry in entries:
        key = _scope(entry) if isinstance(entry, dict) else None
        if isinstance(entry, dict) and key is not None:
            requires = entry.get("requires-dist", ())
            yield key, tuple(_requirements(requires if isinstance(requires, list) else ()))
