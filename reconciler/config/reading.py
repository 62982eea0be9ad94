"""Reads tables into structs; continues after a problem, so that all are found at once.

Knows keys only by their descriptions (`fields_of`), not what they mean.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from reconciler.config.forms import Tables
from reconciler.config.keys import Field, fields_of
from reconciler.config.paths import Place
from reconciler.config.problem import Unfit
from reconciler.config.toml import found_text, toml_text
from reconciler.state.position import KeyPath, Positions
from reconciler.status import Problem

S = TypeVar("S", bound=msgspec.Struct)


@dataclass(slots=True)
class Reading:
    """One walk through a document, with the problems found on the way."""

    file: Path
    lines: list[str]
    positions: Positions
    place: Place
    homes: Mapping[str, str] = field(default_factory=dict)
    """The table that each key belongs in, for keys that are in the wrong one."""
    problems: list[Problem] = field(default_factory=list)

    def blame(self, path: KeyPath, reason: str, fix: str) -> None:
        """Record a problem with the key at `path`."""
        at = self.positions.of(path)
        self.problems.append(
            Problem(
                file=str(self.file),
                reason=f"{dotted(path)}: {reason}",
                fix=fix,
                line=at.line if at else None,
                column=at.column if at else None,
                text=self.lines[at.line - 1].rstrip("\r") if at else None,
            )
        )

    def table(self, raw: object, path: KeyPath) -> dict[str, Any]:
        """`raw` if it is a table; otherwise an empty one, and a problem."""
        if isinstance(raw, dict):
            return raw
        in_list = isinstance(path[-1], int)
        header = f"[[{dotted(path[:-1])}]]" if in_list else f"[{dotted(path)}]"
        self.blame(path, f"expected a table, found {found_text(raw)}", f"Write it as {header}.")
        return {}

    def struct(
        self,
        struct: type[S],
        raw: object,
        path: KeyPath,
        complete: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> S | None:
        """Read a whole table.

        Args:
            struct: The description of the table.
            raw: The value from tomli.
            path: Its position in the document.
            complete: Adds values for keys that the table does not have.

        Returns:
            None if there was a problem.
        """
        before = len(self.problems)
        table = self.table(raw, path)
        if len(self.problems) > before:
            return None
        values = complete(self.values(struct, table, path))
        for key in fields_of(struct).values():
            if key.default is msgspec.NODEFAULT and key.name not in {*values, *table}:
                fix = f"Write {key.name} = {key.sample} there."
                self.blame(path, f"{key.name} is missing", fix)
        if len(self.problems) > before:
            return None
        try:
            return struct(**values)
        except Unfit as unfit:
            self._unfit(path + ((unfit.key,) if unfit.key else ()), unfit, table, None)
            return None

    def values(
        self, struct: type[msgspec.Struct], table: dict[str, Any], path: KeyPath
    ) -> dict[str, Any]:
        """Read the keys in `table`; keys with a problem are left out."""
        known = fields_of(struct)
        self.only(table, tuple(known), path)
        values = {}
        for name, raw in table.items():
            if name not in known:
                continue
            before = len(self.problems)
            value = self._value(known[name], raw, (*path, name))
            if len(self.problems) == before:
                values[name] = value
        return values

    def only(self, table: dict[str, Any], known: tuple[str, ...], path: KeyPath) -> None:
        """Record a problem for every key in `table` that is not `known`."""
        for name in table:
            if name in known:
                continue
            from difflib import get_close_matches  # noqa: PLC0415 -- only for a wrong name

            near = get_close_matches(name, known, n=1)
            if path and name in self.homes:
                fix = f"It belongs in {self.homes[name]}."
            elif near:
                fix = f'Did you mean "{near[0]}"?'
            else:
                fix = f"Remove it; the known ones are {', '.join(known)}."
            self.blame((*path, name), "unknown key" if path else "unknown table", fix)

    def _value(self, key: Field, raw: object, path: KeyPath) -> Any:
        if isinstance(key.key.form, Tables):
            return self._tables(key.key.form, raw, path)
        try:
            return key.key.form.read(raw, self.place)
        except Unfit as unfit:
            self._unfit(path, unfit, raw, key)
            return None

    def _tables(self, form: Tables, raw: object, path: KeyPath) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            self.blame(
                path,
                f"expected a list of tables, found {found_text(raw)}",
                f"Write it as [[{dotted(path)}]].",
            )
            return ()
        return tuple(
            self.struct(form.struct, item, (*path, number)) for number, item in enumerate(raw)
        )

    def _unfit(self, path: KeyPath, unfit: Unfit, raw: object, key: Field | None) -> None:
        reason = unfit.reason or f"expected {unfit.expected}, found {found_text(raw)}"
        example = f"Write {key.name} = {key.sample}." if key else "See docs/configuration.md."
        self.blame(path, reason, unfit.fix or example)


def dotted(path: KeyPath) -> str:
    """A path as TOML writes it; the index in a list is in brackets, from 1."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            bare = part.replace("-", "a").replace("_", "a")
            quoted = part if bare.isascii() and bare.isalnum() else toml_text(part)
            text += f".{quoted}" if text else quoted
    return text
