"""How commands print: JSON, colours and tables on a terminal, or plain lines elsewhere.

The only place that prints, except for what redraws a live display: text from outside (names,
uv's output) cannot control the terminal, and no secret is in it.
"""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import click
import msgspec

from reconciler.cli.options import Options
from reconciler.cli.terminal.wrapping import narrowest, width_of, wrapped, wrapped_row
from reconciler.log.redact import redact, without_secrets
from reconciler.log.visible import visible, visible_in_cell, visible_in_json

Row = Sequence[str | None]

_GAP = 3
"""Spaces between two columns of a table."""

GOOD, BAD, DOUBT, QUIET = "green", "red", "yellow", "bright_black"
"""The colours for success, errors, warnings, and side notes."""


def colors(environ: Mapping[str, str] = os.environ, *, terminal: bool) -> bool:
    """Whether to use colours (no-color.org)."""
    return terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def _is_terminal() -> bool:
    return sys.stdout.isatty()


@dataclass(slots=True)
class Output:
    """Prints one command's result, in the form that was asked for."""

    options: Options
    terminal: bool = field(default_factory=_is_terminal)

    @property
    def for_people(self) -> bool:
        """Whether to print text for people at all."""
        return not self.options.json and not self.options.quiet

    @property
    def progress(self) -> bool:
        """Whether to show progress."""
        return self.for_people

    def json(self, document: object) -> None:
        """Print a document, if JSON was asked for."""
        if self.options.json:
            encoded = msgspec.json.encode(without_secrets(document))
            click.echo(visible_in_json(msgspec.json.format(encoded, indent=2).decode()))

    def json_line(self, document: object) -> None:
        """Print it on one line, for a stream of documents."""
        if self.options.json:
            encoded = msgspec.json.encode(without_secrets(document))
            click.echo(visible_in_json(encoded.decode()))
            sys.stdout.flush()

    def say(self, text: str = "", color: str | None = None, *, bold: bool = False) -> None:
        """Print text for people."""
        if self.for_people:
            use = colors(terminal=self.terminal)
            lines = wrapped(harmless(text), width_of(sys.stdout))
            shown = click.style(lines, fg=color, bold=bold or None)
            click.echo(shown, color=use)

    def note(self, text: str) -> None:
        """Print a note on standard error, apart from the result."""
        if self.for_people:
            complain(text)

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Row],
        marks: Sequence[str] = (),
        spare: Sequence[str] = (),
    ) -> None:
        """Print a table on a terminal that is wide enough for it, aligned lines elsewhere.

        Args:
            columns: the headings.
            rows: the cells; None is shown as a dash.
            marks: a colour for each row.
            spare: the headings to leave out on a narrow terminal, in this order.
        """
        if not self.for_people:
            return
        cells = [[visible_in_cell(redact(cell)) if cell else "-" for cell in row] for row in rows]
        width = width_of(sys.stdout)
        if width is None:
            for line in plain_table(columns, cells):
                click.echo(line)
            return
        shown = _fitting(columns, cells, spare, width)
        headings = [columns[n] for n in shown]
        _print_table(headings, [[row[n] for n in shown] for row in cells], marks, width)


def complain(text: str) -> None:
    """Print text for people on standard error, where errors go even with `--quiet` or `--json`."""
    click.echo(wrapped(harmless(text), width_of(sys.stderr)), err=True)


def tell(text: str) -> None:
    """Print text as it is on standard output, in lines of any length: scripts and units."""
    click.echo(harmless(text))


def harmless(text: str) -> str:
    """The text without secrets, and with its control characters escaped."""
    return visible(redact(text))


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned lines with nothing cut off; the last column is not padded."""
    everything = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(row[n]) for row in everything) for n in range(len(columns))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in everything
    ]


def _fitting(
    columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str], width: int
) -> list[int]:
    """Which columns to show so that no word has to be broken."""
    shown = list(range(len(columns)))
    widths = [max(len(row[n]) for row in [list(columns), *rows]) for n in shown]
    for heading in spare:
        if sum(widths[n] + _GAP for n in shown) - _GAP <= width:
            break
        shown = [n for n in shown if columns[n] != heading]
    return shown


def _print_table(
    columns: Sequence[str], rows: list[list[str]], marks: Sequence[str], width: int
) -> None:
    """Print it with rich, whose columns become narrower by breaking their cells between words."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 -- slow to import, and only for terminals
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    needed = [narrowest([columns[n], *(row[n] for row in rows)]) for n in range(len(columns))]
    if sum(needed) + _GAP * (len(columns) - 1) > width:
        for row in [list(columns), *rows]:
            click.echo(wrapped_row(row, width))
        return
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        whole = needed[number] == max(len(cell) for cell in (column, *(r[number] for r in rows)))
        table.add_column(column, overflow="fold", min_width=needed[number], no_wrap=whole)
    for number, row in enumerate(rows):
        style = marks[number] if number < len(marks) else ""
        table.add_row(*(Text(cell, style=style if n == 0 else "") for n, cell in enumerate(row)))
    Console(highlight=False, width=width).print(table)
