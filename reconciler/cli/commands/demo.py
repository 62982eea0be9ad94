"""`reconciler demo`: shows what Reconciler is for, on a throw-away environment."""

import io
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from reconciler.cli.command import Command
from reconciler.cli.interruptible import cancellable
from reconciler.cli.logs import configure_log
from reconciler.cli.options import Options
from reconciler.demo.story import (
    GPU_NAMES,
    STAYS,
    Comparison,
    Edit,
    Heading,
    Part,
    Surprise,
    Typed,
    Words,
    story,
)
from reconciler.demo.world import world
from reconciler.patterns import regex
from reconciler.processes import Cancellation

_WIDTH = 100
_INDENT = 2
_FONTS = regex(r"@font-face \{.*?\}\s*", re.DOTALL)


@click.command(
    cls=Command,
    takes=("quiet", "verbose"),
    examples=(
        ("reconciler demo", "takes about twenty seconds, needs no network, leaves nothing behind"),
        ("reconciler demo --svg demo.svg", "also draws a picture of it"),
    ),
    exit_codes="0; 1 if a step of the demo did not work.",
)
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE",
              help="Also write a picture of the terminal to FILE.")  # fmt: skip
@click.pass_obj
def demo(options: Options, *, svg: Path | None) -> int:
    """Show what Reconciler is for, on a throw-away environment.

    Runs real commands on a real environment in a temporary folder, with made-up packages: an
    edit, what uv alone would do about it, a reconciliation, a broken hold restored, a rollback.
    Needs no network and takes about twenty seconds.
    """
    configure_log(options)
    console = _console(options, recorded=svg is not None)
    started = time.monotonic()
    environ = dict(os.environ) if svg is None else _with_colors()
    cancellable(lambda cancel: _tell(console, environ, cancel))
    _end(console, time.monotonic() - started)
    if svg is not None:
        _write_svg(console, svg)
    return 0


def _tell(console: Console, environ: Mapping[str, str], cancel: Cancellation) -> None:
    with tempfile.TemporaryDirectory(prefix="reconciler-demo-") as folder:
        stage = world(Path(folder).resolve(), environ, console.width - _INDENT, cancel)
        try:
            stage.build()
            for part in story(stage):
                cancel.check()
                _show(part, console)
        except Surprise as surprise:
            raise click.ClickException(
                f"the demo did not work as expected: {surprise}. Please report it."
            ) from surprise


def _console(options: Options, *, recorded: bool) -> Console:
    if not recorded:
        return Console(highlight=False, quiet=options.quiet)
    return Console(
        width=_WIDTH, record=True, highlight=False, force_terminal=True,
        color_system="truecolor", file=io.StringIO() if options.quiet else None,
    )  # fmt: skip


def _with_colors() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "NO_COLOR"}


def _show(part: Part, console: Console) -> None:
    match part:
        case Heading():
            console.print()
            console.print(Text(part.text, style="bold cyan"))
        case Words():
            _print(Text(part.text, style="italic"), console)
        case Typed():
            _print(Text(f"$ {part.line}", style="bold"), console)
            if part.ran is not None:
                _print(Text.from_ansi(part.ran.text.rstrip()), console)
        case Edit():
            for line in part.removed:
                _print(Text(f'- "{line}"', style="red"), console)
            for line in part.added:
                _print(Text(f'+ "{line}"', style="green"), console)
        case Comparison():
            _print(_table(part), console)


def _print(shown: Text | Table, console: Console) -> None:
    """Print it indented, and wrapped to the width of the terminal."""
    padded = Padding(shown, (0, 0, 0, _INDENT), expand=False)
    if console.record or console.is_terminal or console.quiet:
        console.print(padded)
        return
    with console.capture() as captured:  # no padding on the right in a log
        console.print(padded)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _table(comparison: Comparison) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for column in ("Package", "uv pip install --upgrade", "reconciler"):
        table.add_column(column)
    for name, naive, ours in comparison.rows:
        bad = name in GPU_NAMES and naive != STAYS
        mark = "green" if STAYS in ours else ""
        table.add_row(name, Text(naive, style="red" if bad else ""), Text(ours, style=mark))
    return table


def _end(console: Console, seconds: float) -> None:
    console.print()
    console.print(Text(f"That took {seconds:.0f} s and left nothing behind. In your project:",
                       style="bold"))  # fmt: skip
    for line, words in (
        ("reconciler plan", "what would change here, without changing it"),
        ("reconciler run", "manage the environment, with a page at http://127.0.0.1:8765"),
    ):
        _print(Text.assemble((f"$ {line}", "bold"), f"   {words}"), console)


def _write_svg(console: Console, path: Path) -> None:
    """Write the picture, without the fonts that it would fetch from elsewhere."""
    drawn = console.export_svg(title="reconciler demo")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_FONTS.sub("", drawn), encoding="utf-8")
