"""`reconciler service`: installs, removes or shows the systemd service; and reloads it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from reconciler.cli.terminal.output import tell
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
    """Install, remove or show the systemd service.

    Without --user it is a system service. It runs as the owner of the configured environments;
    with --for there is one for each user, reconciler@USER.
    """


def _owner_options(command: F) -> F:
    for option in (
        click.option("--user", "own", is_flag=True, help="Your own user service; needs no root."),
        click.option("--for", "named", metavar="USER", help="The system service reconciler@USER."),
    ):
        command = option(command)
    return command


def _target_options(command: F) -> F:
    for option in (
        click.option("--config", type=_PATH, help="The configuration file."),
        click.option("--pyproject", type=_PATH, help="One project, without a configuration."),
        click.option("--python", type=_PATH, help="Its environment, if not the .venv beside it."),
        click.option("--run-as", metavar="USER", help="Run as USER, not the environments' owner."),
        click.option("--socket", is_flag=True, help="Let systemd listen from boot on."),
    ):
        command = option(command)
    return _owner_options(command)


@service.command()
@_target_options
def install(**options: Any) -> None:
    """Write the unit, enable it and start it. Running it again changes nothing."""
    _reporting_errors(lambda: installing.install(plan(_wanted(options)), tell))


@service.command()
@_owner_options
def uninstall(**options: Any) -> None:
    """Stop the service and remove all its files. Environments stay as they are."""
    _reporting_errors(lambda: installing.uninstall(_wanted(options), tell))


@service.command()
@_target_options
def show(**options: Any) -> None:
    """Print what `install` would write."""

    def print_units() -> None:
        for unit in plan(_wanted(options)).units:
            tell(f"# {unit.path}\n{unit.text}")

    _reporting_errors(print_units)


@service.command(hidden=True)
def reload() -> None:
    """Ask the service $MAINPID to reload, and fail if it could not; for ExecReload=."""
    pid, folder = os.environ.get("MAINPID", ""), reloading.runtime_directory()
    if not pid.isdecimal() or folder is None:
        raise click.ClickException("This is for systemd; use `systemctl reload reconciler`.")
    try:
        outcome = reloading.request_reload(int(pid), folder, _RELOAD_SECONDS)
    except reloading.ReloadUnanswered as error:
        raise click.ClickException(str(error)) from error
    if not outcome.accepted:
        raise click.ClickException(f"The running configuration stays in effect. {outcome.message}")
    tell(outcome.message)


def _wanted(options: dict[str, Any]) -> Wanted:
    if options["own"] and options["named"]:
        raise click.UsageError("Use either --user or --for, not both.")
    if options.get("socket") and options["named"]:
        raise click.UsageError("--socket cannot be used with --for.")
    return Wanted(**options)


def _reporting_errors(act: Callable[[], None]) -> None:
    """Run `act`, and show an expected error as one sentence."""
    try:
        act()
    except (CannotInstall, ManagerFailed, ConfigRejected) as error:
        raise click.ClickException(str(error)) from error
