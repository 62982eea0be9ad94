"""What a tree contained when it was cloned, and what others have changed in it since then.

Only an installer's changes count: files that a RECORD lists, metadata folders, `.pth` files,
scripts. A program that writes caches beside its modules is not an installer; its files are
carried over to the new tree, so that nothing is lost.
"""

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from reconciler.state.installed import Installed
from reconciler.trees.tree import recorded_paths

BYTECODE = "__pycache__"
_SCRIPTS = "bin"
_METADATA = (".dist-info", ".egg-info", ".egg-link", ".egg", ".pth")
_SITES = ("site-packages", "dist-packages")
_64_BITS = (1 << 64) - 1


class Census(msgspec.Struct, frozen=True):
    """The contents of a tree, in little memory: 46,000 names and inodes would take 6 MB.

    `roots` has the inode of each top-level file, and 0 for a folder. `folders` has, for each
    folder below (as a relative path), the hash and the inode of each name, sorted. `telling` has
    the inodes of what only installers write.
    """

    roots: dict[str, int] = msgspec.field(default_factory=dict)
    folders: "dict[str, array[int]]" = msgspec.field(default_factory=dict)
    telling: dict[str, int] = msgspec.field(default_factory=dict)

    def note(self, folder: str, names: Mapping[str, int]) -> None:
        """Remember a folder's names and inodes; a folder in it counts as inode 0."""
        self.folders[folder] = _packed(names)
        for name, inode in names.items():
            if name.endswith(_METADATA):
                self.telling[f"{folder}/{name}"] = inode


class Changes(msgspec.Struct, frozen=True):
    """What has changed in a tree since its census.

    `installed` is the first folder in which an installer changed something. `loose` are the new
    or replaced files and folders that no package owns, with the inode that was there before.
    """

    installed: str | None = None
    loose: Mapping[str, int | None] = msgspec.field(default_factory=dict)


def changes_since(prefix: Path, census: Census, installed: Installed) -> Changes:
    """What others have changed in the live tree since it was cloned.

    Compiled bytecode does not count at all: running programs write it at any time.

    Args:
        prefix: The live tree.
        census: Its contents then.
        installed: The packages then; their RECORDs are only read if anything has changed.
    """
    now = listing(str(prefix))
    if any(inode and now.get(name) != inode for name, inode in census.roots.items()):
        return Changes(".")
    changed = [f for f in census.folders if _has_changed(prefix, f, census)]
    if not changed:
        return Changes()
    owned = _Owned(prefix, census, installed)
    loose: dict[str, int | None] = {}
    for folder in changed:
        try:
            now = listing(f"{prefix}/{folder}")
        except OSError:
            if folder in owned:
                return Changes(folder)
            continue
        before = _unpacked(census.folders[folder])
        fresh = {n: before.get(_hash(n)) for n, i in now.items() if before.get(_hash(n)) != i}
        gone = before.keys() - {_hash(name) for name in now}
        if any(f"{folder}/{n}" in owned for n in fresh) or owned.had(folder, gone):
            return Changes(folder)
        loose |= {f"{folder}/{name}": inode for name, inode in fresh.items()}
    return Changes(None, loose)


def listing(folder: str) -> dict[str, int]:
    """The names in a folder with their inodes, and 0 for a folder; without bytecode folders."""
    names: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != BYTECODE:
                    names[entry.name] = 0
            elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                names[entry.name] = entry.inode()
    return names


def _has_changed(prefix: Path, folder: str, census: Census) -> bool:
    if folder.rpartition("/")[2] == BYTECODE:
        return False
    try:
        return _packed(listing(f"{prefix}/{folder}")) != census.folders[folder]
    except OSError:
        return True


class _Owned:
    """What belongs to packages, in a tree that has changed: costs as much as reading it once."""

    def __init__(self, prefix: Path, census: Census, installed: Installed) -> None:
        self._telling = census.telling
        self._names: dict[str, set[int]] = {}
        """For each folder, the hashes of the names that packages own there."""
        for distribution in installed.all():
            for path in recorded_paths(distribution, prefix):
                self._add(path)
        for folder in census.folders:
            if folder.endswith(_SITES):
                self._add(folder)

    def _add(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        known = self._names.setdefault(folder, set())
        if _hash(name) not in known:
            known.add(_hash(name))
            if folder:
                self._add(folder)

    def __contains__(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return _tells(path) or _hash(name) in self._names.get(folder, ())

    def had(self, folder: str, gone: Iterable[int]) -> bool:
        """Whether one of the names that have gone from a folder belonged to a package."""
        telling = {_hash(p.rpartition("/")[2]) for p in self._telling if _folder(p) == folder}
        owned = self._names.get(folder, set()) | telling
        return any(name in owned or _tells(folder) for name in gone)


def _tells(path: str) -> bool:
    """Whether only an installer writes there: scripts, metadata, `.pth` files."""
    parts = path.split("/")
    return parts[0] == _SCRIPTS or any(part.endswith(_METADATA) for part in parts)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _hash(name: str) -> int:
    return hash(name) & _64_BITS


def _packed(names: Mapping[str, int]) -> "array[int]":
    pairs = sorted((_hash(name), inode) for name, inode in names.items())
    return array("Q", [number for pair in pairs for number in pair])


def _unpacked(packed: "array[int]") -> dict[int, int]:
    numbers: Iterator[int] = iter(packed)
    return dict(zip(numbers, numbers, strict=True))
