"""Durations: what is written is what is waited, and what is shown can be written again."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.config import format_duration, parse_duration
from reconciler.config.duration import LONGEST

MILLISECONDS = st.integers(min_value=0, max_value=int(LONGEST * 1000))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0.0),
        ("300ms", 0.3),
        ("1.5s", 1.5),
        ("0.25h", 900.0),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("1d2h3m4s5ms", 93784.005),
        ("90m", 5400.0),
        ("366d", 366 * 86400.0),
    ],
)
def test_what_is_written_is_what_is_meant(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "10",
            "m",
            "10 m",
            " 10m",
            "10m ",
            "10M",
            "10min",
            "-5s",
            "+5s",
            "1e3s",
            ".5s",
            "5.s",
        ),
        *("1h1h", "1m1h", "1ms1s", "367d", "٣s", "1_0s", "inf", "nan", "10m\n", "1s" * 5000),
    ],
)
def test_what_cannot_be_meant_is_refused(text):
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.3, "300ms"), (600.0, "10m"), (5400.0, "1h30m"), (86400.0, "1d")],
)
def test_what_is_shown_is_short(seconds, text):
    assert format_duration(seconds) == text


@given(MILLISECONDS)
@example(int(LONGEST * 1000))
def test_what_is_shown_can_be_written_again(milliseconds):
    seconds = milliseconds / 1000

    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text(alphabet="0123456789.dhms ", max_size=12))
def test_a_text_is_a_duration_or_refused(text):
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0.0 <= seconds <= LONGEST
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=0.0005)


@given(MILLISECONDS, MILLISECONDS)
def test_a_minimum_is_kept(milliseconds, least):
    text, minimum = format_duration(milliseconds / 1000), least / 1000
    if milliseconds < least:
        with pytest.raises(ValueError, match="at least"):
            parse_duration(text, minimum=minimum)
    else:
        assert parse_duration(text, minimum=minimum) >= minimum
