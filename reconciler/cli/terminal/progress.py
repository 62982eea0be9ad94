"""Shows a pass while it runs: live on a terminal, otherwise one line for each step.

Receives what the pass and uv report; never delays them.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from reconciler.cli.terminal.output import Output, colors, harmless
from reconciler.daemon.progress import PackageStep, Progress
from reconciler.planning.planner import SEARCHING
from reconciler.status import Change

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.spinner import Spinner

PHASES = {
    "wait": "waiting for its turn",
    "service": "the service is working",
    "create": "creating the environment",
    "look": "looking",
    "plan": "planning with uv",
    "check": "checking the copies in the vault",
    "install": "fetching and building",
    "verify": "checking the new tree",
    "sync": "writing it to the disk",
    "exchange": "making it live",
}
_SHOWN = 12
_DONE = frozenset({"installed", "failed"})
_COLORS = {"failed": "red", "": "bright_black"}


@dataclass(slots=True)
class View:
    """The progress of the running pass, and of each of its packages."""

    step: str = "wait"
    packages: dict[str, str] = field(default_factory=dict)
    """Name to the planned change."""
    steps: dict[str, str] = field(default_factory=dict)
    """Name to its current step."""
    progress: Progress = field(default_factory=Progress)
    search: str = ""
    """How far the search for what cannot be installed has come; empty: there is none."""

    def enter(self, step: str) -> None:
        """The pass has reached another step."""
        self.step = step
        self.search = ""
        self.progress.enter(step)

    def plan(self, changes: Sequence[Change]) -> None:
        """The pass knows what is to change."""
        self.progress.plan(changes)
        self.packages = {
            change.name: harmless(f"{change.from_ or '-'} -> {change.to or '-'}")
            for change in changes
        }

    def read(self, line: str) -> PackageStep | None:
        """Read a line of uv's output; return a planned package's step if it is new."""
        if line.startswith(SEARCHING):
            self.search = line
        step = self.progress.read(line)
        if step is None or step.package not in self.packages:
            return None
        self.steps[step.package] = step.step
        return step

    @property
    def done(self) -> int:
        """How many packages are done."""
        return sum(self.steps.get(name) in _DONE for name in self.packages)


class Follower:
    """Receives what a pass reports; subclasses show it. Called from several threads."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.view = View()

    def step(self, name: str) -> None:
        """A step of the pass begins."""
        self.view.enter(name)

    def planned(self, changes: Sequence[Change]) -> None:
        """The pass knows what is to change."""
        self.view.plan(changes)

    def line(self, text: str) -> None:
        """uv printed a line."""
        if self.output.options.verbose:
            click.echo(harmless(text), err=True)
        self.view.read(text)


class PlainFollower(Follower):
    """Prints a line for each step, on standard error."""

    def step(self, name: str) -> None:
        """Print the step, except the last look."""
        if name != self.view.step and (name, self.view.step) != ("look", "exchange"):
            self.output.note(f"{PHASES.get(name, name)} ...")
        super().step(name)

    def line(self, text: str) -> None:
        """Print which package is being fetched or built, and how far a search has come."""
        if self.output.options.verbose:
            super().line(text)
            return
        before = self.view.search
        news = self.view.read(text)
        if self.view.search != before:
            self.output.note(f"  {self.view.search}")
        if news is not None:
            self.output.note(f"  {news.step} {news.package}")


class LiveFollower(Follower):
    """A live display that is redrawn while the pass runs, and removed at the end."""

    def __init__(self, output: Output, title: str) -> None:
        super().__init__(output)
        self._title = title
        self._started = time.monotonic()
        self._spinner: Spinner | None = None

    def __rich__(self) -> "RenderableType":
        """Draw the display."""
        from rich.console import Group  # noqa: PLC0415 -- slow to import, and only for terminals
        from rich.spinner import Spinner  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        view = self.view
        seconds = time.monotonic() - self._started
        counts = f" {view.done}/{len(view.packages)}" if view.packages else ""
        words = view.search or PHASES.get(view.step, view.step)
        text = Text(harmless(f"{self._title}: {words}{counts}  {seconds:.1f} s"))
        self._spinner = spinner = self._spinner or Spinner("dots")
        spinner.update(text=text)
        rows = Table.grid(padding=(0, 2))
        packages = sorted(view.packages.items(), key=lambda p: view.steps.get(p[0]) in _DONE)
        for name, change in packages[:_SHOWN]:
            step = view.steps.get(name, "")
            style = _COLORS.get(step, "green")
            rows.add_row(Text(harmless(f"  {name}")), Text(change), Text(step, style=style))
        if len(packages) > _SHOWN:
            rows.add_row(Text(f"  and {len(packages) - _SHOWN} more", style="bright_black"))
        return Group(spinner, rows) if view.packages else spinner


@contextmanager
def following(output: Output, title: str, *, lines: bool = True) -> Iterator[Follower]:
    """Show the progress of a pass while it runs.

    Args:
        output: where to print it.
        title: what the pass is about, in a few words.
        lines: whether to print a line for each step when not on a terminal.
    """
    live_terminal = colors(terminal=sys.stderr.isatty()) and not output.options.verbose
    if not output.for_people or not (live_terminal or lines or output.options.verbose):
        yield Follower(output)
        return
    if not live_terminal:
        yield PlainFollower(output)
        return
    from rich.console import Console  # noqa: PLC0415 -- slow to import, and only for terminals
    from rich.live import Live  # noqa: PLC0415

    live = LiveFollower(output, title)
    display = Live(
        live, console=Console(stderr=True), refresh_per_second=12, transient=True,
        redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
    with display:
        yield live
