"""Where in a TOML file a key or a string stands, so that a problem can point at it.

Pure. tomli gives no positions for values, so they are looked for in the text; what is not
found has no place, and never a wrong one.
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
    """Answers for one text."""

    text: str
    _lines: list[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Only what ends a line in TOML, and in an editor: not U+2028 and its like.
        object.__setattr__(self, "_lines", self.text.replace("\r\n", "\n").split("\n"))

    @cached_property
    def _keys(self) -> Positions:
        return positions(self.text)

    def line(self, number: int | None) -> str | None:
        """The line of that number, from 1."""
        known = number is not None and 0 < number <= len(self._lines)
        return self._lines[number - 1] if known and number else None

    def key(self, path: KeyPath) -> Position | None:
        """Where a key or its table begins; else the nearest one around it."""
        return self._keys.of(path)

    def string(self, value: str, *, within: KeyPath, occurrence: int = 0) -> Position | None:
        """Where a string of that value stands, at or after the key `within`.

        Args:
            value: What the string means, escapes resolved.
            within: The key whose value it is part of.
            occurrence: How many equal ones come before it.
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
