"""Durations as people write them, "300ms" or "1h30m", and as seconds."""

import re

from reconciler.config.problem import Unfit
from reconciler.patterns import regex

_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
"""In milliseconds, to avoid rounding errors of binary fractions."""
_PART = regex(r"(\d{1,9}(?:\.\d{1,3})?)(ms|[dhms])")
_WHOLE = regex(rf"(?:{_PART.pattern})+", re.ASCII)
LONGEST = 366 * 86_400.0
"""In seconds; a longer duration is a typo, and system timers would overflow."""


def parse_duration(text: str, *, minimum: float = 0.0) -> float:
    """The seconds in `text`: numbers with the units ms, s, m, h, d, the largest first.

    Raises:
        Unfit: It is not a duration, shorter than `minimum` seconds, or longer than a year.
    """
    if not _WHOLE.fullmatch(text):
        raise Unfit('a duration like "300ms" or "10m"')
    parts = _PART.findall(text)
    units = [unit for _, unit in parts]
    if units != sorted(set(units), key=list(_UNITS).index):
        raise Unfit('a duration with each unit once, the largest first, like "1h30m"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts) / 1000
    if seconds < minimum:
        raise Unfit(f'a duration of at least "{format_duration(minimum)}"')
    if seconds > LONGEST:
        raise Unfit(f'a duration of at most "{format_duration(LONGEST)}"')
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads as `seconds`, to the millisecond."""
    rest = round(seconds * 1000)
    text = ""
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
