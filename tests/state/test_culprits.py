"""The subset that is kept is really the largest, and little is asked to find it."""

import math
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.state.culprits import (
    Division,
    Unsatisfiable,
    UnsolvableError,
    divide,
    most_questions,
)


class Oracle:
    """Refuses every set that has a whole core in it; counts how often it is asked."""

    def __init__(self, cores: Sequence[frozenset[int]], *, names: str = "core") -> None:
        self.cores = cores
        self.names = names
        self.asked: list[tuple[int, ...]] = []

    def __call__(self, items: Sequence[int]) -> Unsatisfiable | None:
        self.asked.append(tuple(items))
        for core in self.cores:
            if core <= set(items):
                suspects = {"core": core, "nobody": frozenset(), "one": frozenset([min(core)]),
                            "all": frozenset(items)}[self.names]  # fmt: skip
                return Unsatisfiable(f"core {sorted(core)}", suspects)
        return None


def best(weights: Sequence[int], cores: Sequence[frozenset[int]]) -> tuple[int, ...]:
    """By trying everything: the cheapest to leave out; of equals, the later declared."""
    everything = range(len(weights))
    candidates = [
        out
        for size in range(len(weights) + 1)
        for out in combinations(everything, size)
        if not any(core <= set(everything) - set(out) for core in cores)
    ]
    return min(candidates, key=lambda o: (sum(weights[i] for i in o), sorted(-i for i in o)))


@st.composite
def problems(draw) -> tuple[list[int], list[frozenset[int]]]:
    count = draw(st.integers(1, 9))
    weights = draw(st.lists(st.sampled_from([1, 1, 1, 1000]), min_size=count, max_size=count))
    item = st.integers(0, count - 1)
    cores = draw(st.lists(st.frozensets(item, min_size=1, max_size=4), max_size=6))
    return weights, cores


def assert_minimal(division: Division, cores: Sequence[frozenset[int]]) -> None:
    for item, core in division.left_out.items():
        assert item in core.items
        assert core.items in cores, "a core is more than what cannot go together"
        assert not any(other < core.items for other in cores)
        assert core.reason == f"core {sorted(core.items)}"


NAMES = ["core", "nobody", "one", "all"]


@given(problems(), st.sampled_from(NAMES))
@settings(max_examples=200, deadline=None)
def test_what_is_kept_can_be_had_and_nothing_can_be_added(problem, names):
    weights, cores = problem
    oracle = Oracle(cores, names=names)
    division = divide(weights, oracle)
    left_out = tuple(sorted(division.left_out))
    assert sorted((*division.kept, *left_out)) == list(range(len(weights)))
    assert list(division.kept) == sorted(division.kept)
    assert division.kept in oracle.asked, "the plan of what is kept has to be known"
    assert not any(core <= set(division.kept) for core in cores)
    for item in left_out:
        assert any(core <= {*division.kept, item} for core in cores), "it could have been kept"
        assert item in division.left_out[item].items
    if division.largest:
        assert left_out == tuple(sorted(best(weights, cores)))


@given(
    sizes=st.lists(st.integers(1, 6), max_size=12),
    rest=st.integers(8, 60),
    random=st.randoms(use_true_random=False),
)
@settings(max_examples=150, deadline=None)
def test_the_largest_is_kept_if_the_reasons_name_what_conflicts(sizes, rest, random):
    items = list(range(sum(sizes) + rest))
    weights = [random.choice([1, 1, 1, 1000]) for _ in items]
    random.shuffle(items)
    cores = [frozenset(items.pop() for _ in range(size)) for size in sizes]
    division = divide(weights, Oracle(cores))
    assert division.largest
    assert set(division.left_out) == {min(core, key=lambda i: (weights[i], -i)) for core in cores}
    assert_minimal(division, cores)


