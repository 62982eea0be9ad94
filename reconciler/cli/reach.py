"""Finds the service that manages an environment; if there is one, only it makes changes."""

import os
from pathlib import Path

import click
import msgspec

from reconciler.cli.client import Client, Foreign, NotRunning
from reconciler.config import Config, EnvironmentConfig, Mode
from reconciler.environment.environment import Environment
from reconciler.environment.interpreter import InterpreterError
from reconciler.files.trust import Insecure
from reconciler.status import EnvironmentStatus, Status
from reconciler.trees.workspace import Busy
from reconciler.vault.whereabouts import places_of


class Served(msgspec.Struct, frozen=True):
    """An environment that a running service manages."""

    client: Client
    environment: EnvironmentStatus

    @property
    def name(self) -> str:
        """Its name, as the service knows it."""
        return self.environment.name


def served(config: Config, target: EnvironmentConfig) -> Served | None:
    """The service that manages this environment, if it answers."""
    client = Client(config)
    try:
        status = client.status()
    except (NotRunning, Foreign):
        return None
    found = matching(status, target)
    return Served(client, found) if found is not None else None


def matching(status: Status, target: EnvironmentConfig) -> EnvironmentStatus | None:
    """The environment as the service knows it, possibly under another name."""
    root = os.path.realpath(target.root)
    for environment in status.environments:
        if os.path.realpath(Path(environment.python.executable).parent.parent) == root:
            return environment
    return None


def required(config: Config, target: EnvironmentConfig) -> Served:
    """The service that manages this environment.

    Raises:
        NotRunning: nothing answers.
        click.ClickException: a service answers, but does not manage it.
    """
    client = Client(config)
    status = client.status()
    found = matching(status, target)
    if found is None:
        known = ", ".join(e.name for e in status.environments) or "nothing"
        raise click.ClickException(
            f"the service at {client.address} does not manage {target.root} (it manages "
            f"{known}). Name its configuration with --config, or start one for this project."
        )
    return Served(client, found)


def refuse_observed(target: EnvironmentConfig, service: Served | None) -> None:
    """Refuse to change an environment that is only observed, without --force.

    Raises:
        click.ClickException: it is only observed.
    """
    mode = Mode(service.environment.mode) if service is not None else target.mode
    if mode is Mode.OBSERVE:
        raise click.ClickException(
            f'{target.name} is only observed (mode = "observe"); --force changes it anyway.'
        )


def refuse_claimed(config: Config, target: EnvironmentConfig) -> None:
    """Refuse to change an environment whose service does not answer here.

    Raises:
        click.ClickException: one manages this environment.
    """
    environment = Environment(target, os.environ, config.service.uv, places_of(config.service))
    try:
        workspace = environment.workspace
        workspace.create()
        with workspace.service_lock():
            return
    except (InterpreterError, Insecure):  # the pass says it
        return
    except Busy as busy:
        raise click.ClickException(
            f"a service ({busy.holder}) manages {target.name}, but does not answer at "
            f"{config.http.listen}. Name its configuration with --config, or stop it."
        ) from busy
