"""Finds the position of a key or a string in a TOML file, so that a problem can point at it.

Pure. tomli does not report positions of values, so they are searched for in the text. What
is not found gets no position, never a wrong one.
"""

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from functools import cached_property

from reconciler.files.parsing import toml_of
from reconciler.patterns import regex
from reconciler.state.position import KeyPath, Position, Positions, positions

_TOKEN = regex(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|\#[^\n]*',
    re.DOTALL,
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
        start = self._starts[key.line - 1] + key.column - 1 if key else 0
        found = self._strings.get(value, [])
        index = min(bisect_left(found, start) + occurrence, len(found) - 1)
        return self._position(found[index]) if found and found[-1] >= start else None

    def _position(self, offset: int) -> Position:
        line = bisect_right(self._starts, offset)
        return Position(line, offset - self._starts[line - 1] + 1)

    @cached_property
    def _starts(self) -> list[int]:
        """Where each line begins."""
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    @cached_property
    def _strings(self) -> dict[str, list[int]]:
        """Where each string begins, by its value. Read once: some projects have hundreds."""
        found: dict[str, list[int]] = {}
        for match in _TOKEN.finditer(self.text):
            if match[0].startswith("#"):
                continue
            value = _value(match[0])
            if value is not None:
                found.setdefault(value, []).append(match.start())
        return found


def _value(literal: str) -> str | None:
    """The value of a TOML string; most need no parser."""
    if "\\" not in literal and "\n" not in literal and not literal.startswith(('"""', "'''")):
        return literal[1:-1]
    try:
        return str(toml_of(f"it = {literal}")["it"])
    except (ValueError, RecursionError):
        return None
