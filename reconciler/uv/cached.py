"""Wheels from uv's cache, for what no index has any more.

uv keeps each wheel that it has installed unpacked in its cache, but only finds it there while
an index lists it. This packs one again. Only reads the cache.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconciler.files.bounded import open_regular, read_bytes, read_text
from reconciler.patterns import regex
from reconciler.state.distribution import Distribution, RecordedFile, read_record
from reconciler.state.locations import from_home

_MOST_WHEEL = 64 * 1024
_TAG = regex(r"Tag:\s*([\w.]+)-([\w.]+)-([\w.]+)\s*", re.ASCII)
_LONGEST_TAG = 150


def cache_folder(environ: Mapping[str, str], settings: Mapping[str, Any]) -> Path | None:
    """uv's cache, as uv finds it; None if it has none.

    Args:
        environ: The environment variables.
        settings: The user's uv settings.
    """
    if environ.get("UV_NO_CACHE") or settings.get("no-cache"):
        return None
    configured = environ.get("UV_CACHE_DIR") or settings.get("cache-dir")
    if configured:
        return Path(str(configured))
    home = from_home(environ.get("HOME") or "~")
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "uv"


def pack_cached(installed: Distribution, cache: Path, folder: Path) -> Path | None:
    """Write the wheel that this was installed from into `folder`; None if uv has no copy.

    It is that wheel if its RECORD lists the same files with the same hashes as the installed
    one; without an installed RECORD, if the METADATA is the same.

    Raises:
        OSError: `folder` cannot be written.
    """
    for info in sorted(cache.glob(f"archive-v*/*/{installed.info.name}")):
        tag = _tag(info) if _is_same(info, installed.info) else None
        if tag is not None:
            wheel = folder / f"{installed.info.name.removesuffix('.dist-info')}-{tag}.whl"
            _pack(info.parent, wheel)
            return wheel
    return None


def archives_of(infos: AbstractSet[str], cache: Path) -> Iterator[Path]:
    """The unpacked wheels in the cache with one of these dist-info folders.

    They may share files with what was installed from them.
    """
    for bucket in cache.glob("archive-v*"):
        for archive in os.listdir(bucket):  # noqa: PTH208 -- thousands of wheels, as below
            path = f"{bucket}/{archive}"
            with suppress(OSError):
                if not infos.isdisjoint(os.listdir(path)):  # noqa: PTH208
                    yield Path(path)


def _is_same(cached: Path, installed: Path) -> bool:
    try:
        wheel = {path: row.hash for path, row in _rows(cached) if row.hash}
        if not (installed / "RECORD").is_file():
            metadata = read_bytes(installed / "METADATA")
            return read_bytes(cached / "METADATA") == metadata and _is_whole(cached)
        found = {path: row.hash for path, row in _rows(installed)}
    except (OSError, ValueError):
        return False
    # Scripts and data go elsewhere, and get another first line.
    same = all(found.get(p) == digest for p, digest in wheel.items() if ".data/" not in p)
    return same and _is_whole(cached)


def _is_whole(cached: Path) -> bool:
    """Whether the cache has not the same damage: it may share its files with the environment."""
    try:
        return all(_sha256_of(row.path) == row.sha256 for row in read_record(cached) if row.sha256)
    except (OSError, ValueError):
        return False


def _sha256_of(path: str) -> str:
    with os.fdopen(open_regular(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rows(info: Path) -> Iterator[tuple[str, RecordedFile]]:
    for row in read_record(info):
        yield os.path.relpath(row.path, info.parent), row


def _tag(info: Path) -> str | None:
    """The tag of the wheel's file name: its sets compressed (PEP 425); None if WHEEL has none."""
    try:
        lines = read_text(info / "WHEEL", _MOST_WHEEL).splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    tags = [_TAG.fullmatch(line) for line in lines if line.startswith("Tag:")]
    parts = [tag.groups() for tag in tags if tag is not None]
    if not parts or len(parts) < len(tags):
        return None
    tag = "-".join(".".join(sorted(set(part))) for part in zip(*parts, strict=True))
    return tag if len(tag) <= _LONGEST_TAG else None


def _pack(tree: Path, wheel: Path) -> None:
    import zipfile  # noqa: PLC0415 -- slow to import, and rarely needed

    with zipfile.ZipFile(wheel, "w") as packed:
        for path in sorted(tree.rglob("*")):
            if path.is_file() and not path.name.endswith(".pyc"):
                packed.write(path, path.relative_to(tree))
