"""Reads requirements of installed packages like uv, which fixes common old mistakes. Pure.

Many packages were built before anyone checked (`torch (>=1.7.*)`, `pytz (>dev)`). uv makes
these few fixes, in this order. Without them, we would silently miss a dependency that uv sees.
"""

from packaging.requirements import InvalidRequirement, Requirement

from reconciler.patterns import regex
from reconciler.state.bounds import LONGEST_REQUIREMENT, requirement_in

# Every repetition that could begin at each place of a long text has a limit: the time grows with
# the text, not with its square.
_FIXES = (
    (regex(r"(\d)([<>=~^!])"), r"\1,\2"),  # >=7.2.0<8.0.0
    (regex(r"!=~((?:\d\.)*\d)"), r"!=\1.*"),  # !=~5.0
    (regex(r"(<=|>=|<|>)(\d+(?:\.\d+)*)\.\*"), r"\1\2"),  # >=1.9.*
    (regex(r"(\d\.\d){1,20}\*"), r"\1.*"),  # !=3.0*
    (regex(r",\s*$"), ""),  # >=3.6,
    (regex(r">dev"), ">0.0.0dev"),
    (regex(r"(\d{1,20}(?:\.\d){0,20}(?:a|b|rc|post|dev)\d{1,20})\.0"), r"\1"),  # >=9.0a1.0
)
_STRAY_QUOTES = regex(r"['\"]([*\d])|([*\d])['\"]")  # >='2.0'


def requirement_of(line: str) -> Requirement | None:
    """The requirement in a `Requires-Dist` line, or None if uv cannot read it either."""
    if len(line) > LONGEST_REQUIREMENT:
        return None
    found = _parsed(line)
    if found is not None:
        return found
    for pattern, fixed in _FIXES:
        line = pattern.sub(fixed, line)
        found = _parsed(line)
        if found is not None:
            return found
    return _parsed(_without_stray_quotes(line))


def _without_stray_quotes(line: str) -> str:
    """The quotes in a marker are not stray."""
    requirement, semicolon, marker = line.partition(";")
    return _STRAY_QUOTES.sub(r"\1\2", requirement) + semicolon + marker


def _parsed(line: str) -> Requirement | None:
    try:
        return requirement_in(line)
    except InvalidRequirement:
        return None
