"""Durations on the command line, written as in the configuration."""

import click

from reconciler.config import parse_duration
from reconciler.config.problem import Unfit


def seconds_of(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> float | None:
    """A click callback that turns `90s`, `10m` or `1h30m` into seconds.

    Raises:
        click.BadParameter: it is not a duration.
    """
    if value is None:
        return None
    try:
        return parse_duration(value, minimum=1.0)
    except Unfit as unfit:
        raise click.BadParameter(f"{value!r}: {unfit}.") from unfit
