"""Finds the position of a key or a string in a TOML file, so that a problem can point at it.

Pure. tomli does not report positions of values, so they are searched for in the text. What
is not found gets no position, never a wrong one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import tomli

from reconciler.state.position import KeyPath, Position, Positions, positions

_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|\#[^\n]*', re.DOTALL
)


@dataclass(frozen=True)
class Places:
    """Finds positions in one text."""

    text: str
    _lines: list[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Only the line endings of TOML and editors: not U+2028 and the like.
        object.__setattr__(self, "_lines", self.text.replace("\r\n", "\n").split("\n"))

    @cached_property
    def _keys(self) -> Positions:
        return positions(self.text)

    def line(self, number: int | None) -> str | None:
        """The line with that number, counted from 1."""
        known = number is not None and 0 < number <= len(self._lines)
        return self._lines[number - 1] if known and number else None

    def key(self, path: KeyPath) -> Position | None:
        """Where a key or its table begins; otherwise the nearest key around it."""
        return self._keys.of(path)

    def string(self, value: str, *, within: KeyPath, occurrence: int = 0) -> Position | None:
        """The position of a string with that value, at or after the key `within`.

        Args:
            value: The string's value, with escapes resolved.
            within: The key whose value contains it.
            occurrence: How many equal strings come before it.
        """
        key = self.key(within)
        start = self._offset(key) if key else 0
        found = [place for place, text in self._strings(start) if text == value]
        return found[min(occurrence, len(found) - 1)] if found else None

    def _offset(self, place: Position) -> int:
        lines = self.text.split("\n")
        return sum(len(line) + 1 for line in lines[: place.line - 1]) + place.column - 1

    def _strings(self, start: int) -> Iterator[tuple[Position, str]]:
        for match in _TOKEN.finditer(self.text, start):
            if match[0].startswith("#"):
                continue
            try:
                value = tomli.loads(f"it = {match[0]}")["it"]
            except tomli.TOMLDecodeError:
                continue
            line = self.text.count("\n", 0, match.start()) + 1
            yield Position(line, match.start() - self.text.rfind("\n", 0, match.start())), value
