"""The user's own uv configuration, without the settings that could defeat a hold.

`known_settings` says which settings count. What they say about a held package is left out, and
settings that could replace or remove one do not count (uv-facts 6 to 12). Read-only.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import tomli
from packaging.utils import canonicalize_name

from reconciler.files.bounded import NotRegular, TooLarge
from reconciler.files.deciding import read_deciding_text
from reconciler.files.parsing import toml_of
from reconciler.log.redact import redact
from reconciler.patterns import regex
from reconciler.state.bounds import requirement_in
from reconciler.state.desired import BadFile
from reconciler.state.holds import HoldSet
from reconciler.state.locations import from_home
from reconciler.status import Problem
from reconciler.uv.known_settings import COUNTING, FILES_OF, is_passed_on
from reconciler.uv.requirement_files import paths_in, read_files

_PIP_LISTS = {"no-binary": "no-binary-package", "only-binary": "no-build-package"}
_PIP_ALL = {"no-binary": "no-binary", "only-binary": "no-build"}

_NAME_LISTS = ("no-build-package", "no-binary-package", "no-build-isolation-package",
               "no-sources-package", "exclude-dependencies")  # fmt: skip
_REQUIREMENT_LISTS = ("constraint-dependencies", "override-dependencies",
                      "build-constraint-dependencies")  # fmt: skip
_NAME_TABLES = ("extra-build-dependencies", "extra-build-variables", "config-settings-package",
                "exclude-newer-package", "prerelease-package")  # fmt: skip

_NAME = regex(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")

_ENVIRON_DROPPED = ("UV_", "PIP_", "PYTHON", "VIRTUAL_ENV", "CONDA_", "__PYVENV")


def environ_for_uv(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that uv may see.

    Of uv's own variables, only those about where packages come from. None of Python's or
    pip's. Everything else unchanged (proxies, certificates, HOME).
    """
    return {
        key: value
        for key, value in environ.items()
        if is_passed_on(key) or not key.startswith(_ENVIRON_DROPPED)
    }


