"""The keys of a table, taken from its struct: the one bridge from types to text."""

from functools import cache
from typing import Any, get_type_hints

import msgspec

from reconciler.config.forms import Key, Tables


class Field(msgspec.Struct, frozen=True):
    """A key of a table, with its whole description."""

    name: str
    key: Key
    default: Any
    """`msgspec.NODEFAULT` if there is no default, or it cannot be written down."""

    @property
    def default_text(self) -> str | None:
        """The default as TOML; None if it is not a value, or there is none."""
        if self.default is msgspec.NODEFAULT or self.key.default is not None:
            return None
        return self._written(self.default)

    @property
    def example_text(self) -> str | None:
        """An example as TOML; None if the default is enough."""
        return None if self.key.example is None else self._written(self.key.example)

    @property
    def sample(self) -> str:
        """A valid value, as TOML."""
        default = self.default_text
        return self.example_text or "[]" if default in {None, "[]"} else str(default)

    def _written(self, value: Any) -> str:
        form = self.key.form
        return "[]" if isinstance(form, Tables) else form.write(value)


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
