"""`reconciler status`: the service's status, once or at each change."""

import os
import sys
import time

import click
import msgspec

from reconciler.cli.client import Client, NotRunning
from reconciler.cli.command import Command
from reconciler.cli.nearest import nearest
from reconciler.cli.options import Options
from reconciler.cli.targets import NothingHere, configuration
from reconciler.cli.terminal.output import Output, harmless
from reconciler.cli.terminal.overview import show_status, utc_now
from reconciler.cli.terminal.wrapping import width_of
from reconciler.config import Config, for_nothing
from reconciler.log.visible import visible_in_cell
from reconciler.status import Status

_AGAIN_SECONDS = 1.0
_ENTER, _LEAVE, _CLEAR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[H\x1b[2J"


@click.command(
    cls=Command,
    examples=(
        ("reconciler status", "a line for each environment; in full if there is only one"),
        ("reconciler status --watch", "again at each change, until Ctrl-C"),
        ("reconciler status --json | jq '.environments[].phase'", "for scripts"),
    ),
    exit_codes="0; 1 if the service does not answer.",
)
@click.option("-w", "--watch", is_flag=True, help="Show it again at each change.")
@click.pass_obj
def status(options: Options, *, watch: bool) -> int:
    """Show the service's status.

    This is what GET /status returns; --json prints it unchanged. `reconciler check` examines the
    environment itself and needs no service.
    """
    client = Client(_configuration(options))
    output = Output(options)
    if watch:
        return _watch(client, options, output)
    current = client.status()
    _refuse_unknown(current, options.environment)
    _show(current, options, output)
    return 0


def _configuration(options: Options) -> Config:
    """The configuration with the service's address; the defaults if there is none here."""
    try:
        return configuration(options)
    except NothingHere:
        return for_nothing(os.environ)


def _show(current: Status, options: Options, output: Output) -> None:
    if options.environment is None:
        output.json(current)
    else:
        output.json(next(e for e in current.environments if e.name == options.environment))
    show_status(current, options.environment, output, utc_now())


def _refuse_unknown(current: Status, name: str | None) -> None:
    known = [environment.name for environment in current.environments]
    if name is not None and name not in known:
        raise click.ClickException(
            f"The service has no environment {name!r}. {nearest(name, known)}"
        )


def _watch(client: Client, options: Options, output: Output) -> int:
    """Follow the events; if the service goes away, wait for it."""
    _refuse_unknown(client.status(), options.environment)
    watch = _Watch(client, options, output)
    if watch.screen:
        click.echo(_ENTER, nl=False)
    try:
        while True:
            watch.follow()
            time.sleep(_AGAIN_SECONDS)
    except KeyboardInterrupt:
        return 0
    finally:
        if watch.screen:
            click.echo(_LEAVE, nl=False)


class _Watch:
    """Keeps the screen up to date with the service."""

    def __init__(self, client: Client, options: Options, output: Output) -> None:
        self._client = client
        self._options = options
        self._output = output
        self._shown: Status | None = None
        self.screen = output.terminal and output.for_people

    def follow(self) -> None:
        """Show each change until the connection ends, and say once that it has."""
        try:
            for event in self._client.events(None):
                if event.kind in ("connected", "status"):
                    self._show(self._client.status())
                elif event.kind == "log" and self.screen:
                    line = visible_in_cell(harmless(str(event.data.get("line", ""))))
                    click.echo(f"\r\x1b[K{line[: (width_of(sys.stdout) or 80) - 1]}", nl=False)
        except NotRunning as gone:
            if self._shown is not None:
                self._output.note(str(gone))
            self._shown = None

    def _show(self, current: Status) -> None:
        if self._shown is None or _differ(current, self._shown):
            _draw(current, self._options, self._output, screen=self.screen)
        self._shown = current


def _differ(one: Status, other: Status) -> bool:
    """Whether anything visible has changed."""
    return msgspec.structs.replace(one, generation=0) != msgspec.structs.replace(
        other, generation=0
    )


def _draw(current: Status, options: Options, output: Output, *, screen: bool) -> None:
    if options.json:
        output.json_line(current)
        return
    if screen:
        click.echo(_CLEAR, nl=False)
    show_status(current, options.environment, output, utc_now())
    output.say(f"{utc_now().astimezone():%H:%M:%S}, Ctrl-C to stop" if screen else "")
