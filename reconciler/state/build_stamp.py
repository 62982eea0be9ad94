"""What decides whether uv builds or installs a local source again: its cache keys. Pure.

uv records their values in `uv_cache.json`, beside PEP 610's `direct_url.json`. If they differ
now, its next `uv pip install` reinstalls the package.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import tomli
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.files.parsing import json_of, toml_of
from reconciler.state.causes import SourceChanged, SourceGone, SourceUnrecorded

_NANOSECONDS = 1_000_000_000
_GLOB = frozenset("*?[{")


class BuildStamp(msgspec.Struct, frozen=True):
    """The values of the cache keys at one moment; times in nanoseconds since the epoch."""

    timestamp: int | None = None
    """The latest change (ctime) of any file."""
    commit: str | None = None
    tags: Mapping[str, str] | None = None
    env: Mapping[str, str | None] = msgspec.field(default_factory=dict)
    directories: Mapping[str, int | None] = msgspec.field(default_factory=dict)
    """When each folder was created; None if it does not exist."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is recorded: uv then writes no `uv_cache.json` at all."""
        return self == _EMPTY

    @classmethod
    def from_json(cls, text: bytes) -> "BuildStamp | None":
        """From the content of `uv_cache.json`; None if uv could not have written it."""
        try:
            data = json_of(text)
            timestamp = data if "secs_since_epoch" in data else data.get("timestamp")
            return cls(
                timestamp=_time(timestamp),
                commit=data.get("commit"),
                tags=data.get("tags"),
                env=dict(data.get("env") or {}),
                directories={
                    name: _time(created)
                    for name, created in (data.get("directories") or {}).items()
                },
            )
        except (
            ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError,
        ):  # fmt: skip
            return None


_EMPTY = BuildStamp()


def _time(value: Mapping[str, Any] | None) -> int | None:
    if value is None:
        return None
    return int(value["secs_since_epoch"]) * _NANOSECONDS + int(value["nanos_since_epoch"])


class CacheKeys(msgspec.Struct, frozen=True):
    """What a project's `[tool.uv] cache-keys` name; the defaults are those of uv."""

    files: tuple[str, ...] = ("pyproject.toml", "setup.py", "setup.cfg")
    globs: tuple[str, ...] = ()
    directories: tuple[str, ...] = ("src",)
    env: tuple[str, ...] = ()
    commit: bool = False
    tags: bool = False


class ProjectFile(msgspec.Struct, frozen=True):
    """What matters here of the `pyproject.toml` of a local project."""

    keys: CacheKeys = msgspec.field(default_factory=CacheKeys)
    placed: frozenset[NormalizedName] = frozenset()
    """The packages that its own `[tool.uv.sources]` take from a folder or a file."""

    @classmethod
    def of(cls, text: bytes) -> "ProjectFile":
        """From its content; like uv, one that cannot be read counts as one without settings."""
        try:
            tool = toml_of(text.decode("utf-8")).get("tool")
        except (tomli.TOMLDecodeError, UnicodeDecodeError):
            return cls()
        settings = _table(_table(tool).get("uv"))
        keys = settings.get("cache-keys")
        known = cls().keys if not isinstance(keys, list) else _keys(keys)
        return cls(known, frozenset(_placed(_table(settings.get("sources")))))


def _placed(sources: Mapping[str, Any]) -> Iterator[NormalizedName]:
    for name, entry in sources.items():
        tables = entry if isinstance(entry, list) else [entry]
        if any("path" in _table(table) or "workspace" in _table(table) for table in tables):
            yield canonicalize_name(name)


def _keys(entries: list[Any]) -> CacheKeys:
    tables = [{"file": entry} if isinstance(entry, str) else _table(entry) for entry in entries]
    files = [str(table["file"]) for table in tables if "file" in table]
    git = [table["git"] for table in tables if "git" in table]
    return CacheKeys(
        files=tuple(file for file in files if not _GLOB & set(file)),
        globs=tuple(file for file in files if _GLOB & set(file)),
        directories=tuple(str(table["dir"]) for table in tables if "dir" in table),
        env=tuple(str(table["env"]) for table in tables if "env" in table),
        commit=any(g is True or _table(g).get("commit") is True for g in git),
        tags=any(_table(g).get("tags") is True for g in git),
    )


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


Stale = SourceChanged | SourceGone | SourceUnrecorded


class LocalSource(msgspec.Struct, frozen=True):
    """The folder or file that an installed package came from, as it is now.

    `stale` says why uv would install it again, if it would. `files` decide whether it does.
    `placed` are the packages that its own project takes from a folder or a file.
    """

    stale: Stale | None = None
    files: tuple[str, ...] = ()
    placed: frozenset[NormalizedName] = frozenset()
    now: BuildStamp | None = None
