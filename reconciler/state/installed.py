"""What an environment's site-packages holds, read from its dist-info folders.

In-process and cached by inode and modification time: looking again at an unchanged
environment costs one `stat` for each package. Imports nothing from the environment and
never writes to it.
"""

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import NamedTuple

from installer.records import InvalidRecordEntry, parse_record_file
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from reconciler.state.requires import NOTHING, Requires
from reconciler.state.sources import DirectUrl

_DIST_INFO = re.compile(r"^(?P<name>.+?)-(?P<version>[^-]+)\.dist-info$")
_EGG_INFO = re.compile(r"^(?P<name>[^-]+)(-(?P<version>[^-]+))?(-py[\d.]+)?.*\.egg-info$")


class RecordedFile(NamedTuple):
    """A row of a RECORD (PEP 627): `path` is absolute; hash as `sha256=...`, size in bytes."""

    path: str
    hash: str | None
    size: int | None

    @property
    def is_bytecode(self) -> bool:
        """Whether it is compiled anew when missing, and so is no part of what is whole."""
        return self.path.endswith((".pyc", ".pyo"))


@dataclass(frozen=True, slots=True)
class Distribution:
    """One installed distribution, as its metadata tells.

    `defect` says in a few words why it cannot be whole, when that shows from its
    folder alone: no RECORD, no METADATA, a name that is not the folder's.
    """

    name: NormalizedName
    version: Version
    info: Path
    requires: Requires = NOTHING
    provides_extra: frozenset[NormalizedName] = frozenset()
    direct_url: DirectUrl | None = None
    defect: str | None = None
    legacy: bool = False
    """An egg-info, which has no RECORD and never had one."""

    def files(self) -> tuple[RecordedFile, ...]:
        """The files that RECORD lists, read from the disk at each call.

        Raises:
            OSError: There is no RECORD, or it cannot be read.
            ValueError: It is not a RECORD.
        """
        return read_record(self.info)


def read_record(info: Path) -> tuple[RecordedFile, ...]:
    """The rows of `info`/RECORD, with the paths made absolute and normal.

    Raises:
        OSError: It cannot be read.
        ValueError: A row is malformed, there is none, or the file is not UTF-8.
    """
    site = str(info.parent)
    with (info / "RECORD").open(encoding="utf-8", newline="") as record:
        try:
            rows = tuple(
                RecordedFile(_placed(site, path), hash_ or None, int(size) if size else None)
                for path, hash_, size in parse_record_file(record)
            )
        except (InvalidRecordEntry, csv.Error) as error:
            raise ValueError(str(error)) from error
    if not rows or any("\0" in row.path for row in rows):
        raise ValueError("it is empty, or not text, as after a power cut")
    return rows


def read_recorded_paths(info: Path) -> tuple[str, ...]:
    """Only the paths of `read_record`, in a fifth of the time.

    Raises:
        OSError: It cannot be read.
        ValueError: A row is malformed, or the file is not UTF-8.
    """
    text = (info / "RECORD").read_text(encoding="utf-8")
    lines = text.removesuffix("\n").split("\n")
    if '"' in text or "\0" in text or any(line.count(",") != 2 for line in lines):
        return tuple(row.path for row in read_record(info))
    site = str(info.parent)
    return tuple(_placed(site, line.partition(",")[0]) for line in lines)


def _placed(site: str, path: str) -> str:
    """A recorded path made absolute and normal; most are normal already."""
    if "/." in path or "//" in path or path[:1] in (".", "/", ""):
        return os.path.normpath(os.path.join(site, path))  # noqa: PTH118
    return f"{site}/{path}"


@dataclass(frozen=True)
class Installed:
    """The distributions of one environment at one moment.

    Equal objects mean that nothing a look at the folders can see has changed.
    """

    distributions: Mapping[NormalizedName, Distribution]
    duplicates: Mapping[NormalizedName, tuple[Distribution, ...]] = field(default_factory=dict)
    """Further dist-info folders of a name that is there already: an install was interrupted."""

    def get(self, name: str) -> Distribution | None:
        """The distribution of that name, in any spelling."""
        return self.distributions.get(canonicalize_name(name))

    def version(self, name: str) -> Version | None:
        """Its version, or None if it is not installed."""
        found = self.get(name)
        return found.version if found else None

    def copies(self, name: NormalizedName) -> Iterator[Distribution]:
        """Every dist-info of that name: one, or none, or several after an interrupted install."""
        if name in self.distributions:
            yield self.distributions[name]
            yield from self.duplicates.get(name, ())

    def all(self) -> Iterator[Distribution]:
        """Every distribution, duplicates too."""
        yield from self.distributions.values()
        for extra in self.duplicates.values():
            yield from extra


