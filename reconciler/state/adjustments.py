"""What the user's uv settings make of requirements: overridden, left out, bounded, replaced.

Pure. Without it a package that uv is told to see differently would be drift for ever.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from reconciler.state.holds import requires_of
from reconciler.state.installed import Distribution
from reconciler.state.markers import applies
from reconciler.state.requires import Requires

_ByName = Mapping[NormalizedName, tuple[Requirement, ...]]


@dataclass(frozen=True)
class Adjustments:
    """uv's `override-`, `exclude-` and `constraint-dependencies`, and `dependency-metadata`.

    `metadata` is what the user says that a package requires, of a version or of any (None).
    """

    overrides: _ByName = field(default_factory=dict)
    excluded: frozenset[NormalizedName] = frozenset()
    constraints: _ByName = field(default_factory=dict)
    metadata: Mapping[tuple[NormalizedName, Version | None], tuple[Requirement, ...]] = field(
        default_factory=dict
    )

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Adjustments":
        """From sifted uv settings; what uv would not understand is uv's to report."""
        excluded = settings.get("exclude-dependencies", ())
        return cls(
            overrides=_by_name(settings.get("override-dependencies", ())),
            excluded=frozenset(canonicalize_name(str(n)) for n in excluded),
            constraints=_by_name(settings.get("constraint-dependencies", ())),
            metadata=dict(_metadata(settings.get("dependency-metadata", ()))),
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

    def requires_of(
        self, distribution: Distribution, markers: Mapping[str, str], extras: Iterable[str]
    ) -> Iterator[Requirement]:
        """What a distribution requires on the target, as uv sees it."""
        for key in ((distribution.name, distribution.version), (distribution.name, None)):
            if key in self.metadata:
                distribution = replace(distribution, requires=Requires(self.metadata[key]))
                break
        return self.apply(requires_of(distribution, markers, extras), markers)

    def out_of_bounds(self, found: Distribution, markers: Mapping[str, str]) -> str | None:
        """Why an installed distribution is outside what the constraints allow, or None."""
        for constraint in self.constraints.get(found.name, ()):
            if applies(constraint.marker, markers) and not constraint.specifier.contains(
                found.version, prereleases=True
            ):
                bound = f"{found.name}{constraint.specifier}"
                return f"{found.version} is installed, constraint-dependencies says {bound}"
        return None


def _by_name(entries: Iterable[object]) -> _ByName:
    found: dict[NormalizedName, tuple[Requirement, ...]] = {}
    for requirement in _requirements(entries):
        name = canonicalize_name(requirement.name)
        found[name] = (*found.get(name, ()), requirement)
    return found


def _requirements(entries: Iterable[object]) -> Iterator[Requirement]:
    for entry in entries:
        text = entry.get("requirement") if isinstance(entry, dict) else entry
        try:
            yield Requirement(str(text))
        except InvalidRequirement:
            continue


def _metadata(
    entries: Iterable[object],
) -> Iterator[tuple[tuple[NormalizedName, Version | None], tuple[Requirement, ...]]]:
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            continue
        version, requires = entry.get("version"), entry.get("requires-dist", ())
        try:
            key = canonicalize_name(entry["name"]), Version(version) if version else None
        except (InvalidVersion, TypeError):
            continue
        yield key, tuple(_requirements(requires if isinstance(requires, list) else ()))
