"""Which configuration applies: a named file, the user's, the machine's, or none.

Looks whether files exist and reads none of them.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from reconciler.config.configuration import Config, HttpConfig, ServiceConfig
from reconciler.config.environment import EnvironmentConfig
from reconciler.config.names import environment_like
from reconciler.config.paths import interpreter_of, pyproject_of

SYSTEM_CONFIG = Path("/etc/reconciler/config.toml")
SYSTEM_STATE = Path("/var/lib/reconciler")


def find(
    explicit: Path | None, env: Mapping[str, str], *, system: Path = SYSTEM_CONFIG
) -> Path | None:
    """The configuration file to read, or None if there is none.

    Args:
        explicit: what `--config` says; taken as it is, whether it exists or not.
        env: the environment variables.
        system: the machine's file.
    """
    if explicit is not None:
        return explicit.absolute()
    user = xdg_folder(env, "XDG_CONFIG_HOME", ".config") / "reconciler" / "config.toml"
    return next((path for path in (user, system) if path.is_file()), None)


def for_project(project: Path, python: Path | None, env: Mapping[str, str]) -> Config:
    """The configuration for one project, where there is no file.

    Args:
        project: its pyproject.toml or its folder.
        python: the environment; by default `$VIRTUAL_ENV`, or the `.venv` beside it.
        env: the environment variables.
    """
    file = pyproject_of(_absolute(project))
    chosen = python or Path(env.get("VIRTUAL_ENV") or file.parent / ".venv")
    environment = EnvironmentConfig(
        name=environment_like(file.parent.name),
        pyproject=file,
        python=interpreter_of(_absolute(chosen)),
    )
    return Config(
        service=ServiceConfig(state_dir=default_state_dir(env)),
        http=HttpConfig(),
        environments={environment.name: environment},
        path=None,
    )


def for_nothing(env: Mapping[str, str]) -> Config:
    """The defaults, without an environment: enough to ask a service, and to look at a machine."""
    service = ServiceConfig(state_dir=default_state_dir(env))
    return Config(service=service, http=HttpConfig(), environments={}, path=None)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  # `..` goes, symlinks stay


def default_state_dir(env: Mapping[str, str], *, uid: int | None = None) -> Path:
    """Where state is kept unless the configuration says otherwise.

    Args:
        env: the environment variables; systemd sets STATE_DIRECTORY (systemd.exec(5)).
        uid: of whom; by default of this process.
    """
    given = env.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    if (os.geteuid() if uid is None else uid) == 0:
        return SYSTEM_STATE
    return xdg_folder(env, "XDG_STATE_HOME", ".local/state") / "reconciler"


def xdg_folder(env: Mapping[str, str], variable: str, below_home: str) -> Path:
    """A base folder of the XDG specification, which ignores values that are not absolute."""
    given = env.get(variable, "")
    return Path(given) if given.startswith("/") else home_folder(env) / below_home


def home_folder(env: Mapping[str, str]) -> Path:
    """`$HOME`, or what the user database says."""
    given = env.get("HOME", "")
    return Path(given) if given.startswith("/") else Path.home()
