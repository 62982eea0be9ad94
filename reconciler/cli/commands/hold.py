"""`reconciler hold`: shows held packages, restores a broken one, or accepts what is installed."""

import os
from collections.abc import Callable

import click
from click.shell_completion import CompletionItem
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.cli.asking import exit_status, show_outcome
from reconciler.cli.command import Command
from reconciler.cli.direct import Direct, direct, recovered
from reconciler.cli.json_output import Holds
from reconciler.cli.logs import configure_log
from reconciler.cli.nearest import nearest
from reconciler.cli.opening import holds_seen, opened, refuse_interrupted
from reconciler.cli.options import Options
from reconciler.cli.reach import Served, refuse_claimed, refuse_observed, served
from reconciler.cli.suggesting import SuggestingGroup
from reconciler.cli.targets import chosen, configuration
from reconciler.cli.terminal.hold_table import show_holds
from reconciler.cli.terminal.output import Output
from reconciler.cli.terminal.passes import show_pass
from reconciler.cli.terminal.progress import Follower, following
from reconciler.config import Config, EnvironmentConfig
from reconciler.daemon.requests import Accept, Restore
from reconciler.environment.absent import snapshot_of_nothing
from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.holds.standing import INSTALL_IT, NEVER_INSTALLED
from reconciler.passes.runner import Recorded
from reconciler.state.holds import matches
from reconciler.status import Hold


@click.group(cls=SuggestingGroup)
def hold() -> None:
    """Show held packages, restore a broken one, or accept what is installed.

    A held package is never installed, upgraded, reinstalled or removed. When it is first seen
    intact, a copy goes to the vault (hard links, no extra space), from which it can be restored
    offline.
    """


def _complete(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    options = context.find_object(Options) or Options()
    try:
        config = configuration(options)
        holds = _holds(config, chosen(config, options), None)
    except Exception:  # noqa: BLE001 -- completion stays silent on any error
        return []
    return [CompletionItem(hold.name) for hold in holds if hold.name.startswith(incomplete)]


@hold.command(
    "list",
    cls=Command,
    examples=(("reconciler hold list", "each hold: intact, or broken and why"),),
    exit_codes="0 all intact, 2 some broken, 1 error.",
)
@click.pass_obj
def list_(options: Options) -> int:
    """Show each held package, and whether it is intact."""
    config = configuration(options)
    target = chosen(config, options)
    holds = _holds(config, target, served(config, target))
    output = Output(options)
    output.json(Holds(environment=target.name, holds=holds))
    if not holds:
        output.say(f"Nothing is held in {target.name}: none of {_names(target)} is installed.")
    else:
        show_holds(holds, output)
    return 0 if all(it.intact for it in holds) else 2


def _names(target: EnvironmentConfig) -> str:
    return ", ".join(target.hold) or "no names"


def _holds(config: Config, target: EnvironmentConfig, service: Served | None) -> tuple[Hold, ...]:
    if service is not None:
        return service.environment.holds
    environment = opened(config, target)
    refuse_interrupted(environment)
    return holds_seen(config, environment, _seen(environment, target))


@hold.command(
    cls=Command,
    examples=(("reconciler hold restore torch", "and everything that torch pins"),),
    exit_codes="0; 1 for an error.",
)
@click.argument("name", shell_complete=_complete)
@click.option("--reason", metavar="TEXT", help="Why, for the history and the log.")
@click.option("--force", is_flag=True, help="Even if the environment is only observed.")
@click.pass_obj
def restore(options: Options, *, name: str, reason: str | None, force: bool) -> int:
    """Restore the held build of NAME from the vault, offline, with what it needs.

    Also in an environment that was recreated, moved, or does not exist yet. Only what differs is
    checked and changed. Another package that claims the same files is removed
    if nothing requires it. Anything else that an intruder brought along stays, and is listed.
    """
    package = canonicalize_name(name)
    # `apply`: --force has been checked already if the environment is only observed.
    asked = Restore(package=package, reason=reason, apply=True)
    return _act(options, name, asked, Direct.restore, force=force)


@hold.command(
    cls=Command,
    examples=(("reconciler hold accept torch", "another build was installed on purpose"),),
    exit_codes="0; 1 for an error.",
)
@click.argument("name", shell_complete=_complete)
@click.option("--reason", metavar="TEXT", help="Why, for the history and the log.")
@click.pass_obj
def accept(options: Options, *, name: str, reason: str | None) -> int:
    """Hold NAME as it is now.

    Another build, one without some of its files or without a RECORD, edited files, or that it is
    gone: what counts from now on is said, and what it needs is accepted with it.
    """
    asked = Accept(package=canonicalize_name(name), reason=reason)
    return _act(options, name, asked, Direct.accept)


def _refuse_unheld(
    config: Config, target: EnvironmentConfig, name: str, asked: Restore | Accept
) -> None:
    """Refuse what can come to nothing, before a pass begins.

    Raises:
        click.ClickException: It is not held, or there is nothing to restore.
    """
    package = canonicalize_name(name)
    known = [it.name for it in _holds(config, target, None)]
    if package in known:
        return
    if not matches(package, target.hold):
        near = nearest(name, known)
        raise click.ClickException(f"{name} is not held in {target.name}. {near}")
    restoring = isinstance(asked, Restore)
    if not (restoring and _seen(opened(config, target), target).vault.offered(package)):
        raise click.ClickException(f"{name} {NEVER_INSTALLED} in {target.name}. {INSTALL_IT}")


def _seen(environment: Environment, target: EnvironmentConfig) -> Snapshot:
    if environment.exists:
        return environment.look(audit_files=True)
    return snapshot_of_nothing(target, os.environ, environment.store)


_Act = Callable[[Direct, NormalizedName, Follower, str | None], Recorded]


def _act(
    options: Options, name: str, asked: Restore | Accept, act: _Act, *, force: bool = True
) -> int:
    configure_log(options)
    config = configuration(options)
    target = chosen(config, options)
    output = Output(options)
    service = served(config, target)
    if service is None:
        recovered(config, target)
        _refuse_unheld(config, target, name, asked)
    if not force:
        refuse_observed(target, service)
    if service is not None:
        return show_outcome(service, service.client.ask(service.name, asked), output)
    refuse_claimed(config, target)
    with direct(config, target) as local, following(output, target.name) as follower:
        recorded = act(local, canonicalize_name(name), follower, asked.reason)
    output.json(recorded.detail)
    show_pass(recorded.detail, target.name, output)
    return exit_status(recorded.detail)
