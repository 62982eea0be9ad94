"""Times that are recorded by a clock that someone sets."""

import pytest

from reconciler.daemon.steady import SteadyTimes
from reconciler.journal.history import State
from reconciler.journal.suspension import paused

DAY = 86400.0


class Clocks:
    """The machine's clock, and the one that nobody can set."""

    def __init__(self) -> None:
        self.clock, self.elapsed = 1_000_000_000.0, 50.0
        self.times = SteadyTimes(lambda: self.clock, lambda: self.elapsed)

    def passes(self, seconds: float) -> None:
        self.clock += seconds
        self.elapsed += seconds


@pytest.mark.parametrize("step", [-DAY, -60.0, 0.0, 60.0, 400 * DAY])
def test_a_wait_takes_as_long_as_it_should(step):
    clocks = Clocks()
    state = paused(State(retry_at=clocks.clock + 30), "a while", 3600.0, clocks.clock)
    clocks.times.by_the_clock(state)
    clocks.passes(10)
    clocks.clock += step
    seen = clocks.times.by_the_clock(state)
    assert seen.retry_at - clocks.clock == pytest.approx(20)
    assert seen.suspended_until - clocks.clock == pytest.approx(3590)
    clocks.passes(25)
    assert clocks.times.by_the_clock(state).retry_at < clocks.clock


def test_a_record_from_before_the_clock_was_set_back_is_no_longer_wait_than_it_was():
    """The service was down meanwhile."""
    clocks = Clocks()
    state = paused(State(retry_at=clocks.clock + 30), "a while", 3600.0, clocks.clock)
    clocks.clock -= DAY
    seen = clocks.times.by_the_clock(state)
    assert seen.retry_at - clocks.clock <= 600
    assert seen.suspended_until - clocks.clock == pytest.approx(3600)


def test_it_remembers_few_times():
    clocks = Clocks()
    for number in range(1000):
        clocks.times.left(clocks.clock + number)
    assert len(clocks.times._ends) <= 16
    forever = State(retry_at=None, suspended_until=None)
    assert clocks.times.by_the_clock(forever) == forever
