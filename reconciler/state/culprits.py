"""Which requirements to leave out if they cannot all be installed together.

Pure: does not know uv, only a question that can be asked about any subset. A question is a dry
run, so they are counted: at most 4 + 2 x (items left out) x log2(items).

What always holds: the kept items can be installed together, no item that is left out could be
added to them, and the bound. If uv's reasons name what conflicts, as they do in practice, the
kept subset is also the largest one (by weight; among equals, earlier declarations are kept):
each refused set is a constraint, and the cheapest choice that hits all of them is left out next.
Where the bound does not allow for that (`Division.largest` is False), the items are added in
their order, heavy ones first, and each one that does not fit is left out.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import comb, log2

import msgspec

Solve = Callable[[Sequence[int]], "Unsatisfiable | None"]
"""Whether the items with these indices can be installed together: None, or why not."""

Asking = Callable[[int, int], None]
"""Is notified before each question: its number, and how many there will be at most, as far as
known."""

_MAX_COMBINED = 6
_MAX_CHOICES = 50_000
"""How many choices of items to compare, at most."""


class Unsatisfiable(msgspec.Struct, frozen=True):
    """Why a set of items cannot be installed; `suspects` are those that the reason names."""

    reason: str
    suspects: frozenset[int] = frozenset()


class Core(msgspec.Struct, frozen=True):
    """Items that cannot be installed together, and the reason.

    Each of them is necessary for that; there are as few as the bound allowed to find out.
    """

    items: frozenset[int]
    reason: str


class Division(msgspec.Struct, frozen=True):
    """What can be installed, and for each item left out, the core that it belongs to."""

    kept: tuple[int, ...]
    left_out: dict[int, Core]
    largest: bool = True
    """Whether no other choice is known to keep more."""


class UnsolvableError(Exception):
    """Even the empty set is refused; the message says why."""


def most_questions(items: int, left_out: int) -> int:
    """How many questions are asked at most to leave out so many of the items."""
    return 4 + int(2 * left_out * log2(max(items, 2)))


def divide(
    weights: Sequence[int], solve: Solve, asking: Asking = lambda _number, _at_most: None
) -> Division:
    """Split the items 0 to n-1 into a largest installable set and the rest.

    Args:
        weights: The cost of leaving out each item.
        solve: Called at most `most_questions` times, never twice for the same items.
        asking: Follows the search.

    Raises:
        UnsolvableError: Not even the empty set can be installed.
    """
    return _Search(tuple(weights), solve, asking).run()


def _halvings(items: int) -> int:
    return max(items - 1, 1).bit_length()


Items = tuple[int, ...]


@dataclass
class _Search:
    """One search, with everything that it has asked."""

    weights: tuple[int, ...]
    solve: Solve
    asking: Asking
    asked: int = 0
    solved: list[frozenset[int]] = field(default_factory=list)
    refused: list[tuple[frozenset[int], Unsatisfiable]] = field(default_factory=list)
    cores: list[frozenset[int]] = field(default_factory=list)
    """Refused sets that are small enough to choose from."""

    def run(self) -> Division:
        everything = range(len(self.weights))
        largest = True
        while True:
            out = _cheapest_hitting_set(self.cores, self.weights)
            kept = tuple(i for i in everything if i not in out)
            if self._is_known(kept) or self._may_ask():
                refusal = self._ask(kept)
                if refusal is None:
                    break
                if not kept:
                    raise UnsolvableError(refusal.reason)
                core = self._core_in(kept, refusal)
                if core is not None and core not in self.cores:
                    self.cores.append(core)
                    continue
            largest = False
            break
        largest = largest and _is_exact(self.cores)
        kept = self._added_in_order(kept, out)
        gone = sorted(set(everything) - set(kept))
        limit = most_questions(len(self.weights), len(gone))
        return Division(kept, {i: self._reason_for(i, kept, limit) for i in gone}, largest)

    def _known(self, items: frozenset[int]) -> tuple[bool, Unsatisfiable | None]:
        """Whether the answer follows from earlier ones, and what it is."""
        if any(items <= other for other in self.solved):
            return True, None
        for other, refusal in self.refused:
            if other <= items:
                return True, refusal
        return False, None

    def _ask(self, items: Iterable[int]) -> Unsatisfiable | None:
        wanted = frozenset(items)
        known, refusal = self._known(wanted)
        if known:
            return refusal
        self.asked += 1
        self.asking(self.asked, self._at_most())
        refusal = self.solve(tuple(sorted(wanted)))
        if refusal is None:
            self.solved.append(wanted)
        else:
            self.refused.append((wanted, refusal))
        return refusal

    def _at_most(self) -> int:
        surely = len(_disjoint(items for items, _ in self.refused))
        return most_questions(len(self.weights), max(surely, 1))

    def _may_ask(self) -> bool:
        """Whether one more question leaves enough of them for `_added_in_order`."""
        halvings = _halvings(len(self.weights))
        found = _disjoint([items for items, _ in self.refused])
        surely = len(found)
        alone = sum(len(items) == 1 for items in found)
        left = (surely - alone) * (halvings + 1) + 1
        return self.asked + 1 + left <= most_questions(len(self.weights), surely)

    def _core_in(self, kept: Items, refusal: Unsatisfiable) -> frozenset[int] | None:
        """A small refused part of `kept`; None if looking for one would cost too much."""
        named = [i for i in kept if i in refusal.suspects]
        if named and len(named) < len(kept) and self._may_ask() and self._ask(named):
            if len(named) <= _MAX_COMBINED:
                return frozenset(named)
            kept = tuple(named)
        return self._shrunk((), self._in_order(kept), self._may_ask)

    def _shrunk(
        self, start: Items, pool: Items, may_ask: Callable[[], bool]
    ) -> frozenset[int] | None:
        """A minimal refused set that has all of `start` and else is from `pool`.

        `start` and `pool` are refused together. None if it may not ask any more; the first
        search needs no permission, since `_added_in_order` asks the same.
        """
        found = start
        while True:
            if found:
                if not self._is_known(found) and not may_ask():
                    return None
                if self._ask(found) is not None:
                    return frozenset(found)
            solved, refused = 0, len(pool)
            while refused - solved > 1:
                middle = (solved + refused) // 2
                items = (*found, *pool[:middle])
                if found and not self._is_known(items) and not may_ask():
                    return None
                if self._ask(items) is None:
                    solved = middle
                else:
                    refused = middle
            if not pool:
                return frozenset(found)
            found, pool = (*found, pool[refused - 1]), pool[: refused - 1]

    def _is_known(self, items: Iterable[int]) -> bool:
        return self._known(frozenset(items))[0]

    def _in_order(self, items: Iterable[int]) -> Items:
        return tuple(sorted(items, key=lambda i: (-self.weights[i], i)))

    def _added_in_order(self, kept: Items, out: Iterable[int]) -> Items:
        """The items that fit when they are added one after another; what is out comes last."""
        waiting = [*self._in_order(kept), *self._in_order(out)]
        base: list[int] = []
        while True:
            waiting = [i for i in waiting if not self._is_refused((*base, i))]
            if not waiting or self._ask((*base, *waiting)) is None:
                break
            solved, refused = 0, len(waiting)
            while refused - solved > 1:
                middle = (solved + refused) // 2
                if self._ask((*base, *waiting[:middle])) is None:
                    solved = middle
                else:
                    refused = middle
            base += waiting[: refused - 1]
            waiting = waiting[refused:]
        chosen = tuple(sorted((*base, *waiting)))
        if not chosen and (refusal := self._ask(())) is not None:
            raise UnsolvableError(refusal.reason)
        return chosen

    def _is_refused(self, items: Iterable[int]) -> bool:
        return self._known(frozenset(items))[1] is not None

    def _reason_for(self, item: int, kept: Items, limit: int) -> Core:
        """A minimal core of an item that is left out, as far as the bound allows."""
        within = frozenset((*kept, item))
        best = min(
            (r for r in self.refused if r[0] <= within), key=lambda r: len(r[0]), default=None
        )
        if best is None:  # it is left out beside others of the same core
            best = min((r for r in self.refused if item in r[0]), key=lambda r: len(r[0]))
        items, refusal = best
        pool = self._in_order(items - {item})
        found = self._shrunk((item,), pool, lambda: self.asked < limit)
        if found is None:
            named = (items & refusal.suspects) | {item}
            return Core(named if len(named) <= _MAX_COMBINED else frozenset({item}), refusal.reason)
        reason = next((r for core, r in self.refused if core == found), refusal)
        return Core(found, reason.reason)


def _disjoint(sets: Iterable[frozenset[int]]) -> list[frozenset[int]]:
    """Sets of these that share no item: at least one item of each has to go."""
    chosen: list[frozenset[int]] = []
    taken: set[int] = set()
    for items in sorted(sets, key=len):
        if not items & taken:
            chosen.append(items)
            taken |= items
    return chosen


def _cheapest_hitting_set(
    cores: Sequence[frozenset[int]], weights: Sequence[int]
) -> frozenset[int]:
    """The cheapest items that hit every core; among equals, the later ones are left out."""
    forced = frozenset(i for core in cores if len(core) == 1 for i in core)
    open_cores = [core for core in cores if not core & forced]
    return forced.union(*(_cheapest_of_one(group, weights) for group in _unrelated(open_cores)))


def _is_exact(cores: Iterable[frozenset[int]]) -> bool:
    """Whether `_cheapest_hitting_set` compares all choices."""
    return all(
        len(group) <= _MAX_COMBINED
        and comb(len(frozenset().union(*group)), len(group)) <= _MAX_CHOICES
        for group in _unrelated([core for core in cores if len(core) > 1])
    )


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
        if comb(len(pool), size) > _MAX_CHOICES:
            break
        for chosen in combinations(pool, size):
            candidate = frozenset(chosen)
            if all(core & candidate for core in group):
                key = (sum(weights[i] for i in chosen), tuple(sorted(-i for i in chosen)))
                if best is None or key < best[:2]:
                    best = (*key, candidate)
    if best is None:  # too many for an exact answer: the latest of each core
        return frozenset(max(core) for core in group)
    return best[2]
