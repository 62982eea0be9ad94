"""Which requirements to leave out if they cannot all be installed together.

Pure: does not know uv, only a question that can be asked about any subset. Finds the largest
installable subset (by weight; among equals, the one that keeps earlier declarations) with
implicit hitting sets: each "no" is shrunk to a minimal core, and a smallest choice that hits
every core is left out next.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

Solve = Callable[[Sequence[int]], "Unsatisfiable | None"]
"""Whether the items with these indices can be installed together: None, or why not."""

_MAX_COMBINED = 6


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """Why a set of items cannot be installed; `suspects` are those that the reason names."""

    reason: str
    suspects: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Core:
    """A minimal set of items that cannot be installed together, and the reason."""

    items: frozenset[int]
    reason: str


@dataclass(frozen=True, slots=True)
class Division:
    """What can be installed, and for each item left out, the core that it belongs to."""

    kept: tuple[int, ...]
    left_out: dict[int, Core]


def divide(weights: Sequence[int], solve: Solve) -> Division:
    """Split the items 0 to n-1 into a largest installable set and the rest.

    Args:
        weights: The cost of leaving out each item.
        solve: Called at most a few times for each item that is left out.

    Raises:
        UnsolvableError: Not even the empty set can be installed.
    """
    everything = range(len(weights))
    cores: list[Core] = []
    while True:
        out = _cheapest_hitting_set([c.items for c in cores], weights)
        kept = tuple(i for i in everything if i not in out)
        refusal = solve(kept)
        if refusal is None:
            return Division(kept, {i: _core_of(i, cores) for i in sorted(out)})
        core = _shrink(kept, refusal, solve)
        if not core.items:
            # Not even the empty set works: no item is to blame.
            raise UnsolvableError(core.reason)
        cores.append(core)


class UnsolvableError(Exception):
    """Even the empty set is refused; the message says why."""


def _core_of(item: int, cores: Iterable[Core]) -> Core:
    return next(core for core in cores if item in core.items)


def _shrink(items: tuple[int, ...], refusal: Unsatisfiable, solve: Solve) -> Core:
    """A minimal part of `items` that is refused: start with what the reason names, then shrink."""
    core = items
    named = tuple(i for i in items if i in refusal.suspects)
    if named and named != items:
        again = solve(named)
        if again is not None:
            core, refusal = named, again
    core, refusal = _drop_halves(core, refusal, solve)
    for item in core if len(core) > 1 else ():
        less = tuple(i for i in core if i != item)
        again = solve(less)
        if again is not None:
            core, refusal = less, again
    return Core(frozenset(core), refusal.reason)


def _drop_halves(
    core: tuple[int, ...], refusal: Unsatisfiable, solve: Solve
) -> tuple[tuple[int, ...], Unsatisfiable]:
    """While one half of a large core is refused by itself, continue with that half."""
    while len(core) > 4:
        middle = len(core) // 2
        for half in (core[middle:], core[:middle]):
            again = solve(half)
            if again is not None:
                core, refusal = half, again
                break
        else:
            break
    return core, refusal


def _cheapest_hitting_set(
    cores: Sequence[frozenset[int]], weights: Sequence[int]
) -> frozenset[int]:
    """The cheapest items that hit every core; among equals, the later ones are left out."""
    forced = frozenset(i for core in cores if len(core) == 1 for i in core)
    open_cores = [core for core in cores if not core & forced]
    return forced.union(*(_cheapest_of_one(group, weights) for group in _unrelated(open_cores)))


def _unrelated(cores: Iterable[frozenset[int]]) -> list[list[frozenset[int]]]:
    """The cores in groups that share no item, so that each group can be solved separately."""
    groups: list[list[frozenset[int]]] = []
    for core in cores:
        related = [g for g in groups if any(core & other for other in g)]
        groups = [g for g in groups if g not in related]
        groups.append([core, *(other for g in related for other in g)])
    return groups


def _cheapest_of_one(group: Sequence[frozenset[int]], weights: Sequence[int]) -> frozenset[int]:
    """Try every choice, the smallest first."""
    pool = sorted(frozenset().union(*group))
    best: tuple[int, tuple[int, ...], frozenset[int]] | None = None
    for size in range(1, min(len(group), _MAX_COMBINED) + 1):
        for chosen in combinations(pool, size):
            candidate = frozenset(chosen)
            if all(core & candidate for core in group):
                key = (sum(weights[i] for i in chosen), tuple(sorted(-i for i in chosen)))
                if best is None or key < best[:2]:
                    best = (*key, candidate)
    if best is None:  # too many for an exact answer: the latest of each core
        return frozenset(max(core) for core in group)
    return best[2]
