"""Finds the configuration and the environment that a command works on.

Reads the configuration; never looks inside an environment.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from reconciler.cli.nearest import nearest
from reconciler.cli.options import Options
from reconciler.config import Config, ConfigRejected, EnvironmentConfig, find, for_project, load
from reconciler.config.paths import interpreter_of, pyproject_of


class NothingHere(click.ClickException):
    """There is neither a configuration nor a project in this folder."""


def configuration(options: Options, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in effect: from a file, or the defaults for one project.

    If the project that is named is in the configuration, its settings there apply, holds
    included.

    Raises:
        ConfigRejected: the file is bad.
        click.ClickException: there is nothing to manage.
    """
    path = find(options.config, environ)
    if path is None:
        return _of_project(options, environ)
    config = load(path, environ)
    if options.pyproject is None and options.python is None:
        return config
    matching = {n: e for n, e in config.environments.items() if _is_named(e, options)}
    if matching:
        return msgspec.structs.replace(config, environments=matching)
    if options.config is not None:
        raise click.ClickException(
            f"{path} has no environment for that project. Add one there, or omit --config. "
            f"It has: {', '.join(config.environments)}."
        )
    return _of_project(options, environ)


def _of_project(options: Options, environ: Mapping[str, str]) -> Config:
    config = for_project(options.pyproject or Path.cwd(), options.python, environ)
    (environment,) = config.environments.values()
    if not environment.pyproject.is_file() and options.pyproject is None:
        raise NothingHere(
            f"there is no pyproject.toml in {Path.cwd()}, no requirements.txt, and no "
            "configuration. Go to the project's folder, or name it with --pyproject, or name a "
            "configuration with --config."
        )
    return config


def _is_named(environment: EnvironmentConfig, options: Options) -> bool:
    if options.pyproject is not None:
        named = pyproject_of(options.pyproject.absolute())
        if named.resolve() != environment.pyproject.resolve():
            return False
    if options.python is None:
        return True
    root = interpreter_of(options.python.absolute()).parent.parent
    return root.resolve() == environment.root.resolve()


def chosen(config: Config, options: Options) -> EnvironmentConfig:
    """The environment to work on: the one named, the only one, or the one of this folder.

    Raises:
        click.ClickException: no environment has that name, or it is not clear which is meant.
    """
    environments = config.environments
    if options.environment is not None:
        found = environments.get(options.environment)
        if found is None:
            near = nearest(options.environment, environments)
            raise click.ClickException(f"There is no environment {options.environment!r}. {near}")
        return found
    here = [e for e in environments.values() if _is_here(e)]
    candidates = here if len(here) == 1 else list(environments.values())
    if len(candidates) > 1:
        raise click.ClickException(
            f"Which environment? Name one with --environment: {', '.join(environments)}."
        )
    return candidates[0]


def several(config: Config, options: Options) -> list[EnvironmentConfig]:
    """The environment that was named, or all of them."""
    if not config.environments:
        return []
    return [chosen(config, options)] if options.environment else list(config.environments.values())


def _is_here(environment: EnvironmentConfig) -> bool:
    """Whether the current folder is the environment's project folder, or below it."""
    return Path.cwd().resolve().is_relative_to(environment.pyproject.parent.resolve())


def known_names(options: Options) -> list[str]:
    """The names of the environments, for completion; none if the configuration is bad."""
    try:
        return list(configuration(options).environments)
    except (ConfigRejected, click.ClickException):
        return []
