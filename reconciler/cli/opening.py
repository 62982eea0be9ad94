"""Opens the environment that a command works on, or an empty one in its place."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from reconciler.cli.options import Options
from reconciler.config import Config, EnvironmentConfig
from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.holds.standing import holds_found
from reconciler.status import Hold
from reconciler.trees.interruption import interruption_of
from reconciler.vault.whereabouts import places_of


def opened(config: Config, target: EnvironmentConfig) -> Environment:
    """The environment, whether it exists or not."""
    return Environment(target, os.environ, config.service.uv, places_of(config.service))


def refuse_interrupted(environment: Environment) -> None:
    """Before an environment is only looked at: half a change is nothing to judge by.

    Raises:
        click.ClickException: A change was interrupted; the message says what to do.
    """
    problem = interruption_of(environment.place)
    if problem is not None:
        raise click.ClickException(str(problem))


def holds_seen(config: Config, environment: Environment, snapshot: Snapshot) -> tuple[Hold, ...]:
    """The state of each hold, and those that are missed: the environment was recreated, say."""
    from reconciler.holds.missed import missed  # noqa: PLC0415 -- slow to import
    from reconciler.journal.history import JOURNAL  # noqa: PLC0415
    from reconciler.journal.peek import peek  # noqa: PLC0415

    found = holds_found(snapshot)
    before = peek(config.service.state_dir / JOURNAL, environment.key).held
    return (*found, *missed(before, found, snapshot))


@contextmanager
def opened_or_blank(
    config: Config, target: EnvironmentConfig, options: Options
) -> Iterator[Environment]:
    """The environment, or an empty one in its place if it does not exist yet.

    Raises:
        click.ClickException: A change of it was interrupted.
    """
    environment = opened(config, target)
    refuse_interrupted(environment)
    if environment.exists:
        yield environment
        return
    from reconciler.cli.blank import stand_in  # noqa: PLC0415 -- rare, and slow to import
    from reconciler.cli.logs import configure_log  # noqa: PLC0415

    configure_log(options)
    with stand_in(target, os.environ, config.service.uv) as blank:
        yield blank
