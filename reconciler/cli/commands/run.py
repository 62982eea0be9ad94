"""`reconciler run`: the service, in the foreground."""

import os
from pathlib import Path

import click
import msgspec

import reconciler.log.lean  # noqa: F401 -- before anything loads structlog
from reconciler.cli.command import Command
from reconciler.cli.options import Options
from reconciler.cli.targets import chosen, configuration
from reconciler.config import Config, ConfigRejected, LogLevel
from reconciler.daemon.service import main
from reconciler.status import Problem
from reconciler.web.server.serving import serving


@click.command(
    cls=Command,
    takes=("config", "pyproject", "python", "environment", "quiet", "verbose"),
    examples=(
        ("reconciler run", "manage the project in this folder, and its .venv"),
        ("reconciler run --config FILE", "manage every environment in the file"),
        ("curl -s localhost:8765/status", "the status, from another terminal"),
    ),
    exit_codes="0 after SIGTERM or SIGINT, 78 bad configuration, 1 it could not start.",
)
@click.pass_obj
def run(options: Options) -> int:
    """Run the service in the foreground.

    It watches the project's file and the environment, fixes drift, and serves the status and a
    page on http://127.0.0.1:8765 (or the address in [http]). A broken hold is reported; it is
    restored only with `on_hold_broken = "restore"`. SIGHUP reloads the configuration. To start
    it at boot, use `reconciler service install`.
    """
    started = False

    def load() -> Config:
        nonlocal started
        try:
            return _load(options)
        except click.ClickException as error:
            if not started:
                raise
            # What the options name is gone: the service keeps running anyway.
            file, reason = str(options.config or Path.cwd()), error.message.rstrip(".")
            problem = Problem(file=file, reason=reason, fix="Restore it, or restart the service.")
            raise ConfigRejected((problem,)) from error
        finally:
            started = True

    return main(load, os.environ, serving)


def _load(options: Options) -> Config:
    """The configuration that the options name; read again at each reload."""
    config = configuration(options)
    if options.environment is not None:
        only = chosen(config, options)
        config = msgspec.structs.replace(config, environments={only.name: only})
    level = LogLevel.DEBUG if options.verbose else LogLevel.WARNING if options.quiet else None
    if level is not None:
        service = msgspec.structs.replace(config.service, log_level=level)
        config = msgspec.structs.replace(config, service=service)
    return config
