"""Which installed packages can be hurt by a change: what changes, and what requires it.

Pure. A requirement counts if it applies on the target with the extras that someone asks for.
"""

from collections.abc import Collection, Iterable, Mapping

import msgspec
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.state.installed import Installed

Edges = Mapping[NormalizedName, frozenset[NormalizedName]]


class DependencyGraph(msgspec.Struct, frozen=True):
    """What each installed package requires, and what requires it; directly."""

    required: Edges
    dependents: Edges

    def all_dependents(self, names: Iterable[NormalizedName]) -> frozenset[NormalizedName]:
        """What requires one of these, directly or not; without them, unless they do too."""
        return _reached(self.dependents, names)

    def nearest(
        self, name: NormalizedName, among: Collection[NormalizedName]
    ) -> list[NormalizedName]:
        """Which of these a package requires, directly or not; the nearest first."""
        order, seen = [name], {name}
        for one in order:
            fresh = sorted(self.required.get(one, frozenset()) - seen)
            order += fresh
            seen |= set(fresh)
        return [one for one in order[1:] if one in among]

    def most_required(self, names: Iterable[NormalizedName]) -> list[NormalizedName]:
        """These names, those that the most packages require first."""
        weight = {name: len(self.all_dependents([name])) for name in names}
        return sorted(weight, key=lambda name: (-weight[name], name))


def needs_of(
    installed: Installed, declared: Iterable[Requirement], markers: Mapping[str, str]
) -> DependencyGraph:
    """The requirements between installed packages.

    Args:
        installed: The packages.
        declared: What the project declares; it may ask for extras.
        markers: The target's PEP 508 environment.
    """
    extras: dict[NormalizedName, set[str]] = {}
    for requirement in declared:
        extras.setdefault(canonicalize_name(requirement.name), set()).update(requirement.extras)
    required: dict[NormalizedName, frozenset[NormalizedName]] = {}
    waiting = set(installed.distributions)
    while waiting:
        name = waiting.pop()
        found = installed.distributions[name].requires.applying(markers, extras.get(name, ()))
        required[name] = frozenset(canonicalize_name(r.name) for r in found) - {name}
        for requirement in found:
            other = canonicalize_name(requirement.name)
            known = extras.setdefault(other, set())
            if not known.issuperset(requirement.extras):
                known |= requirement.extras
                waiting |= {other} & set(installed.distributions)
    return DependencyGraph(required, _reversed(required))


def _reversed(edges: Edges) -> Edges:
    found: dict[NormalizedName, set[NormalizedName]] = {}
    for name, others in edges.items():
        for other in others:
            found.setdefault(other, set()).add(name)
    return {name: frozenset(others) for name, others in found.items()}


def _reached(edges: Edges, names: Iterable[NormalizedName]) -> frozenset[NormalizedName]:
    found: set[NormalizedName] = set()
    waiting = list(names)
    while waiting:
        fresh = edges.get(waiting.pop(), frozenset()) - found
        found |= fresh
        waiting += fresh
    return frozenset(found)
