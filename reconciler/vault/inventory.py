"""What a vault has, what it takes on the disk, and who uses it; and what of it may go.

Only reads. A copy is held as long as an environment that may come back holds it: one whose
folder was removed, but not the folder around it, usually does.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec

from reconciler.trees.own_files import NotOurs
from reconciler.vault.manifest import Copy, VaultFile
from reconciler.vault.store import Holding, Store

_BLOCK = 512
"""The unit of `st_blocks` (stat(2))."""


class Entry(msgspec.Struct, frozen=True):
    """One copy, with who uses it."""

    copy: Copy
    size: int
    """What its files take on the disk, in bytes."""
    frees: int
    """What is freed if it goes: what no environment and no other copy has as well."""
    uses: tuple[Holding, ...]

    @property
    def held(self) -> bool:
        """Whether an environment holds it now."""
        return any(use.current and may_return(use.environment) for use in self.uses)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Which copies may go: those that are beyond any of these.

    Attributes:
        before: Made before this time, in seconds since 1970.
        keep: More than the newest so many of a package.
        size: The oldest ones, until the vault takes no more than so many bytes.
        held: Also what an environment holds now.
    """

    before: float | None = None
    keep: int | None = None
    size: int | None = None
    held: bool = False


def inventory(store: Store) -> list[Entry]:
    """Every copy, sorted by package, the newest first.

    Raises:
        OSError: Something cannot be read.
        NotOurs: A record is not one that we wrote.
    """
    uses: dict[tuple[str, str], list[Holding]] = defaultdict(list)
    for use in store.uses():
        uses[use.manifest.name, use.manifest.copy].append(use)
    return [
        entry for name in store.names() for entry in _entries(store, name, store.copies(name), uses)
    ]


def _entries(
    store: Store,
    name: str,
    copies: list[Copy],
    uses: dict[tuple[str, str], list[Holding]],
) -> Iterator[Entry]:
    files = {copy.id: _files(store, copy) for copy in copies}
    shared: dict[str, int] = defaultdict(int)
    for listed in files.values():
        for key in listed:
            shared[key] += 1
    for copy in copies:
        size = frees = 0
        for key, file in files[copy.id].items():
            try:
                found = os.lstat(store.content(name, file))
            except OSError:
                continue
            taken = found.st_blocks * _BLOCK
            size += taken
            frees += taken if found.st_nlink == 1 and shared[key] == 1 else 0
        yield Entry(copy, size, frees, tuple(uses[name, copy.id]))


def _files(store: Store, copy: Copy) -> dict[str, VaultFile]:
    try:
        return {file.key: file for file in store.files(copy)}
    except (OSError, NotOurs):
        return {}


def may_return(environment: Path) -> bool:
    """Whether an environment is there, or may be recreated: the folder around it is there."""
    return environment.parent.is_dir()


def disposable(entries: list[Entry], limits: Limits) -> list[Entry]:
    """The copies that are beyond a limit, the oldest first. Pure, except for who may return."""
    free = [entry for entry in entries if limits.held or not entry.held]
    gone = {_key(entry) for entry in free if _is_old(entry, limits.before)}
    if limits.keep is not None:
        for name in {entry.copy.name for entry in entries}:
            newest = sorted((e for e in entries if e.copy.name == name), key=lambda e: -e.copy.made)
            gone |= {_key(entry) for entry in newest[limits.keep :]} & {_key(e) for e in free}
    oldest = sorted(free, key=lambda entry: entry.copy.made)
    if limits.size is not None:
        taken = sum(entry.size for entry in entries if _key(entry) not in gone)
        for entry in oldest:
            if taken > limits.size and _key(entry) not in gone:
                gone.add(_key(entry))
                taken -= entry.size
    return [entry for entry in oldest if _key(entry) in gone]


def _is_old(entry: Entry, before: float | None) -> bool:
    return before is not None and entry.copy.made < before


def _key(entry: Entry) -> tuple[str, str]:
    return entry.copy.name, entry.copy.id
