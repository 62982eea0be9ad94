"""Decides what to install: which units, for which user, and what they manage.

It looks at files and owners, and changes nothing.
"""

import os
import pwd
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from reconciler.config import Config, UnixAddress, load
from reconciler.config.locate import SYSTEM_CONFIG, find, for_project, xdg_folder
from reconciler.config.paths import pyproject_of
from reconciler.patterns import regex
from reconciler.systemd.units import (
    Service,
    Unit,
    Unquotable,
    machine_units,
    named_units,
    own_units,
)

_OWN_FOLDERS = (Path("/run"), Path("/var/lib/reconciler"))
"""What systemd creates for the service, or only root can write anyway."""
_EPHEMERAL = regex(r"(archive|environments|builds)-v\d+")


class CannotInstall(Exception):
    """Something is in the way; the message ends with what to do."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for: whose service, and what it manages."""

    own: bool = False
    """A user service."""
    named: str | None = None
    """A system service for this user."""
    run_as: str | None = None
    """The user that the one system service runs as; by default the environments' owner."""
    socket: bool = False
    config: Path | None = None
    pyproject: Path | None = None
    python: Path | None = None


class Installation(msgspec.Struct, frozen=True):
    """The units to write, which of them to enable, and the user they run as."""

    units: tuple[Unit, ...]
    names: tuple[str, ...]
    """In the order in which they start."""
    own: bool
    user: pwd.struct_passwd
    program: tuple[str, ...]
    config: Config


def plan(wanted: Wanted, environ: Mapping[str, str] = os.environ) -> Installation:
    """Decide what to install.

    Raises:
        CannotInstall: there is nothing to manage, or no single user to do it.
        ConfigRejected: the configuration is bad.
    """
    config, arguments = _config(wanted, environ)
    program = running_program()
    service = Service(
        program, arguments, _writable(config, wanted), config.http.listen if wanted.socket else None
    )
    user = _user(wanted, config)
    try:
        if wanted.own:
            units = own_units(service, own_folder(environ))
        elif wanted.named is not None:
            units = named_units(service, user.pw_name, _home(user))
        else:
            units = machine_units(service, user.pw_name)
    except Unquotable as error:
        raise CannotInstall(str(error)) from error
    return Installation(units, unit_names(wanted), wanted.own, user, program, config)


def unit_names(wanted: Wanted) -> tuple[str, ...]:
    """The units that are enabled, in the order in which they start."""
    if wanted.named is not None:
        return (f"reconciler@{wanted.named}.service",)
    return ("reconciler.socket", "reconciler.service") if wanted.socket else ("reconciler.service",)


def own_folder(environ: Mapping[str, str]) -> Path:
    """Where the user's own manager looks for units (systemd.unit(5))."""
    return xdg_folder(environ, "XDG_CONFIG_HOME", ".config") / "systemd" / "user"


def running_program() -> tuple[str, ...]:
    """The command that starts the reconciler that is running now.

    Raises:
        CannotInstall: it is in a cache and will not last.
    """
    script = Path(sys.argv[0]).absolute()
    named = script.name == "reconciler" and os.access(script, os.X_OK)
    program = (str(script),) if named else (sys.executable, "-m", "reconciler")
    if any(_EPHEMERAL.fullmatch(part) for part in Path(program[0]).parts):
        raise CannotInstall(
            f"{program[0]} is in uv's cache and may be gone tomorrow. "
            "Install Reconciler first: `uv tool install /path/to/its/clone`."
        )
    return program


def _config(wanted: Wanted, environ: Mapping[str, str]) -> tuple[Config, tuple[str, ...]]:
    """The configuration, and the arguments of `reconciler run` that name it."""
    if wanted.config is None and (wanted.pyproject or wanted.python):
        return _project(wanted, environ)
    path = _config_file(wanted, environ)
    if path is None and pyproject_of(Path.cwd()).is_file():
        return _project(wanted, environ)
    if path is None:
        home = "~/.config/reconciler/config.toml" if wanted.own else str(SYSTEM_CONFIG)
        raise CannotInstall(
            "There is nothing to manage: no configuration, and no pyproject.toml or "
            f"requirements.txt here. Write {home}, or go to the project's folder, or name one with "
            "--pyproject."
        )
    # The service acts on it, as its own user; if that is root, `install` checks it.
    config = load(path, _service_environ(wanted, environ), acts=False)
    return config, ("--config", str(path))