_Stamp = tuple[int, ...]


class MetadataCache:
    """Parsed metadata by the identity of its files, wherever they are linked or moved to.

    What uv prepared is read there, then in the stage, then in the live tree: once.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, _Stamp], Distribution] = {}

    def read(self, path: str, stamp: _Stamp) -> Distribution:
        """The distribution whose dist-info folder is `path`."""
        key = path.rpartition("/")[2], stamp
        info = Path(path)
        found = self._known.get(key) or read_distribution(info)
        self._known[key] = found if found.info == info else replace(found, info=info)
        return self._known[key]

    def keep(self, distributions: Iterable[Distribution]) -> None:
        """Forget all others."""
        kept = {id(d) for d in distributions}
        self._known = {key: d for key, d in self._known.items() if id(d) in kept}


class InstalledReader:
    """Reads one environment again and again, each dist-info only when it has changed."""

    def __init__(
        self, site_directories: Sequence[Path], metadata: MetadataCache | None = None
    ) -> None:
        self.directories = tuple(site_directories)
        self._metadata = metadata or MetadataCache()
        self._cache: dict[str, tuple[_Stamp, Distribution]] = {}
        self._last: Installed | None = None

    def read(self) -> Installed:
        """The installed state as it is now; the same object while nothing changed.

        Raises:
            OSError: A site-packages folder cannot be read.
        """
        fresh: dict[str, tuple[_Stamp, Distribution]] = {}
        for path in self._info_folders():
            stamp = _stamp(path)
            if stamp is None:
                continue
            known = self._cache.get(path)
            unchanged = known is not None and known[0] == stamp
            fresh[path] = (
                known if unchanged and known else (stamp, self._metadata.read(path, stamp))
            )
        changed = self._last is None or fresh != self._cache
        self._cache = fresh
        if changed or self._last is None:
            self._last = collect(distribution for _, distribution in fresh.values())
        return self._last

    def _info_folders(self) -> Iterator[str]:
        for directory in self.directories:
            try:
                names = os.listdir(directory)  # noqa: PTH208 -- names only, in one call
            except FileNotFoundError:
                continue
            for name in sorted(names):
                if name.endswith((".dist-info", ".egg-info")) and not name.startswith("~"):
                    yield f"{directory}/{name}"


def _stamp(path: str) -> _Stamp | None:
    """What tells an unchanged dist-info: its METADATA's and RECORD's identity.

    Not the folder's own, so that a clone by hard links counts as unchanged.
    """
    stamp: list[int] = []
    for name in ("METADATA", "RECORD"):
        try:
            found = os.stat(f"{path}/{name}")  # noqa: PTH116 -- for each package, at every look
        except OSError:
            stamp.append(0)
        else:
            stamp += (found.st_ino, found.st_mtime_ns, found.st_size)
    if stamp == [0, 0]:  # an egg-info, an empty shell, or removed since the listing
        try:
            stamp.append(Path(path).stat().st_mtime_ns)
        except OSError:
            return None
    return tuple(stamp)


def collect(found: Iterable[Distribution]) -> Installed:
    """Sort distributions by name; of several of one name the whole one comes first."""
    by_name: dict[NormalizedName, list[Distribution]] = {}
    for distribution in found:
        by_name.setdefault(distribution.name, []).append(distribution)
    first: dict[NormalizedName, Distribution] = {}
    duplicates: dict[NormalizedName, tuple[Distribution, ...]] = {}
    for name, candidates in by_name.items():
        if len(candidates) > 1:  # else no file is looked at: this runs at every look
            candidates.sort(key=_wholeness)
            duplicates[name] = tuple(candidates[1:])
        first[name] = candidates[0]
    return Installed(first, duplicates)


def _wholeness(distribution: Distribution) -> tuple[bool, bool, float, str]:
    """Sorts the living of several dist-infos first."""
    is_defect = distribution.defect is not None
    return is_defect, distribution.legacy, -_presence(distribution), str(distribution.info)


def _presence(distribution: Distribution) -> float:
    """The share of recorded files that are there."""
    try:
        files = distribution.files()
    except (OSError, ValueError):
        return 0.0
    return sum(os.path.lexists(f.path) for f in files) / max(len(files), 1)


def read_distribution(info: Path) -> Distribution:
    """Read one dist-info or egg-info; what is wrong with it becomes its `defect`."""
    if info.name.endswith(".egg-info"):
        return _read_egg_info(info)
    matched = _DIST_INFO.match(info.name)
    name, version = (matched["name"], matched["version"]) if matched else (info.stem, "0")
    defect = None if matched else "its dist-info folder has no proper name"
    try:
        metadata = (info / "METADATA").read_bytes()
    except OSError:
        return Distribution(canonicalize_name(name), _version(version), info,
                            defect="its METADATA is missing")  # fmt: skip
    if not (info / "RECORD").is_file():
        defect = "its RECORD is missing: an install or a removal was interrupted"
    return _from_metadata(metadata, name, version, info, defect)


def _read_egg_info(info: Path) -> Distribution:
    """Legacy: a folder with PKG-INFO, or the PKG-INFO itself."""
    matched = _EGG_INFO.match(info.name)
    name = matched["name"] if matched else info.stem
    version = (matched["version"] if matched else None) or "0"
    try:
        metadata = (info / "PKG-INFO" if info.is_dir() else info).read_bytes()
    except OSError:
        metadata = b""
    found = _from_metadata(metadata, name, version, info, None)
    return Distribution(found.name, found.version, info, found.requires, found.provides_extra,
                        legacy=True)  # fmt: skip


def _from_metadata(
    metadata: bytes, name: str, version: str, info: Path, defect: str | None
) -> Distribution:
    head = BytesHeaderParser().parsebytes(metadata.partition(b"\n\n")[0] + b"\n\n")
    return Distribution(
        name=canonicalize_name(str(head.get("Name", name))),
        version=_version(str(head.get("Version", version))),
        info=info,
        requires=Requires.of(str(line) for line in head.get_all("Requires-Dist", [])),
        provides_extra=frozenset(
            canonicalize_name(str(e)) for e in head.get_all("Provides-Extra", [])
        ),
        direct_url=_direct_url(info),
        defect=defect,
    )


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0")


def _direct_url(info: Path) -> DirectUrl | None:
    try:
        data = json.loads((info / "direct_url.json").read_bytes())
    except (OSError, ValueError):
        return None
    return DirectUrl.from_json(data) if isinstance(data, dict) else None


def missing_files(distribution: Distribution) -> tuple[str, ...]:
    """The recorded files that are not there, or that a power cut left empty (uv-facts 22).

    Compiled bytecode does not count. Other differences in size are somebody's edit, which
    is not ours to undo. No file is opened.
    """
    if distribution.legacy:
        return ()
    try:
        files = distribution.files()
    except (OSError, ValueError) as error:
        return (f"{distribution.info.name}/RECORD ({error})",)
    return tuple(f.path for f in files if not f.is_bytecode and not _is_there(f))


def _is_there(file: RecordedFile) -> bool:
    try:
        found = os.stat(file.path)  # noqa: PTH116 -- 46,000 times
    except OSError:
        return os.path.islink(file.path)  # noqa: PTH114 -- a dangling link is what was recorded
    return found.st_size > 0 or not file.size


def audit(installed: Installed) -> dict[NormalizedName, str]:
    """Every distribution that is not whole, and why, in words.

    Costs a `stat` for each recorded file: 46,000 files take about 0.2 s.
    """
    broken: dict[NormalizedName, str] = {}
    for name, distribution in installed.distributions.items():
        why = defect_of(distribution, installed)
        if why:
            broken[name] = why
    return broken


def defect_of(distribution: Distribution, installed: Installed) -> str | None:
    """Why this distribution is not whole, or None."""
    if distribution.name in installed.duplicates:
        others = ", ".join(d.info.name for d in installed.duplicates[distribution.name])
        return f"there is a second dist-info folder beside {distribution.info.name}: {others}"
    if distribution.defect:
        return distribution.defect
    gone = missing_files(distribution)
    if not gone:
        return None
    more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
    return f"files that its RECORD lists are missing or empty: {gone[0]}{more}"
