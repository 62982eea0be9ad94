"""Reads the folders and files that installed packages came from: has any of them changed?

As uv does before every installation, so that both come to the same answer. It only looks at
them; it never runs their code, and it never walks through more than a bounded number of files.
"""

import ctypes
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from packaging.utils import NormalizedName

from reconciler.files.bounded import read_bytes, read_text
from reconciler.files.deciding import read_deciding
from reconciler.state.build_stamp import BuildStamp, CacheKeys, LocalSource, ProjectFile, Stale
from reconciler.state.causes import SourceChanged, SourceGone, SourceUnrecorded
from reconciler.state.distribution import Distribution
from reconciler.state.installed import Installed
from reconciler.state.locations import local_path

_MOST_SOURCES = 200
_MOST_GLOBBED = 5000
"""Entries of folders that the globs of one project may look at: this runs at every look."""
_MOST_PROJECT_BYTES = 4 * 1024 * 1024


class _TooMany(Exception):
    """A glob would have to look at too many files."""


class LocalSources:
    """Follows the local sources of one environment; what has not changed is not read again."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._recorded: dict[NormalizedName, tuple[Distribution, BuildStamp | None]] = {}
        self._projects: dict[Path, tuple[tuple[int, ...], ProjectFile]] = {}

    def read(self, installed: Installed) -> Mapping[NormalizedName, LocalSource]:
        """The source of each package that was installed from a folder or a file."""
        found: dict[NormalizedName, LocalSource] = {}
        places: set[Path] = set()
        for distribution in installed.distributions.values():
            place = _place_of(distribution)
            if place is not None and len(found) < _MOST_SOURCES:
                found[distribution.name] = self._source(distribution, place)
                places.add(place)
        self._projects = {f: known for f, known in self._projects.items() if f.parent in places}
        self._recorded = {name: self._recorded[name] for name in found}
        return found

    def _source(self, distribution: Distribution, place: Path) -> LocalSource:
        recorded = self._recorded_by_uv(distribution)
        if not place.is_dir():
            now = BuildStamp(_changed_at(place))
            gone = now.timestamp is None
            stale = SourceGone(str(place)) if gone else _stale(recorded, now, str(place))
            return LocalSource(stale, (str(place),), now=now)
        project = self._project(place)
        files = [str(place / name) for name in (*project.keys.files, *project.keys.directories)]
        try:
            matched = list(_globbed(place, project.keys.globs))
        except _TooMany:
            return LocalSource(None, tuple(files), project.placed)
        deciding = [place / name for name in project.keys.files] + matched
        now = _stamp_of(place, project.keys, deciding, self._environ)
        stale = _stale(recorded, now, _what(place, recorded, now, deciding))
        return LocalSource(stale, tuple(files), project.placed, now)

    def _recorded_by_uv(self, distribution: Distribution) -> BuildStamp | None:
        known = self._recorded.get(distribution.name)
        if known is None or known[0] is not distribution:
            try:
                text = read_bytes(distribution.info / "uv_cache.json")
            except OSError:
                text = b""
            known = (distribution, BuildStamp.from_json(text))
            self._recorded[distribution.name] = known
        return known[1]

    def _project(self, folder: Path) -> ProjectFile:
        file = folder / "pyproject.toml"
        try:
            found = file.stat()
            stamp = (found.st_ino, found.st_ctime_ns, found.st_size)
            known = self._projects.get(file)
            if known is None or known[0] != stamp:
                text = read_deciding(file, _MOST_PROJECT_BYTES)
                known = (stamp, ProjectFile.of(text))
                self._projects[file] = known
        except OSError:
            return ProjectFile()
        return known[1]


def _place_of(distribution: Distribution) -> Path | None:
    """The folder or file that it came from; None for an index, a server or a repository."""
    origin = distribution.direct_url
    if origin is None or origin.commit is not None or not origin.url.startswith("file:"):
        return None
    place = local_path(origin.url)
    return place / origin.subdirectory if place and origin.subdirectory else place


def _stale(recorded: BuildStamp | None, now: BuildStamp, what: str) -> Stale | None:
    # uv records nothing if there is nothing to record, and then reinstalls it every time.
    if recorded == now or (recorded is None and now.is_empty):
        return None
    return SourceChanged(what) if recorded else SourceUnrecorded(what)


def _what(place: Path, recorded: BuildStamp | None, now: BuildStamp, files: Sequence[Path]) -> str:
    """What has changed, in a few words."""
    if recorded is None:
        return str(place)
    for name in sorted({*recorded.env, *now.env}):
        if recorded.env.get(name) != now.env.get(name):
            return f"the variable {name}"
    if recorded.commit != now.commit or recorded.tags != now.tags:
        return f"the commit or the tags of {place}"
    for name in sorted({*recorded.directories, *now.directories}):
        if recorded.directories.get(name) != now.directories.get(name):
            return str(place / name)
    latest = [file for file in files if _changed_at(file) == now.timestamp]
    return str(latest[0]) if latest and now.timestamp is not None else str(place)


def _stamp_of(
    place: Path, keys: CacheKeys, files: Sequence[Path], environ: Mapping[str, str]
) -> BuildStamp:
    times = [time for time in map(_changed_at, files) if time is not None]
    repository = _repository(place) if keys.commit or keys.tags else None
    return BuildStamp(
        timestamp=max(times, default=None),
        commit=_commit(repository) if repository and keys.commit else None,
        tags=_tags(repository) if repository and keys.tags else None,
        env={name: environ.get(name) for name in keys.env},
        directories={name: _created_at(place / name) for name in keys.directories},
    )


def _changed_at(file: Path) -> int | None:
    """When a file was last changed or replaced (ctime, ns); None if it is not a file."""
    try:
        return file.stat().st_ctime_ns if file.is_file() else None
    except OSError:
        return None


def _globbed(place: Path, patterns: Sequence[str]) -> Iterator[Path]:
    left = [_MOST_GLOBBED]
    for pattern in patterns:
        for plain in _without_braces(pattern):
            yield from _matches(place, plain.split("/"), left)


def _without_braces(pattern: str) -> Iterator[str]:
    """`{a,b}.c` is `a.c` and `b.c`."""
    head, opened, rest = pattern.partition("{")
    inner, closed, tail = rest.partition("}")
    if not (opened and closed):
        yield pattern
        return
    for choice in inner.split(","):
        yield from _without_braces(f"{head}{choice}{tail}")


def _matches(folder: Path, parts: Sequence[str], left: list[int]) -> Iterator[Path]:
    """The files below a folder that match a glob; `left` is how many may still be looked at."""
    first, *rest = parts
    if first == "**":
        yield from _matches(folder, rest or ["*"], left)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    left[0] -= len(entries)
    if left[0] < 0:
        raise _TooMany
    for entry in entries:
        path = folder / entry.name
        if first == "**":
            if entry.is_dir(follow_symlinks=False):
                yield from _matches(path, parts, left)
        elif fnmatchcase(entry.name, first):
            if not rest:
                yield path
            elif entry.is_dir():
                yield from _matches(path, rest, left)


def _repository(place: Path) -> Path | None:
    """The git folder of the repository around a folder."""
    for folder in (place, *place.parents):
        git = folder / ".git"
        if git.is_dir():
            return git
        if git.is_file():  # a worktree
            _, _, elsewhere = read_text(git, _MOST_GIT_BYTES).partition("gitdir:")
            return folder / elsewhere.strip()
    return None


def _commit(git: Path) -> str | None:
    try:
        head = read_text(git / "HEAD", _MOST_GIT_BYTES).split()
        if len(head) == 1:
            return head[0]
        return _referenced(git, head[1])
    except (OSError, ValueError, IndexError):
        return None


def _referenced(git: Path, reference: str) -> str | None:
    """The commit that a branch points to; `git gc` packs many of them into one file."""
    try:
        return read_text(git / reference, _MOST_GIT_BYTES).strip()
    except FileNotFoundError:
        lines = read_text(git / "packed-refs").splitlines()
    return next((line.split()[0] for line in lines if line.endswith(f" {reference}")), None)


def _tags(git: Path) -> dict[str, str] | None:
    folder = git / "refs" / "tags"
    try:
        return {
            str(file.relative_to(folder)): read_text(file, _MOST_GIT_BYTES).strip()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
    except (OSError, ValueError):
        return None


_MOST_GIT_BYTES = 64 * 1024
_AT_WORKING_DIRECTORY, _BIRTH_TIME, _SIZE_OF_STATX = -100, 0x800, 256


def _created_at(folder: Path) -> int | None:
    """When a folder was created (ns); None if there is none. Python does not say it on Linux."""
    if not folder.is_dir():
        return None
    found = ctypes.create_string_buffer(_SIZE_OF_STATX)
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.statx(_AT_WORKING_DIRECTORY, os.fsencode(folder), 0, _BIRTH_TIME, found)
    (mask,) = struct.unpack_from("I", found.raw, 0)
    if failed or not mask & _BIRTH_TIME:
        return None
    seconds, nanoseconds = struct.unpack_from("qI", found.raw, 80)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
