"""One installed distribution, read from its dist-info, egg-info or egg-link.

Names and versions are read from the folder's name, as uv does, so that both mean the same
package. Damage becomes a `defect`; it is never an error.
"""

import base64
import os
from collections.abc import Iterator, Sequence
from enum import StrEnum
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from reconciler.files.bounded import read_bytes, read_text
from reconciler.files.parsing import json_of
from reconciler.patterns import regex
from reconciler.state.bounds import LONGEST_PATH, LONGEST_REQUIREMENT, shown, version_in
from reconciler.state.metadata_headers import Headers, headers_of
from reconciler.state.requires import NOTHING, Requires
from reconciler.state.sources import DirectUrl

INTERRUPTED = "its RECORD is missing: an install or a removal was interrupted"

_RECORDING = frozenset({"", "pip", "uv"})
"""Installers that always write a RECORD: without one, they were interrupted."""

EGG_LINK = ".egg-link"
"""The file that `setup.py develop` leaves: it says where the project and its egg-info are."""

_OLD_DIST_INFO = regex(r"(?P<name>.+?)-(?P<version>[^-]+)")
_EGG_INFO = regex(r"^(?P<name>[^-]+)(-(?P<version>[^-]+))?(-py[\d.]+)?.*\.egg-info$")
_MOST_METADATA = 4 * 1024 * 1024
_LONGEST_HEAD = 1024 * 1024
"""Bytes before the description. The longest that we have seen, with its license, has 100,000."""
_MOST_REQUIREMENTS = 10_000
_MOST_WORDS = 64 * 1024
"""Bytes of a file that has a name or an address."""
_MOST_FILES = 200_000
"""The real torch has about 22,000."""
_NAME = regex(r"[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]")  # PEP 508
_FOLD = regex(r"\r?\n[ \t]+")


class RecordedFile(NamedTuple):
    """A row of a RECORD (PEP 627): absolute path, hash as `sha256=...`, size in bytes."""

    path: str
    hash: str | None
    size: int | None

    @property
    def is_bytecode(self) -> bool:
        """Whether it is compiled bytecode: Python recreates it, so it may be missing."""
        return self.path.endswith((".pyc", ".pyo"))

    @property
    def sha256(self) -> str | None:
        """Its recorded SHA-256 in hexadecimal (PEP 376 has URL-safe base64 without padding)."""
        kind, _, value = (self.hash or "").partition("=")
        if kind != "sha256":
            return None
        try:
            return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
        except ValueError:
            return None


class Unseen(StrEnum):
    """Where Python finds a package that uv does not see; reads on after its name and version."""

    BASE = "from the base environment"
    EGG = "from an egg"


class Distribution(msgspec.Struct, frozen=True):
    """One installed distribution, according to its metadata.

    `defect` says in a few words why it cannot be complete, if its folder alone shows it: no
    RECORD, no METADATA or a damaged one, a name that differs from the folder's.
    """

    name: NormalizedName
    version: Version
    info: Path
    requires: Requires = NOTHING
    provides_extra: frozenset[NormalizedName] = frozenset()
    direct_url: DirectUrl | None = None
    defect: str | None = None
    legacy: bool = False
    """Whether it has no RECORD to go by: an egg-info, an egg-link, another installer's package, or
    one that uv does not see."""
    unseen: Unseen | None = None
    installer: str | None = None
    """The other tool that installed it without a RECORD (conda, rpm, Debian); None otherwise.

    Only that tool knows its files, so only that tool can remove or replace it.
    """

    def files(self) -> tuple[RecordedFile, ...]:
        """The files that RECORD lists, read from disk on each call; legacy ones have no such list.

        Raises:
            OSError: There is no RECORD, or it cannot be read.
            ValueError: It is not a RECORD.
        """
        return () if self.legacy else read_record(self.info)


def read_record(info: Path) -> tuple[RecordedFile, ...]:
    """The rows of `info`/RECORD, with absolute, normalised paths.

    Raises:
        OSError: It cannot be read.
        ValueError: A row is malformed, there are no rows, or the file is not UTF-8.
    """
    site = str(info.parent)
    rows = tuple(
        RecordedFile(_placed(site, path), hash_ or None, int(size) if size else None)
        for path, hash_, size in islice(_fields(read_text(info / "RECORD")), _MOST_FILES)
    )
    if not rows or any("\0" in row.path for row in rows):
        raise ValueError("it is empty, or not text, as after a power cut")
    if len(rows) == _MOST_FILES:
        raise ValueError(f"it lists {_MOST_FILES:,} files or more")
    return rows