def settings_for(
    project_file: Path,
    project_uv: Mapping[str, Any],
    holds: HoldSet,
    environ: Mapping[str, str],
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One table of uv settings, merged as uv would merge them, and filtered.

    The files that variables such as `UV_CONSTRAINT` name count as the settings that say the same.

    Args:
        project_file: The project's `pyproject.toml`.
        project_uv: Its `[tool.uv]` table.
        holds: What no setting may name.
        environ: The service's environment variables; they decide where the files are.
        options: What the project's requirements file sets; everything else comes before it.

    Raises:
        BadFile: A uv configuration file is not TOML, or a file that a variable names is
            missing or malformed.
    """
    merged: dict[str, Any] = {}
    layers = [*layers_of(project_file, project_uv, environ), Layer(project_file, options or {})]
    for layer in layers:
        for part in (_of_pip(_table(layer.table.get("pip"))), layer.table):
            for key, value in part.items():
                if key in COUNTING:
                    known, absolute = merged.get(key), _absolute(key, value, layer.file.parent)
                    merged[key] = _combine(known, absolute)
    for key, value in _of_variables(project_file.parent, environ):
        merged[key] = _combine(value, merged.get(key))
    return without_holds(merged, holds)


def _of_variables(folder: Path, environ: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """The variables that count, as settings; relative files start from the project's folder."""
    for name, key in FILES_OF.items():
        found = read_files(environ.get(name, ""), folder).requirements
        if found and key == "exclude-dependencies":  # only names there (PEP 508 in the file)
            found = [requirement_in(line).name for line in found]
        if found:
            yield key, found
    if is_on(environ.get("UV_NO_SOURCES")):
        yield "no-sources", True
    names = environ.get("UV_NO_SOURCES_PACKAGE", "").split()
    if names:
        yield "no-sources-package", names


def is_on(value: str | None) -> bool:
    """Whether a variable of uv is set to something else than no."""
    return (value or "").lower() not in ("", "0", "false", "f", "no", "n", "off")


def stamp_of(project_file: Path, environ: Mapping[str, str]) -> tuple[object, ...]:
    """What changes when any file that `settings_for` could read changes."""
    user, system = _places(environ)
    files = [d / "uv.toml" for d in project_file.parents]
    files += [d / "pyproject.toml" for d in project_file.parents[1:]]
    named = [Path(environ["UV_CONFIG_FILE"])] if environ.get("UV_CONFIG_FILE") else []
    named += paths_in(environ, FILES_OF, project_file.parent)
    return tuple(stamp_of_file(file) for file in (*named, *files, user, *system))


def stamp_of_file(file: Path) -> tuple[int, ...] | None:
    """What changes when a file changes; None if there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _places(environ: Mapping[str, str]) -> tuple[Path, tuple[Path, ...]]:
    """The user's uv.toml, and the system's; uv reads the first of those that exists."""
    home = from_home(environ.get("HOME") or "~")
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    system = [Path(d) for d in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if d]
    return user / "uv" / "uv.toml", tuple(d / "uv" / "uv.toml" for d in (*system, Path("/etc")))


class Layer(msgspec.Struct, frozen=True):
    """One file's uv settings."""

    file: Path
    table: Mapping[str, Any]


def layers_of(
    project_file: Path, project_uv: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[Layer]:
    """The configurations that uv would read, the strongest first (in uv's own order)."""
    if environ.get("UV_CONFIG_FILE"):
        named = Path(environ["UV_CONFIG_FILE"])
        yield Layer(named, _read(named))
        return
    if is_on(environ.get("UV_NO_CONFIG")):
        yield Layer(project_file, project_uv)
        return
    yield _project_layer(project_file, project_uv)
    user, system = _places(environ)
    first = next((file for file in system if file.is_file()), None)
    yield Layer(user, _read(user))
    if first is not None and not is_on(environ.get("UV_NO_SYSTEM_CONFIG")):
        yield Layer(first, _read(first))


def _project_layer(project_file: Path, project_uv: Mapping[str, Any]) -> Layer:
    """The nearest uv.toml or [tool.uv], from the project's folder upwards."""
    for folder in project_file.parents:
        if (folder / "uv.toml").is_file():
            return Layer(folder / "uv.toml", _read(folder / "uv.toml"))
        if folder == project_file.parent:
            if project_uv:
                return Layer(project_file, project_uv)
            continue
        outer = _read(folder / "pyproject.toml")
        found = _table(_table(outer.get("tool")).get("uv"))
        if found:
            return Layer(folder / "pyproject.toml", found)
    return Layer(project_file, {})


def uv_table_of(file: Path) -> dict[str, Any]:
    """The `[tool.uv]` table of a `pyproject.toml`; empty if there is no such file.

    Raises:
        BadFile: It is not TOML.
    """
    return _table(_table(_read(file).get("tool")).get("uv"))


def _read(path: Path) -> dict[str, Any]:
    try:
        text = read_deciding_text(path)
        redact.register_addresses(text)
        return toml_of(text)
    except (NotRegular, TooLarge) as error:
        reason = f"the file cannot be read: {error.strerror}"
        fix = "Replace it with a regular file, or remove it."
        raise BadFile(Problem(file=str(path), reason=reason, fix=fix)) from error
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        return {}
    except tomli.TOMLDecodeError as error:
        reason = f"not valid TOML: {error.msg}"
        fix = "Correct the line; uv would refuse it as well."
        problem = Problem(
            file=str(path), line=error.lineno, column=error.colno, reason=reason, fix=fix
        )
        raise BadFile(problem) from error
    except UnicodeDecodeError as error:
        problem = Problem(file=str(path), reason="the file is not UTF-8", fix="Save it as UTF-8.")
        raise BadFile(problem) from error


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _of_pip(table: Mapping[str, Any]) -> dict[str, Any]:
    """`[tool.uv.pip]` in the form of `[tool.uv]`: pip has its own lists of names and `:all:`."""
    flat = {key: value for key, value in table.items() if key not in _PIP_LISTS}
    for key, names_key in _PIP_LISTS.items():
        names = table.get(key)
        if not isinstance(names, list):
            continue
        if ":all:" in names:
            flat[_PIP_ALL[key]] = True
        flat[names_key] = [n for n in names if n not in (":all:", ":none:")]
    return flat


def _combine(stronger: Any, weaker: Any) -> Any:
    """Merge like uv: lists are joined, tables completed; otherwise the stronger value wins."""
    if stronger is None:
        return weaker
    if isinstance(stronger, list) and isinstance(weaker, list):
        return [*stronger, *weaker]
    if isinstance(stronger, dict) and isinstance(weaker, dict):
        return {**weaker, **stronger}
    return stronger


def _absolute(key: str, value: Any, folder: Path) -> Any:
    """Paths in a setting are relative to its file's folder; the generated file is elsewhere."""
    if key == "find-links":
        return [_place(v, folder) for v in value] if isinstance(value, list) else value
    if key in ("index-url", "cache-dir"):
        return _place(value, folder)
    if key == "extra-index-url" and isinstance(value, list):
        return [_place(v, folder) for v in value]
    if key == "index" and isinstance(value, list):
        return [{**_table(i), "url": _place(_table(i).get("url", ""), folder)} for i in value]
    return value


def _place(value: Any, folder: Path) -> Any:
    if not isinstance(value, str) or "://" in value or value.startswith("file:"):
        return value
    return os.path.normpath(folder / from_home(value))


def without_holds(settings: Mapping[str, Any], holds: HoldSet) -> dict[str, Any]:
    """The settings without any mention of a held package."""
    kept = dict(settings)
    for key in (*_NAME_LISTS, *_REQUIREMENT_LISTS):
        if isinstance(kept.get(key), list):
            kept[key] = list(_entries_without(kept[key], holds))
    for key in _NAME_TABLES:
        if isinstance(kept.get(key), dict):
            kept[key] = {n: v for n, v in kept[key].items() if not _names_held(n, holds)}
    extra = _table(kept.get("extra-build-dependencies"))
    if extra:
        kept["extra-build-dependencies"] = {
            n: [_unmatched(e, holds) for e in v] if isinstance(v, list) else v
            for n, v in extra.items()
        }
    if isinstance(kept.get("dependency-metadata"), list):
        kept["dependency-metadata"] = [
            m for m in kept["dependency-metadata"] if not _names_held(_table(m).get("name"), holds)
        ]
    return {key: value for key, value in kept.items() if value not in ([], {})}


def _entries_without(entries: Iterable[Any], holds: HoldSet) -> Iterator[Any]:
    """Names and requirements without the held ones, also within entries for a single package."""
    for entry in entries:
        scope = _table(_table(entry).get("package")).get("name")
        if scope is not None and isinstance(entry.get("dependencies"), list):
            inner = list(_entries_without(entry["dependencies"], holds))
            if inner and not _names_held(scope, holds):
                yield {**entry, "dependencies": inner}
        elif not _names_held(entry, holds):
            yield entry


def _unmatched(entry: Any, holds: HoldSet) -> Any:
    """Without `match-runtime`: the plan only has a stub of a hold, which no build can use."""
    return entry["requirement"] if isinstance(entry, dict) and _names_held(entry, holds) else entry


def _names_held(requirement: object, holds: HoldSet) -> bool:
    """Whether a name or a requirement begins with the name of a hold."""
    text = requirement.get("requirement") if isinstance(requirement, dict) else requirement
    named = _NAME.match(text) if isinstance(text, str) else None
    return named is not None and holds.covers(canonicalize_name(named[1]))
