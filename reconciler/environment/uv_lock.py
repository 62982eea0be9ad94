"""What `uv sync` and `uv run` would make of an environment: they make it equal to uv.lock.

They know no holds: uv.lock has the index's torch, and each of them installs it again.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import tomli
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from reconciler.environment.snapshot import Snapshot
from reconciler.files.bounded import read_text
from reconciler.files.deciding import read_deciding_text
from reconciler.files.parsing import toml_of
from reconciler.state.bounds import version_in

LOCK = "uv.lock"

HOW_TO_STOP_UV = (
    "`[tool.uv] managed = false` in pyproject.toml keeps `uv sync` and `uv run` from changing the "
    "environment; `UV_NO_SYNC=1` keeps only `uv run` from it"
)


class UvLock(msgspec.Struct, frozen=True):
    """The lock of the uv project that has this environment, and the versions in it."""

    file: Path
    versions: Mapping[NormalizedName, frozenset[Version]] = msgspec.field(default_factory=dict)

    def has(self, name: NormalizedName, version: Version) -> bool:
        """Whether it locks just this version, for whatever platform."""
        return version in self.versions.get(name, ())


def uv_lock_of(snapshot: Snapshot) -> UvLock | None:
    """The lock that `uv sync` would apply to this environment; None if there is none.

    uv keeps a project's environment in the folder of its lock.
    """
    prefix = snapshot.interpreter.prefix
    file = snapshot.desired.file if snapshot.desired else None
    if file is None or prefix.parent not in file.resolve().parents:
        return None
    lock, project = prefix.parent / LOCK, prefix.parent / "pyproject.toml"
    tables = _table(_table(_read(project).get("tool")).get("uv"))
    if tables.get("managed") is False:
        return None
    try:
        found = lock.stat()
    except OSError:
        return None
    return _parsed(lock, (found.st_ino, found.st_mtime_ns, found.st_size))


def installed_by_uv(snapshot: Snapshot, name: NormalizedName) -> bool:
    """Whether the installed copy says that uv installed it (PEP 376's INSTALLER)."""
    found = snapshot.installed.get(name)
    try:
        return found is not None and read_text(found.info / "INSTALLER").strip() == "uv"
    except (OSError, UnicodeDecodeError):
        return False


@lru_cache(maxsize=8)  # it is asked for at every look at a broken hold, and may be large
def _parsed(lock: Path, _stamp: tuple[int, ...]) -> UvLock:
    versions: dict[NormalizedName, frozenset[Version]] = {}
    packages = _read(lock).get("package")
    for package in packages if isinstance(packages, list) else ():
        version = version_in(str(_table(package).get("version")))
        if version is None:
            continue
        name = canonicalize_name(str(package.get("name")))
        versions[name] = versions.get(name, frozenset()) | {version}
    return UvLock(lock, versions)


def _read(file: Path) -> Mapping[str, Any]:
    try:
        return toml_of(read_deciding_text(file))
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError):
        return {}


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
