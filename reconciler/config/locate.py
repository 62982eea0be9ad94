"""Finds the configuration that applies: a named file, the user's, the system's, or none.

Only checks whether files exist; reads none of them.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from reconciler.config.configuration import Config, HttpConfig, ServiceConfig
from reconciler.config.environment import EnvironmentConfig
from reconciler.config.names import environment_like
from reconciler.config.paths import interpreter_of, pyproject_of, require_plain
from reconciler.config.problem import ConfigRejected, Unfit
from reconciler.status import Problem

SYSTEM_CONFIG = Path("/etc/reconciler/config.toml")
SYSTEM_STATE = Path("/var/lib/reconciler")


def find(
    explicit: Path | None, env: Mapping[str, str], *, system: Path = SYSTEM_CONFIG
) -> Path | None:
    """The configuration file to read, or None if there is none.

    Args:
        explicit: The value of `--config`; used even if the file does not exist.
        env: The environment variables.
        system: The system-wide file.
    """
    if explicit is not None:
        return explicit.absolute()
    user = xdg_folder(env, "XDG_CONFIG_HOME", ".config") / "reconciler" / "config.toml"
    return next((path for path in (user, system) if path.is_file()), None)


def for_project(project: Path, python: Path | None, env: Mapping[str, str]) -> Config:
    """The configuration for one project, if there is no file.

    Args:
        project: Its pyproject.toml or its folder.
        python: The environment; by default `$VIRTUAL_ENV`, or the `.venv` beside the project.
        env: The environment variables.

    Raises:
        ConfigRejected: A path has control characters, or is not UTF-8.
    """
    with _rejected():
        for path in (project, python or ""):
            require_plain(path)  # a NUL would not even be looked for
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
    """The defaults, without an environment: enough to query a service or inspect a machine.

    Raises:
        ConfigRejected: The path of the state has control characters, or is not UTF-8.
    """
    with _rejected():
        service = ServiceConfig(state_dir=default_state_dir(env))
        return Config(service=service, http=HttpConfig(), environments={}, path=None)


@contextmanager
def _rejected() -> Iterator[None]:
    try:
        yield
    except Unfit as unfit:
        where = {"state_dir": "the folder for the state", None: "the options"}
        problem = Problem(
            file=where.get(unfit.key, "the options"), reason=str(unfit), fix=unfit.fix or ""
        )
        raise ConfigRejected((problem,)) from unfit


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  # resolves `..`, keeps symlinks


def default_state_dir(env: Mapping[str, str], *, uid: int | None = None) -> Path:
    """Where state is kept unless the configuration says otherwise.

    Args:
        env: The environment variables; systemd sets STATE_DIRECTORY (systemd.exec(5)).
        uid: The user id; by default that of this process.
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
    """`$HOME`, or the home folder from the user database."""
    given = env.get("HOME", "")
    return Path(given) if given.startswith("/") else Path.home()
