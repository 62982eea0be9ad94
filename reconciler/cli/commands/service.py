"""`reconciler service`: installs the service, removes it, shows it; and makes it reload."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from reconciler.config import ConfigRejected
from reconciler.systemd import install as installing
from reconciler.systemd import reload as reloading
from reconciler.systemd.installation import CannotInstall, Wanted, plan
from reconciler.systemd.systemctl import ManagerFailed

F = TypeVar("F", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)
_RELOAD_SECONDS = 60


@click.group(short_help="Install, remove or show the systemd service.")
def service() -> None:
    """Reconciler as a systemd service.

    Without --user it is a service of the machine: that of the user who owns the configured
    environments, or with --for one per user, reconciler@USER.
    """


def _whose(command: F) -> F:
    for option in (
        click.option("--user", "own", is_flag=True, help="A service of your own; needs no root."),
        click.option("--for", "named", metavar="USER", help="reconciler@USER, of the machine."),
    ):
        command = option(command)
    return command


def _what(command: F) -> F:
    for option in (
        click.option("--config", type=_PATH, help="The configuration file."),
        click.option("--pyproject", type=_PATH, help="One project, without a configuration."),
        click.option("--python", type=_PATH, help="Its environment, if not .venv beside it."),
        click.option("--run-as", metavar="USER", help="Instead of the environments' owner."),
        click.option("--socket", is_flag=True, help="Let systemd listen, from boot on."),
    ):
        command = option(command)
    return _whose(command)


@service.command()
@_what
def install(**options: Any) -> None:
    """Write the unit, enable it and start it. Idempotent."""
    _in_words(lambda: installing.install(plan(_wanted(options)), click.echo))


@service.command()
@_whose
def uninstall(**options: Any) -> None:
    """Stop the service and remove all that is its own; environments stay as they are."""
    _in_words(lambda: installing.uninstall(_wanted(options), click.echo))


@service.command()
@_what
def show(**options: Any) -> None:
    """Print what `install` would write."""

    def print_units() -> None:
        for unit in plan(_wanted(options)).units:
            click.echo(f"# {unit.path}\n{unit.text}")

    _in_words(print_units)


@service.command(hidden=True)
def reload() -> None:
    """What ExecReload= runs: ask the service $MAINPID to reload, and fail if it could not."""
    pid, folder = os.environ.get("MAINPID", ""), reloading.runtime_directory()
    if not pid.isdecimal() or folder is None:
        raise click.ClickException("This is for systemd; say `systemctl reload reconciler`.")
    try:
        outcome = reloading.request_reload(int(pid), folder, _RELOAD_SECONDS)
    except reloading.ReloadUnanswered as error:
        raise click.ClickException(str(error)) from error
    if not outcome.accepted:
        raise click.ClickException(f"The running configuration stays in force. {outcome.message}")
    click.echo(outcome.message)


def _wanted(options: dict[str, Any]) -> Wanted:
    if options["own"] and options["named"]:
        raise click.UsageError("--user and --for exclude each other.")
    if options.get("socket") and options["named"]:
        raise click.UsageError("--socket is for the one service of the machine, or --user.")
    return Wanted(**options)


def _in_words(act: Callable[[], None]) -> None:
    """Run `act`, and say what stands in its way as people read it."""
    try:
        act()
    except (CannotInstall, ManagerFailed, ConfigRejected) as error:
        raise click.ClickException(str(error)) from error
