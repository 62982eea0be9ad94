"""Turns a TOML file into a `Config`, or into a list of everything that is wrong with it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli

from reconciler.config import names
from reconciler.config.configuration import Config, HttpConfig, ServiceConfig
from reconciler.config.environment import EnvironmentConfig
from reconciler.config.keys import fields_of
from reconciler.config.locate import default_state_dir, home_folder
from reconciler.config.paths import Place, interpreter_of, require_plain, visible
from reconciler.config.problem import ConfigRejected, Unfit
from reconciler.config.reading import Reading
from reconciler.files.bounded import read_bytes
from reconciler.files.deciding import read_deciding
from reconciler.files.parsing import toml_of
from reconciler.log.redact import redact
from reconciler.state.position import positions
from reconciler.status import Problem

PER_ENVIRONMENT = ("pyproject", "python")
"""The keys that cannot be set in `[defaults]`."""
HOMES = {
    name: home
    for struct, home in (
        (ServiceConfig, "[service]"),
        (HttpConfig, "[http]"),
        (EnvironmentConfig, "[environments.NAME] or [defaults]"),
    )
    for name in fields_of(struct)
}


def load(path: Path, env: Mapping[str, str] | None = None, *, acts: bool = True) -> Config:
    """Read and check a configuration file.

    Args:
        path: The file.
        env: The environment variables; by default those of this process.
        acts: Whether this process acts on it, and not another one with another user.

    Raises:
        ConfigRejected: With every problem found, in file order.
        Insecure: As root, if it acts on it: others may change the file.
    """
    env = os.environ if env is None else env
    path = path.absolute()
    _require_plain_name(path)
    text = _text_of(path, acts=acts)
    redact.register_addresses(text)
    document = _parsed(path, text)
    redact.register_document(document)
    place = Place(path.parent, home_folder(env))
    reading = Reading(path, text.split("\n"), positions(text), place, HOMES)
    config = _config(reading, document, default_state_dir(env))
    if config is None:
        raise ConfigRejected(tuple(sorted(reading.problems, key=lambda it: it.line or 0)))
    return config


def _require_plain_name(path: Path) -> None:
    """The folder of the file is part of every relative path in it."""
    try:
        require_plain(path)
    except Unfit as unfit:
        problem = Problem(file=visible(path), reason=str(unfit), fix=unfit.fix or "")
        raise ConfigRejected((problem,)) from unfit


def _text_of(path: Path, *, acts: bool) -> str:
    try:
        return (read_deciding(path) if acts else read_bytes(path)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = Problem(
            file=str(path), line=line, reason="not UTF-8 text", fix="Save it as UTF-8."
        )
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        fix = "Name a readable file with --config, or correct its permissions."
        problem = Problem(file=str(path), reason=reason, fix=fix)
    raise ConfigRejected((problem,))


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return toml_of(text)
    except tomli.TOMLDecodeError as error:
        lines = text.split("\n")
        problem = Problem(
            file=str(path),
            reason=f"not valid TOML: {error.msg[:1].lower()}{error.msg[1:]}",
            fix="Correct the syntax; see https://toml.io.",
            line=error.lineno,
            column=error.colno,
            text=lines[error.lineno - 1] if error.lineno <= len(lines) else None,
        )
    raise ConfigRejected((problem,))


def _config(reading: Reading, document: dict[str, Any], state_dir: Path) -> Config | None:
    reading.only(document, ("service", "http", "defaults", "environments"), ())
    service = reading.struct(
        ServiceConfig,
        document.get("service", {}),
        ("service",),
        lambda values: {"state_dir": state_dir, **values},
    )
    http = reading.struct(HttpConfig, document.get("http", {}), ("http",))
    defaults = _defaults(reading, document.get("defaults", {}))
    environments = _environments(reading, document.get("environments", {}), defaults)
    if reading.problems or service is None or http is None:
        return None
    return Config(service=service, http=http, environments=environments, path=reading.file)


def _defaults(reading: Reading, raw: object) -> dict[str, Any]:
    table = dict(reading.table(raw, ("defaults",)))
    for name in PER_ENVIRONMENT:
        if table.pop(name, None) is not None:
            reading.blame(
                ("defaults", name),
                "cannot be the same for all environments",
                "Write it in each [environments.NAME].",
            )
    return reading.values(EnvironmentConfig, table, ("defaults",))


def _environments(
    reading: Reading, raw: object, defaults: dict[str, Any]
) -> dict[str, EnvironmentConfig]:
    table = reading.table(raw, ("environments",))
    if table is raw and not table:
        reading.blame(
            ("environments",),
            "no environment is configured",
            'Write [environments.NAME], and pyproject = "..." below it.',
        )
    read = (_environment(reading, name, value, defaults) for name, value in table.items())
    environments = {it.name: it for it in read if it is not None}
    _refuse_twice(reading, environments)
    return environments


def _environment(
    reading: Reading, name: str, raw: object, defaults: dict[str, Any]
) -> EnvironmentConfig | None:
    path = ("environments", name)
    try:
        names.environment(name)
    except Unfit as unfit:
        reading.blame(path, str(unfit), unfit.fix or "")

    def complete(own: dict[str, Any]) -> dict[str, Any]:
        values = {"name": name, **defaults, **own}
        beside = values.get("pyproject", Path()).parent / ".venv"
        return {"python": interpreter_of(beside), **values}

    return reading.struct(EnvironmentConfig, raw, path, complete)


def _refuse_twice(reading: Reading, environments: dict[str, EnvironmentConfig]) -> None:
    owners: dict[Path, str] = {}
    for name, environment in environments.items():
        owner = owners.setdefault(environment.identity, name)
        if owner != name:
            reading.blame(
                ("environments", name, "python"),
                f"{environment.root} is already managed as environments.{owner}",
                "Name another environment, or remove one of the two tables.",
            )