def _fields(record: str) -> Iterator[tuple[str, str, str]]:
    """The rows of a RECORD (PEP 376), with slashes also in a path that was written on Windows."""
    import csv  # noqa: PLC0415 -- this is the only place

    try:
        for number, row in enumerate(csv.reader(StringIO(record, newline=""))):
            if len(row) != 3:
                raise ValueError(f"row {number + 1} has {len(row)} fields, not 3")
            path, hash_, size = row
            yield path.replace("\\", "/"), hash_, size
    except csv.Error as error:
        raise ValueError(shown(str(error))) from error


def read_recorded_paths(info: Path) -> tuple[str, ...]:
    """Only the paths of `read_record`, five times as fast.

    Raises:
        OSError: It cannot be read.
        ValueError: A row is malformed, or the file is not UTF-8.
    """
    text = read_text(info / "RECORD").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.removesuffix("\n").split("\n")
    if (
        len(lines) >= _MOST_FILES
        or '"' in text
        or "\0" in text
        or any(line.count(",") != 2 for line in lines)
    ):
        return tuple(row.path for row in read_record(info))
    site = str(info.parent)
    return tuple(_placed(site, line.partition(",")[0]) for line in lines)


def _placed(site: str, path: str) -> str:
    """A recorded path, absolute and normalised; most are normalised already."""
    if len(path) > LONGEST_PATH:
        raise ValueError(f"it lists a path with {len(path):,} characters")
    if "/." in path or "//" in path or path[:1] in (".", "/", ""):
        return os.path.normpath(os.path.join(site, path))  # noqa: PTH118
    return f"{site}/{path}"


def read_distribution(info: Path) -> Distribution:
    """Read one dist-info, egg-info or egg-link; any damage becomes its `defect`."""
    if info.name.endswith(EGG_LINK):
        return _read_egg_link(info)
    if info.name.endswith(".egg-info"):
        return _read_egg_info(info)
    named = _named(info.name.removesuffix(".dist-info"))
    name, version = named or _named_in_old_ways(info)
    try:
        metadata = read_bytes(info / "METADATA", _MOST_METADATA)
    except (FileNotFoundError, NotADirectoryError):
        return Distribution(name, version, info, defect="its METADATA is missing")
    except OSError as error:
        why = f"its METADATA cannot be read: {error.strerror}"
        return Distribution(name, version, info, defect=why)
    found = _from_metadata(metadata, name, version, info)
    if not (info / "RECORD").is_file():
        tool = _installer(info)
        if tool not in _RECORDING:
            return replace(found, legacy=True, installer=tool)
        return replace(found, defect=found.defect or INTERRUPTED)
    if named is None:
        return replace(found, defect=found.defect or "its dist-info folder has an invalid name")
    return found


def _installer(info: Path) -> str:
    """The tool that installed it (PEP 376); empty if unknown."""
    try:
        return read_text(info / "INSTALLER", _MOST_WORDS).strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _named(stem: str) -> tuple[NormalizedName, Version] | None:
    """The name and version in a folder's name, read like uv (PEP 427)."""
    name, _, version = stem.partition("-")
    known = version_in(version)
    return (canonicalize_name(name), known) if known and _is_name(name) else None


def _named_in_old_ways(info: Path) -> tuple[NormalizedName, Version]:
    """The same for a folder's name that uv would not read: METADATA may have both."""
    matched = _OLD_DIST_INFO.fullmatch(info.stem)
    name, version = (matched["name"], matched["version"]) if matched else (info.stem, "")
    try:
        head = _head(read_bytes(info / "METADATA", _MOST_METADATA))
    except OSError:
        head = {}
    told, known = _text(head, "name"), version_in(_text(head, "version")) or version_in(version)
    return canonicalize_name(told if _is_name(told) else name), known or Version("0")


