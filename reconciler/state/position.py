"""Finds the position of a key in a TOML file, which tomli does not report.

Searches line by line and understands headers, dotted keys and multi-line strings. It may miss
a key (inside an inline table); then it returns the nearest key around it. It never fails.
"""

import re
from dataclasses import dataclass, field

import msgspec

from reconciler.patterns import regex

Part = str | int
KeyPath = tuple[Part, ...]

_BARE = r"[A-Za-z0-9_-]+"
_QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'[^']*'"
_DOTTED = rf"(?:{_BARE}|{_QUOTED})(?:\s*\.\s*(?:{_BARE}|{_QUOTED}))*"
_HEADER = regex(rf"(\s*)(\[\[?)\s*({_DOTTED})\s*\]\]?\s*(?:#.*)?")
_ASSIGNMENT = regex(rf"(\s*)({_DOTTED})\s*=\s*")
_PART = regex(rf"{_BARE}|{_QUOTED}")
_OPENING = regex(rf"\"\"\"|'''|{_QUOTED}|#.*")
_CLOSING = {'"""': regex(r'\\.|"{3,5}'), "'''": regex(r"'{3,5}")}


_DEEPEST = 100
"""Parts of a key; nothing deeper gets a position of its own."""


class Position(msgspec.Struct, frozen=True):
    """A position in a file; both numbers count from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Positions:
    """The positions of all keys and headers that were found."""

    places: dict[KeyPath, Position] = field(default_factory=dict)
    lists: dict[KeyPath, int] = field(default_factory=dict)
    """How many `[[header]]`s with a name came so far."""

    def of(self, path: KeyPath) -> Position | None:
        """The position of `path` or the nearest key around it; None for the file as a whole."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return None


def positions(text: str) -> Positions:
    """Find every key of a TOML document."""
    found = Positions()
    table: KeyPath = ()
    inside = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if not inside:
            if header := _HEADER.fullmatch(line.rstrip()):
                table = _enter(found, header, number)
                continue
            if match := _ASSIGNMENT.match(line):
                path = table + _parts(match[2])
                if len(path) <= _DEEPEST:
                    found.places.setdefault(path, Position(number, len(match[1]) + 1))
        inside = _multiline_after(line, inside)
    return found


def _enter(found: Positions, header: re.Match[str], number: int) -> KeyPath:
    path: KeyPath = ()
    parts = _parts(header[3])[:_DEEPEST]
    for part in parts:  # a table below [[a]] belongs to the last of them
        path += (part,)
        if path in found.lists and len(path) < len(parts):
            path += (found.lists[path] - 1,)
    position = Position(number, len(header[1]) + 1)
    for end in range(1, len(path)):  # [a.b] is where `a` begins, unless `a` has its own header
        found.places.setdefault(path[:end], position)
    if header[2] == "[[":
        found.places.setdefault(path, position)
        found.lists[path] = found.lists.get(path, 0) + 1
        path += (found.lists[path] - 1,)
    found.places.setdefault(path, position)
    return path


def _parts(dotted: str) -> KeyPath:
    return tuple(_unquoted(part) for part in _PART.findall(dotted))


def _unquoted(part: str) -> str:
    if part.startswith('"'):
        return re.sub(r"\\(.)", r"\1", part[1:-1])
    return part[1:-1] if part.startswith("'") else part


def _multiline_after(line: str, inside: str) -> str:
    """Which multi-line string is open after `line`, given what was open before."""
    at = 0
    while True:
        match = (_CLOSING[inside] if inside else _OPENING).search(line, at)
        if match is None:
            return inside
        if inside:
            inside = "" if match[0].startswith(inside) else inside
        elif match[0].startswith("#"):
            return ""
        elif match[0] in _CLOSING:
            inside = match[0]
        at = match.end()
