"""Reads versions, specifiers, markers and requirements that others wrote, within bounds. Pure.

packaging reads a text of any length, and Python refuses to convert a number with thousands of
digits with an error that nobody expects there. Here a text over the bounds is simply not valid.
Every part of the program reads them here.
"""

from urllib.parse import urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from reconciler.patterns import regex

LONGEST_REQUIREMENT = 10_000
"""In characters. The longest that we have seen, with a long marker, has about 1,000."""
LONGEST_VERSION = 500
LONGEST_PATH = 4096
"""Linux opens no longer one."""
_LONG_NUMBER = regex(r"[0-9]{500}")


def requirement_in(text: str) -> Requirement:
    """A requirement (PEP 508).

    Raises:
        InvalidRequirement: It is none, or over the bounds.
    """
    why = _over_the_bounds(text)
    if why:
        raise InvalidRequirement(why)
    try:
        found = Requirement(text)
    except RecursionError as error:
        raise InvalidRequirement("its marker is nested too deeply") from error
    try:
        urlsplit(found.url or "")
    except ValueError as error:
        raise InvalidRequirement(f"its address is not a URL: {error}") from error
    return found


def specifier_set_in(text: str) -> SpecifierSet:
    """A version specifier (PEP 440).

    Raises:
        InvalidSpecifier: It is none, or over the bounds.
    """
    why = _over_the_bounds(text)
    if why:
        raise InvalidSpecifier(why)
    return SpecifierSet(text)


def marker_in(text: str) -> Marker:
    """A marker (PEP 508).

    Raises:
        InvalidMarker: It is none, or over the bounds.
    """
    why = _over_the_bounds(text)
    if why:
        raise InvalidMarker(why)
    try:
        return Marker(text)
    except RecursionError as error:
        raise InvalidMarker("it is nested too deeply") from error


def version_in(text: str) -> Version | None:
    """A version (PEP 440); None if it is none, or over the bounds."""
    if len(text) > LONGEST_VERSION:
        return None
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _over_the_bounds(text: str) -> str | None:
    if len(text) > LONGEST_REQUIREMENT:
        return f"it has {len(text):,} characters, more than {LONGEST_REQUIREMENT:,}"
    return "a number in it has 500 digits or more" if _LONG_NUMBER.search(text) else None


def shown(text: str, most: int = 200) -> str:
    """A text that others wrote, quoted in a message and not too long for it."""
    return repr(text if len(text) <= most else f"{text[:most]} ...")
