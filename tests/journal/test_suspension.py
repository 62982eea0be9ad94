"""A pause and a roll-back do not end each other."""

from reconciler.journal.history import RollingBack, State
from reconciler.journal.suspension import (
    ended,
    paused,
    resumed,
    rolled_back,
    rolling_back,
    settled,
)

NOW = 1_700_000_000.0
ONE, OTHER = "sha256:1", "sha256:2"


def back(state: State) -> State:
    return rolled_back(state, 4, ONE, None, NOW)


def reason(state: State) -> str | None:
    return state.suspension.reason if state.suspension else None


def test_a_roll_back_is_over_once_the_files_are_others():
    state = back(State())

    assert reason(settled(state, ONE, NOW + 1e6)) == "rolled back to generation 4"
    assert reason(settled(state, None, NOW)) == "rolled back to generation 4"
    assert settled(state, OTHER, NOW) == State()


def test_a_pause_is_over_by_its_time_whatever_the_files_are():
    state = paused(State(), "job", 60.0, NOW)

    assert reason(settled(state, OTHER, NOW + 59)) == "job"
    assert settled(state, OTHER, NOW + 60) == State()


def test_an_edit_does_not_end_a_pause_that_was_made_after_a_roll_back():
    state = settled(paused(back(State()), "job", None, NOW), OTHER, NOW)

    assert reason(state) == "job"
    assert state.rolled_back_revision is None


def test_the_end_of_a_pause_does_not_end_the_roll_back_before_it():
    state = settled(paused(back(State()), "job", 60.0, NOW), ONE, NOW + 60)

    assert state == back(State())


def test_a_roll_back_during_a_pause_ends_without_ending_the_pause():
    pause = paused(State(), "job", 60.0, NOW)
    state = back(pause)

    assert reason(state) == "rolled back to generation 4"
    assert settled(state, OTHER, NOW) == pause
    assert settled(state, ONE, NOW + 60) == back(State())


def test_both_can_be_over_at_once():
    assert settled(back(paused(State(), None, 60.0, NOW)), OTHER, NOW + 60) == State()


def test_a_second_pause_takes_the_place_of_the_first_one():
    state = paused(paused(back(State()), "first", 60.0, NOW), "second", None, NOW)

    assert reason(state) == "second"
    assert state.suspended_until is None
    assert settled(state, OTHER, NOW + 1e6).beneath is None


def test_a_resume_ends_a_rollback_that_was_killed_before_it_was_recorded():
    begun = rolling_back(
        State(), RollingBack(generation=2, activation=7, revision=ONE, reason=None)
    )

    assert ended(resumed(begun), 2, 7, NOW) == State()


def test_who_resumes_ends_both():
    assert resumed(paused(back(State()), None, None, NOW)) == State()
