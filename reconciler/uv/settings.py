"""The user's own uv configuration, without the settings that could defeat a hold.

Settings about *where* packages come from are kept (indexes, credentials, certificates,
proxies, caches, build settings). Settings that could replace or remove a held package, or
look elsewhere for it, are dropped (uv-facts 6 to 12). Read-only.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tomli
from packaging.utils import canonicalize_name

from reconciler.state.desired import BadFile
from reconciler.state.holds import HoldSet
from reconciler.status import Problem

_KEPT = frozenset({
    "index", "index-url", "extra-index-url", "find-links", "no-index", "index-strategy",
    "keyring-provider", "allow-insecure-host", "trusted-publishing", "native-tls", "system-certs",
    "offline", "cache-dir", "no-cache", "http-proxy", "https-proxy", "no-proxy",
    "concurrent-builds", "concurrent-downloads", "concurrent-installs",
    "exclude-newer", "exclude-newer-package", "prerelease", "prerelease-package", "resolution",
    "fork-strategy", "require-build-hashes",
    "no-build", "no-build-package", "no-binary", "no-binary-package",
    "no-build-isolation", "no-build-isolation-package", "config-settings",
    "config-settings-package", "extra-build-dependencies", "extra-build-variables",
    "build-constraint-dependencies", "constraint-dependencies", "override-dependencies",
    "exclude-dependencies", "dependency-metadata", "link-mode", "compile-bytecode",
})  # fmt: skip

_PIP_LISTS = {"no-binary": "no-binary-package", "only-binary": "no-build-package"}
_PIP_ALL = {"no-binary": "no-binary", "only-binary": "no-build"}

_NAME_LISTS = ("no-build-package", "no-binary-package",
               "no-build-isolation-package", "exclude-dependencies")  # fmt: skip
_REQUIREMENT_LISTS = ("constraint-dependencies", "override-dependencies",
                      "build-constraint-dependencies")  # fmt: skip
_NAME_TABLES = ("extra-build-dependencies", "extra-build-variables", "config-settings-package",
                "exclude-newer-package", "prerelease-package")  # fmt: skip

_NAME = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")

_ENVIRON_KEPT = frozenset({
    "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS",
    "UV_NO_INDEX", "UV_INDEX_STRATEGY", "UV_KEYRING_PROVIDER", "UV_INSECURE_HOST",
    "UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_OFFLINE", "UV_CACHE_DIR", "UV_NO_CACHE",
    "UV_HTTP_TIMEOUT", "UV_HTTP_CONNECT_TIMEOUT", "UV_HTTP_RETRIES", "UV_HTTP_PROXY",
    "UV_HTTPS_PROXY", "UV_NO_PROXY", "UV_REQUEST_TIMEOUT", "UV_CONCURRENT_BUILDS",
    "UV_CONCURRENT_DOWNLOADS", "UV_CONCURRENT_INSTALLS", "UV_EXCLUDE_NEWER", "UV_PRERELEASE",
    "UV_RESOLUTION", "UV_NO_BUILD", "UV_NO_BUILD_PACKAGE", "UV_NO_BINARY",
    "UV_NO_BINARY_PACKAGE", "UV_NO_BUILD_ISOLATION", "UV_LINK_MODE", "UV_GIT_LFS",
    "UV_COMPILE_BYTECODE", "UV_CREDENTIALS_DIR", "UV_NETRC", "UV_LOCK_TIMEOUT",
    "UV_PYTHON_INSTALL_DIR", "UV_TOOL_DIR",
})  # fmt: skip
_ENVIRON_DROPPED = ("UV_", "PIP_", "PYTHON", "VIRTUAL_ENV", "CONDA_", "__PYVENV")


def environ_for_uv(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that uv may see.

    Of uv's own variables, only those about where packages come from. None of Python's or
    pip's. Everything else unchanged (proxies, certificates, HOME).
    """
    return {
        key: value
        for key, value in environ.items()
        if key in _ENVIRON_KEPT
        or (key.startswith("UV_INDEX_") and key.endswith(("_USERNAME", "_PASSWORD")))
        or not key.startswith(_ENVIRON_DROPPED)
    }


def settings_for(
    project_file: Path,
    project_uv: Mapping[str, Any],
    holds: HoldSet,
    environ: Mapping[str, str],
) -> dict[str, Any]:
    """One table of uv settings, merged as uv would merge them, and filtered.

    Args:
        project_file: The project's `pyproject.toml`.
        project_uv: Its `[tool.uv]` table.
        holds: What no setting may name.
        environ: The service's environment variables; they decide where the files are.

    Raises:
        BadFile: A uv configuration file is not TOML.
    """
    merged: dict[str, Any] = {}
    for folder, table in _layers(project_file, project_uv, environ):
        for part in (_of_pip(_table(table.get("pip"))), table):
            for key, value in part.items():
                if key in _KEPT:
                    merged[key] = _combine(merged.get(key), _absolute(key, value, folder))
    return without_holds(merged, holds)


def stamp_of(project_file: Path, environ: Mapping[str, str]) -> tuple[object, ...]:
    """What changes when any file that `settings_for` could read changes."""
    user, system = _places(environ)
    files = [d / "uv.toml" for d in project_file.parents]
    files += [d / "pyproject.toml" for d in project_file.parents[1:]]
    named = [Path(environ["UV_CONFIG_FILE"])] if environ.get("UV_CONFIG_FILE") else []
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
    home = Path(environ.get("HOME") or "~").expanduser()
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    system = [Path(d) for d in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if d]
    return user / "uv" / "uv.toml", tuple(d / "uv" / "uv.toml" for d in (*system, Path("/etc")))


def _layers(
    project_file: Path, project_uv: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The configurations that uv would read, the strongest first (in uv's own order)."""
    if environ.get("UV_CONFIG_FILE"):
        named = Path(environ["UV_CONFIG_FILE"])
        yield named.parent, _read(named)
        return
    if environ.get("UV_NO_CONFIG", "").lower() in ("1", "true", "yes", "on"):
        yield project_file.parent, project_uv
        return
    yield _project_layer(project_file, project_uv)
    user, system = _places(environ)
    first = next((file for file in system if file.is_file()), None)
    for file in (user, first):
        if file is not None:
            yield file.parent, _read(file)


def _project_layer(
    project_file: Path, project_uv: Mapping[str, Any]
) -> tuple[Path, Mapping[str, Any]]:
    """The nearest uv.toml or [tool.uv], from the project's folder upwards."""
    for folder in project_file.parents:
        if (folder / "uv.toml").is_file():
            return folder, _read(folder / "uv.toml")
        if folder == project_file.parent:
            if project_uv:
                return folder, project_uv
            continue
        outer = _read(folder / "pyproject.toml")
        found = _table(_table(outer.get("tool")).get("uv"))
        if found:
            return folder, found
    return project_file.parent, {}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomli.loads(path.read_text(encoding="utf-8-sig"))
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
    return os.path.normpath(folder / Path(value).expanduser())


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
