"""Reads the TOML of a project's file, and says where in it something is wrong. Pure."""

import codecs
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli

from reconciler.files.parsing import toml_of
from reconciler.state.phrases import kind_of
from reconciler.state.places import Places
from reconciler.state.position import Position
from reconciler.status import ExpectedEnd, Problem, Reason


class BadFile(ExpectedEnd):
    """A file cannot be used; says where, why, and what to do."""

    reason = Reason.BAD_FILE
    problem: Problem

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem), problem=problem)


class TomlReading:
    """One reading of one file; keeps the text to point into it.

    Raises:
        BadFile: It is not TOML.
    """

    def __init__(self, file: Path, text: bytes) -> None:
        self.file = file
        self.bytes = text.removeprefix(codecs.BOM_UTF8)  # some editors write one, and uv ignores it
        self.places = Places(self._decode())
        self.document = self._toml()

    def _decode(self) -> str:
        try:
            return self.bytes.decode("utf-8")
        except UnicodeDecodeError as error:
            before = self.bytes[: error.start]
            problem = Problem(
                file=str(self.file),
                line=before.count(b"\n") + 1,
                column=len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1,
                reason="the file is not UTF-8, as TOML requires",
                fix="Save it as UTF-8.",
            )
            raise BadFile(problem) from error

    def _toml(self) -> dict[str, Any]:
        try:
            return toml_of(self.places.text)
        except tomli.TOMLDecodeError as error:
            raise self._bad(
                f"not valid TOML: {error.msg}",
                "Correct the line; until then, the last good state of the file stays in effect.",
                Position(error.lineno, error.colno),
            ) from error
        except (ValueError, RecursionError) as error:  # a number with 4,300 digits, or nested
            raise self._bad(
                f"the TOML is over the bounds of what is read: {error}",
                "Remove what nobody would write by hand.",
            ) from error

    def _bad(self, reason: str, fix: str, at: Position | None = None) -> BadFile:
        line, column = (at.line, at.column) if at else (None, None)
        text = self.places.line(line)
        return BadFile(
            Problem(
                file=str(self.file), line=line, column=column, reason=reason, fix=fix, text=text
            )
        )

    def _table(
        self, parent: Mapping[str, Any], *path: str, required: bool = False
    ) -> dict[str, Any]:
        key, shown = path[-1], ".".join(path)
        if key not in parent and not required:
            return {}
        table = parent.get(key)
        if isinstance(table, dict):
            return table
        if table is None:
            raise self._bad(f"there is no [{shown}] table", self._where_else())
        raise self._bad(
            f"`{shown}` must be a table, not {kind_of(table)}",
            f"Write it as [{shown}].",
            self.places.key(path),
        )

    def _where_else(self) -> str:
        """What to do about a missing table."""
        return "Add the table, or name another file."
