"""The keys of a table, taken from its struct: the one bridge from types to text."""

from dataclasses import dataclass
from functools import cache
from typing import Any, get_type_hints

import msgspec

from reconciler.config.forms import Key, Tables


@dataclass(frozen=True, slots=True)
class Field:
    """A key of a table, with everything that is known of it."""

    name: str
    key: Key
    default: Any
    """`msgspec.NODEFAULT` where there is none that could be written down."""

    @property
    def example(self) -> str | None:
        """The default or an example, as TOML; None for a list of tables."""
        if isinstance(self.key.form, Tables):
            return None
        shown = self.key.example
        return self.key.form.write(self.default if shown is None else shown)


@cache
def fields_of(struct: type[msgspec.Struct]) -> dict[str, Field]:
    """The keys of the table that `struct` describes, in their order."""
    hints = get_type_hints(struct, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(struct):
        marks = [
            mark for mark in getattr(hints[field.name], "__metadata__", ()) if isinstance(mark, Key)
        ]
        if marks:
            found[field.name] = Field(field.name, marks[0], field.default)
    return found