def _config_file(wanted: Wanted, environ: Mapping[str, str]) -> Path | None:
    if wanted.own or wanted.config is not None:
        return find(wanted.config, environ)
    if wanted.named is not None:
        return find(None, _service_environ(wanted, environ))
    return SYSTEM_CONFIG if SYSTEM_CONFIG.is_file() else None


def _service_environ(wanted: Wanted, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The variables that the service will have, if a configuration depends on them."""
    if wanted.own:
        return environ
    if wanted.named is not None:
        return {
            "HOME": _named(wanted.named).pw_dir,
            "STATE_DIRECTORY": f"/var/lib/reconciler-{wanted.named}",
        }
    home = _named(wanted.run_as).pw_dir if wanted.run_as is not None else "/root"
    return {"HOME": home, "STATE_DIRECTORY": "/var/lib/reconciler"}


def _project(wanted: Wanted, environ: Mapping[str, str]) -> tuple[Config, tuple[str, ...]]:
    pyproject = wanted.pyproject or Path.cwd()
    config = for_project(pyproject, wanted.python, environ)
    (environment,) = config.environments.values()
    if not environment.pyproject.is_file():
        raise CannotInstall(f"{environment.pyproject} does not exist. Correct --pyproject.")
    paths = ("--pyproject", str(environment.pyproject), "--python", str(environment.python))
    return config, paths


def _writable(config: Config, wanted: Wanted) -> tuple[Path, ...]:
    """The environments, the vault, and the other folders that the service has to write."""
    paths = [_existing(it.root) for it in config.environments.values()]
    paths += [config.service.state_dir]
    if config.service.vault is not None:
        paths += [_existing(config.service.vault)]
    if isinstance(config.http.listen, UnixAddress) and not wanted.socket:
        paths += [config.http.listen.path.parent]
    return tuple(
        path
        for path in dict.fromkeys(paths)
        if not any(path.is_relative_to(own) for own in _OWN_FOLDERS)
    )


def _existing(folder: Path) -> Path:
    """The folder, or the one that it will be created in; links resolved, as a mount needs."""
    while not folder.is_dir():
        folder = folder.parent
    return folder.resolve()


def _user(wanted: Wanted, config: Config) -> pwd.struct_passwd:
    if wanted.own:
        return pwd.getpwuid(os.getuid())
    if wanted.named is not None or wanted.run_as is not None:
        return _named(wanted.named or wanted.run_as or "")
    return _owner(config)


def _home(user: pwd.struct_passwd) -> Path | None:
    """The user's home, if it is theirs: a system user's may be missing, or be `/usr/sbin`."""
    home = Path(user.pw_dir)
    return home if home.is_dir() and home.stat().st_uid == user.pw_uid else None


def _named(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise CannotInstall(
            f"There is no user {name}. Create it first: "
            f"`useradd --system --create-home --home-dir /var/lib/{name} {name}`."
        ) from None


def _owner(config: Config) -> pwd.struct_passwd:
    """The owner of all environments, or of the project if an environment does not exist yet."""
    owners = {}
    for it in config.environments.values():
        place = it.root if it.root.is_dir() else it.pyproject
        if not place.exists():
            raise CannotInstall(
                f"{place} of the environment {it.name} does not exist. Create it first."
            )
        owners[it.name] = place.stat().st_uid
    if len(set(owners.values())) > 1:
        lines = ", ".join(f"{name}: {_name(uid)}" for name, uid in owners.items())
        raise CannotInstall(
            f"The environments belong to different users ({lines}). Give each user a service and "
            "a configuration: `reconciler service install --for USER`."
        )
    uid = next(iter(owners.values()))
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise CannotInstall(
            f"The environments belong to uid {uid}, which is not a user of this machine. "
            "Give them to one: `chown -R USER PATH`."
        ) from None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
