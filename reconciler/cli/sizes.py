"""Sizes on the command line, written as people write them: `500M`, `20G`."""

import re

import click

from reconciler.patterns import regex

_SIZE = regex(r"(\d{1,12})([KMGT]?)(i?B)?", re.IGNORECASE)
_UNITS = ("", "K", "M", "G", "T")
_STEP = 1024


def bytes_of(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """A click callback that turns `500M` or `20G` into bytes.

    Raises:
        click.BadParameter: it is not a size.
    """
    if value is None:
        return None
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise click.BadParameter(f"{value!r} is not a size. Write 500M or 20G.")
    units = _UNITS.index(found[2].upper())
    return int(found[1]) * int(_STEP**units)


def size_of(count: int) -> str:
    """A number of bytes in words."""
    amount, unit = float(count), 0
    while amount >= _STEP and unit < len(_UNITS) - 1:
        amount, unit = amount / _STEP, unit + 1
    return f"{count} B" if unit == 0 else f"{amount:.1f} {_UNITS[unit]}iB"
