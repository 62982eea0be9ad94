"""Breaks long lines at a terminal's width between words, never inside a word, path or address.

Nothing is broken in a pipe or a file: those who read them break lines themselves.
"""

import os
import shutil
from collections.abc import Sequence
from textwrap import TextWrapper
from typing import TextIO

_MARGIN = 2
"""Columns by which the further lines of a row of a table are indented."""


def width_of(stream: TextIO) -> int | None:
    """The columns of a terminal, or None if the stream is not one."""
    if not stream.isatty():
        return None
    if os.environ.get("COLUMNS", "").isdecimal():
        return shutil.get_terminal_size().columns
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except OSError:
        return None


def wrapped(text: str, width: int | None) -> str:
    """The text in lines of at most this width; a word that is longer has a line of its own.

    The further lines of an indented one are indented likewise.
    """
    if width is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _broken(line, width))


def _broken(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    return _wrapper(width, indent).wrap(line)


def wrapped_row(cells: Sequence[str], width: int) -> str:
    """The cells of a row of a table that is too narrow for columns."""
    return _wrapper(width, " " * _MARGIN).fill("  ".join(cells))


def _wrapper(width: int, indent: str) -> TextWrapper:
    return TextWrapper(width, subsequent_indent=indent, break_long_words=False,
                       break_on_hyphens=False)  # fmt: skip


def narrowest(cells: Sequence[str]) -> int:
    """The width that a column needs so that no word in it is broken."""
    return max((len(word) for cell in cells for word in cell.split()), default=0)
