"""Reads what the project declares: its file, and the files around it that decide what it means."""

import stat
from collections.abc import Mapping
from pathlib import Path

from reconciler.config import EnvironmentConfig
from reconciler.files.bounded import NotRegular, TooLarge
from reconciler.files.deciding import read_deciding
from reconciler.log.redact import redact
from reconciler.state.desired import BadFile, Desired, parse
from reconciler.state.project_kinds import ProjectKind, kind_of_project
from reconciler.status import Problem
from reconciler.uv.discovery import context_of
from reconciler.uv.requirement_files import Read
from reconciler.uv.requirements_project import declared_in_requirements
from reconciler.uv.script_project import declared_in_script

_MAX_PROJECT_BYTES = 4 * 1024 * 1024


def read_project(file: Path) -> bytes:
    """The content of a project's file.

    Raises:
        BadFile: It does not exist, or it cannot be read.
        Insecure: As root: others may change it.
    """
    try:
        return read_deciding(file, _MAX_PROJECT_BYTES)
    except TooLarge as error:
        reason = "the file is larger than 4 MiB"
        raise bad_file(file, reason, "Check that it is the right file.") from error
    except NotRegular as error:
        reason = "it is not a regular file"
        raise bad_file(file, reason, "Point `pyproject` at the project's file.") from error
    except OSError as error:
        raise unreadable(file, error) from error


def declared_by(
    config: EnvironmentConfig,
    markers: Mapping[str, str],
    environ: Mapping[str, str],
    read: Read | None = None,
) -> Desired:
    """What the project of an environment declares.

    Args:
        config: Which project, and which of its extras and groups.
        markers: The target's PEP 508 environment.
        environ: The environment variables.
        read: Reads the project's file and those that it includes, if not from the disk.

    Raises:
        BadFile: A file cannot be used: the project's, or one that decides what it means.
    """
    file = config.pyproject
    kind = kind_of_project(file)
    if kind is ProjectKind.PYPROJECT:
        return _in_pyproject(config, markers, environ, read)
    if config.extras or config.groups:
        raise bad_file(
            file,
            "only a pyproject.toml has extras and groups",
            "Remove `extras` and `groups` from the configuration of the environment, or let "
            "`pyproject` be a pyproject.toml.",
        )
    if kind is ProjectKind.SCRIPT:
        return declared_in_script(file, (read or read_project)(file), markers, environ)
    return declared_in_requirements(file, markers, environ, read or read_deciding)


def _in_pyproject(
    config: EnvironmentConfig,
    markers: Mapping[str, str],
    environ: Mapping[str, str],
    read: Read | None,
) -> Desired:
    file = config.pyproject
    text = (read or read_project)(file)
    redact.register_addresses(text.decode("utf-8", "replace"))
    context = context_of(file, text, environ, read or read_deciding)
    return parse(file, text, markers, extras=config.extras, groups=config.groups, context=context)


def bad_file(file: Path, reason: str, fix: str) -> BadFile:
    """A problem of a file as a whole."""
    return BadFile(Problem(file=str(file), reason=reason, fix=fix))


def unreadable(file: Path, error: OSError) -> BadFile:
    """Why a file cannot be read."""
    if isinstance(error, FileNotFoundError):
        fix = "Restore it, or correct `pyproject`. It is read again as soon as it exists."
        return bad_file(file, "the file does not exist", fix)
    reason = f"the file cannot be read ({error.strerror})"
    return bad_file(file, reason, "Allow the service's user to read it.")


def identity_of(file: Path) -> tuple[int, ...]:
    """What stays the same while a file is unchanged; symbolic links are followed.

    Raises:
        BadFile: It does not exist, or it cannot be read.
    """
    try:
        found = file.stat()
    except OSError as error:
        raise unreadable(file, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise bad_file(file, "it is not a regular file", "Point `pyproject` at the project's file.")
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