@given(
    count=st.integers(1, 120),
    sizes=st.lists(st.integers(1, 5), max_size=12),
    names=st.sampled_from(NAMES),
    heavy=st.integers(0, 5),
    random=st.randoms(use_true_random=False),
)
@settings(max_examples=200, deadline=None)
def test_the_number_of_questions_is_bounded(count, sizes, names, heavy, random):
    cores = [frozenset(random.sample(range(count), min(size, count))) for size in sizes]
    oracle = Oracle(cores, names=names)
    weights = [1000 if item < heavy else 1 for item in range(count)]
    told: list[tuple[int, int]] = []
    division = divide(weights, oracle, lambda number, at_most: told.append((number, at_most)))
    assert len(oracle.asked) <= 4 + 2 * len(division.left_out) * math.log2(max(count, 2))
    assert len(set(oracle.asked)) == len(oracle.asked), "nothing is asked twice"
    assert [number for number, _ in told] == list(range(1, len(oracle.asked) + 1))
    assert all(at_most <= most_questions(count, max(len(division.left_out), 1))
               for _, at_most in told)  # fmt: skip


def test_without_a_culprit_one_question_is_asked():
    oracle = Oracle([])
    assert divide([1] * 34, oracle) == Division(tuple(range(34)), {})
    assert len(oracle.asked) == 1


@pytest.mark.parametrize(("names", "most"), [("core", 3), ("nobody", 14), ("all", 14)])
def test_one_bad_requirement_among_thirty_four(names, most):
    oracle = Oracle([frozenset([20])], names=names)
    division = divide([1] * 34, oracle)
    assert set(division.left_out) == {20}
    assert division.left_out[20].items == {20}
    assert len(oracle.asked) <= most


def test_of_two_that_conflict_the_later_one_goes():
    division = divide([1] * 5, Oracle([frozenset([1, 3])]))
    assert division.kept == (0, 1, 2, 4)
    assert division.left_out[3].items == {1, 3}


def test_what_a_hold_requires_is_kept_at_the_cost_of_several_declared():
    division = divide([1000, 1, 1, 1], Oracle([frozenset([0, 1]), frozenset([0, 2])]))
    assert division.kept == (0, 3)


def test_one_that_conflicts_with_many_goes_alone():
    cores = [frozenset([0, n]) for n in range(1, 6)]
    assert divide([1] * 6, Oracle(cores)).kept == (1, 2, 3, 4, 5)


def test_a_chain_loses_every_other_one():
    cores = [frozenset([n, n + 1]) for n in range(5)]
    division = divide([1] * 6, Oracle(cores))
    assert len(division.kept) == 3
    assert set(division.left_out) == {1, 3, 5}


def test_many_unrelated_culprits_are_all_found_soon():
    cores = [frozenset([n]) for n in range(0, 34, 2)]
    oracle = Oracle(cores)
    division = divide([1] * 34, oracle)
    assert division.kept == tuple(range(1, 34, 2))
    assert len(oracle.asked) <= 2 * len(cores) + 1


def test_many_conflicting_pairs_do_not_take_ages():
    cores = [frozenset([n, n + 18]) for n in range(18)]
    oracle = Oracle(cores)
    division = divide([1] * 36, oracle)
    assert set(division.left_out) == set(range(18, 36))
    assert len(oracle.asked) <= 4 * len(cores) + 1


def test_large_overlapping_cores_do_not_take_ages():
    cores = [frozenset(range(n, n + 8)) for n in range(0, 30, 3)]
    oracle = Oracle(cores)
    division = divide([1] * 38, oracle)
    assert all(not core <= set(division.kept) for core in cores)
    assert len(oracle.asked) < 150


def test_if_not_even_nothing_can_be_had_nobody_is_to_blame():
    for count in range(7):
        with pytest.raises(UnsolvableError, match="the index is empty"):
            divide([1] * count, lambda _: Unsatisfiable("the index is empty"))


def test_without_items_nothing_is_left_out():
    assert divide([], Oracle([])) == Division((), {})