def told_version(info: Path) -> Version | None:
    """The version in the METADATA of a dist-info; it should be the one in the folder's name."""
    try:
        return version_in(_text(_head(read_bytes(info / "METADATA", _MOST_METADATA)), "version"))
    except OSError:
        return None


def _read_egg_info(info: Path) -> Distribution:
    """Legacy: a folder with PKG-INFO, or PKG-INFO itself."""
    matched = _EGG_INFO.match(info.name)
    name = matched["name"] if matched else info.stem
    try:
        metadata = read_bytes(info / "PKG-INFO" if info.is_dir() else info, _MOST_METADATA)
    except OSError:
        metadata = b""
    version = version_in((matched and matched["version"]) or "")
    if version is None:
        head = _head(metadata)
        told, version = _text(head, "name"), version_in(_text(head, "version"))
        name = told if _is_name(told) else name
    found = _from_metadata(metadata, canonicalize_name(name), version or Version("0"), info)
    return replace(found, defect=None, direct_url=None, legacy=True)


def read_egg(egg: Path, metadata: bytes) -> Distribution:
    """Legacy: an egg, by its PKG-INFO; older ones are not read further."""
    head = _head(metadata)
    name, version = canonicalize_name(_text(head, "name")), version_in(_text(head, "version"))
    found = _from_metadata(metadata, name, version or Version("0"), egg)
    return replace(found, direct_url=None, legacy=True, unseen=Unseen.EGG)


def _read_egg_link(link: Path) -> Distribution:
    """Legacy: a project installed with `setup.py develop`."""
    name = canonicalize_name(link.stem)
    try:
        project = Path(read_text(link, _MOST_WORDS).partition("\n")[0].strip())
        infos = sorted(project.glob("*.egg-info")) if project.is_absolute() else []
    except (OSError, ValueError):
        infos = []
    for info in infos:
        found = _read_egg_info(info)
        if found.name == name:
            return replace(found, info=link)
    gone = "the project that its egg-link points to is gone"
    return Distribution(name, Version("0"), link, defect=gone, legacy=True)


def _head(metadata: bytes) -> Headers:
    """The headers; cut off where no header of a package is so long."""
    return headers_of(metadata.partition(b"\n\n")[0][:_LONGEST_HEAD])


def _text(head: Headers, key: str) -> str:
    return next(iter(head.get(key, ())), "").strip()


def _from_metadata(
    metadata: bytes, name: NormalizedName, version: Version, info: Path
) -> Distribution:
    head = _head(metadata)
    told = _text(head, "name")
    defect = None
    if not _is_name(told) or version_in(_text(head, "version")) is None:
        defect = "its METADATA is damaged: it has no name and version"
    elif canonicalize_name(told) != name:
        defect = f"its METADATA is that of {told[:200]}"
    lines = _unfolded(head, "requires-dist")
    return Distribution(
        name=name,
        version=version,
        info=info,
        requires=Requires.of(lines[:_MOST_REQUIREMENTS]),
        provides_extra=frozenset(canonicalize_name(e) for e in _unfolded(head, "provides-extra")),
        direct_url=_direct_url(info),
        defect=defect or _over_the_bounds(metadata, lines),
    )


def _over_the_bounds(metadata: bytes, requirements: Sequence[str]) -> str | None:
    """Why METADATA is not read as a whole: so far nobody needs so much, except to do harm."""
    if len(requirements) > _MOST_REQUIREMENTS:
        return f"its METADATA has {len(requirements):,} requirements"
    longest = max(map(len, requirements), default=0)
    if longest > LONGEST_REQUIREMENT:
        return f"its METADATA has a requirement with {longest:,} characters"
    if len(metadata.partition(b"\n\n")[0]) > _LONGEST_HEAD:
        return "its METADATA has a header of more than 1 MiB"
    return None


def _unfolded(head: Headers, key: str) -> list[str]:
    return [_FOLD.sub(" ", line) for line in head.get(key, ())]


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def _direct_url(info: Path) -> DirectUrl | None:
    try:
        data = json_of(read_bytes(info / "direct_url.json", _MOST_WORDS))
    except (OSError, ValueError, RecursionError):
        return None
    return DirectUrl.from_json(data) if isinstance(data, dict) else None
