"""Carries copies to another machine: one file, with a checksum for everything in it.

    `reconciler-vault 1` and a line feed, the length of the list (8 bytes), the list as JSON,
    its SHA-256, the contents of the files, one after another, in the order of the list

Nothing in it is compressed, and no name in it is a path on this machine: a file is exactly as
long as its list says, and each content must have the SHA-256 that its copy says. One that differs
in anything is refused as a whole.
"""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
from packaging.utils import is_normalized_name

from reconciler.files.bounded import open_regular
from reconciler.files.naming import naming
from reconciler.files.parsing import json_as
from reconciler.processes import Cancellation
from reconciler.state.bounds import version_in
from reconciler.status import ExpectedEnd, Reason
from reconciler.trees.durability import FileSystem
from reconciler.trees.own_files import NotOurs
from reconciler.vault.adding import begin, describe, settle, shelf_of
from reconciler.vault.clearing import clear
from reconciler.vault.copies import CopyDamaged
from reconciler.vault.manifest import (
    Copy,
    VaultFile,
    WholeCopy,
    id_of,
    refuse_files,
    refuse_links,
)
from reconciler.vault.shelf import UNFINISHED, Shelf
from reconciler.vault.store import Store

_MAGIC = b"reconciler-vault 1\n"
_MOST_LIST = 256 * 1024 * 1024
_LENGTH, _DIGEST = 8, 32
_CHUNK = 1024 * 1024
_MODES = 0o777
_LATEST = 2**33
"""In seconds since 1970: far in the future."""


class ArchiveRefused(ExpectedEnd):
    """A file with copies is not one, or is damaged."""

    reason = Reason.VAULT_DAMAGED

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} cannot be imported: {why}. Nothing was imported. Export and copy it again."
        )


class _List(msgspec.Struct, frozen=True):
    """What an archive begins with."""

    copies: tuple[WholeCopy, ...]


def export(store: Store, copies: Iterable[Copy], target: Path, cancel: Cancellation) -> int:
    """Write copies to a new file.

    Args:
        store: The vault.
        copies: Which copies.
        target: The file; there must be none.
        cancel: Ends it.

    Returns:
        The file's size in bytes.

    Raises:
        CopyDamaged: A content is not what was copied.
        OSError: The file cannot be written, or exists.
        Cancelled: `cancel` asked it to end.
    """
    whole = [_whole(store, copy) for copy in copies]
    listed = msgspec.json.encode(_List(tuple(whole)))
    fresh = target.with_name(f"{target.name}.new")
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    with suppress(FileNotFoundError):
        fresh.unlink()
    try:
        with naming(fresh), fresh.open("xb") as file:
            file.write(_MAGIC + len(listed).to_bytes(_LENGTH, "big"))
            file.write(listed + hashlib.sha256(listed).digest())
            for copy, content in _contents(whole):
                cancel.check()
                _append(store.content(copy.name, content), copy, content, file)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        fresh.rename(target)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    return size


def _whole(store: Store, copy: Copy) -> WholeCopy:
    try:
        files = store.files(copy)
    except (OSError, NotOurs) as error:
        raise CopyDamaged(copy.name, copy.version, "copy.json") from error
    plain = {name: getattr(copy, name) for name in Copy.__struct_fields__}
    return WholeCopy(**plain, files=files)


def _contents(copies: Iterable[WholeCopy]) -> Iterator[tuple[WholeCopy, VaultFile]]:
    """Each content once, in the order of the list."""
    seen: set[tuple[str, str]] = set()
    for copy in copies:
        for file in copy.files:
            if (copy.name, file.key) not in seen:
                seen.add((copy.name, file.key))
                yield copy, file


def _append(source: Path, copy: Copy, content: VaultFile, target: BinaryIO) -> None:
    try:
        descriptor = open_regular(source)
    except OSError as error:
        raise CopyDamaged(copy.name, copy.version, content.path) from error
    digest, size = hashlib.sha256(), 0
    with os.fdopen(descriptor, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            target.write(chunk)
    if (digest.hexdigest(), size) != (content.sha256, content.size):
        raise CopyDamaged(copy.name, copy.version, content.path)


def import_from(store: Store, source: Path, cancel: Cancellation) -> list[Copy]:
    """Bring the copies in a file into a vault.

    Args:
        store: The vault; the caller is not alone in it.
        source: The file.
        cancel: Ends it; then nothing was imported.

    Returns:
        The copies.

    Raises:
        ArchiveRefused: The file is not as it was written. Nothing was imported.
        OSError: The file cannot be read, or the vault cannot be written.
        Busy: Another process used the vault for too long.
        Cancelled: `cancel` asked it to end.
    """
    with os.fdopen(open_regular(source), "rb") as file:
        copies = _listed(file, source)
        store.create()
        with store.alone(cancel):
            names = {copy.name for copy in copies}
            try:
                return _bring(store, copies, file, source, cancel)
            finally:
                for name in names:
                    with suppress(OSError):  # else the next pass does it
                        clear(store, name)


def _bring(
    store: Store, copies: tuple[WholeCopy, ...], file: BinaryIO, source: Path, cancel: Cancellation
) -> list[Copy]:
    shelves: dict[str, Shelf] = {}
    kept: dict[tuple[str, str], VaultFile] = {}
    for copy, content in _contents(copies):
        cancel.check()
        if copy.name not in shelves:
            begin(store, copy.name)
            shelves[copy.name] = shelf_of(store, copy.name)
        fresh = store.package(copy.name) / "files" / f"{UNFINISHED}{content.key}"
        _read_content(file, fresh, content, source)
        kept[copy.name, content.key] = shelves[copy.name].adopt(fresh, content)
    complete = [
        msgspec.structs.replace(
            copy, imported=True, files=tuple(_placed(f, kept[copy.name, f.key]) for f in copy.files)
        )
        for copy in copies
    ]
    fresh_ones = [(describe(store, copy), copy) for copy in complete]
    with FileSystem(store.root) as disk:
        disk.sync(cancel)
    for folder, copy in fresh_ones:
        settle(store, folder, copy)
    return list(complete)


def _placed(file: VaultFile, content: VaultFile) -> VaultFile:
    return msgspec.structs.replace(file, inode=content.inode, mtime=content.mtime)


def _listed(file: BinaryIO, source: Path) -> tuple[WholeCopy, ...]:
    """The copies that an archive has; its length is right."""
    start = len(_MAGIC) + _LENGTH
    head = file.read(start)
    length = int.from_bytes(head[len(_MAGIC) :], "big")
    if not head.startswith(_MAGIC) or len(head) != start or length > _MOST_LIST:
        raise ArchiveRefused(source, "it is not a file that `reconciler vault export` wrote")
    listed, digest = file.read(length), file.read(_DIGEST)
    if hashlib.sha256(listed).digest() != digest:
        raise ArchiveRefused(source, "its list is damaged")
    try:
        copies = json_as(listed, _List).copies
        for copy in copies:
            _refuse(copy)
    except ValueError as error:
        raise ArchiveRefused(source, f"its list is not usable ({error})") from error
    expected = start + length + _DIGEST + sum(f.size for _, f in _contents(copies))
    found = os.fstat(file.fileno()).st_size
    if found != expected:
        raise ArchiveRefused(source, f"it has {found} bytes instead of {expected}")
    return copies


def _refuse(copy: WholeCopy) -> None:
    """Check one copy of a list.

    Raises:
        NotOurs: It is not one that an export writes.
    """
    if not is_normalized_name(copy.name) or version_in(copy.version) is None:
        raise NotOurs(f"{copy.name!r} {copy.version!r} is not a package")
    if not 0 <= copy.made < _LATEST or not is_normalized_name(copy.pinned_by or copy.name):
        raise NotOurs(f"what it says of {copy.name} is impossible")
    refuse_files(copy.files)
    refuse_links(copy.links, "/environment")
    paths = [*(file.path for file in copy.files), *copy.links]
    if len(set(paths)) != len(paths):
        raise NotOurs(f"it has a file of {copy.name} twice")
    if any(
        f.size < 0 or f.mode & ~_MODES or not 0 <= f.mtime < _LATEST * 10**9 for f in copy.files
    ):
        raise NotOurs(f"a file of {copy.name} has an impossible size, time or mode")
    if copy.id != id_of(copy.name, copy.version, copy.files, copy.links, copy.omitted):
        raise NotOurs(f"the id of {copy.name} {copy.version} is wrong")


def _read_content(file: BinaryIO, fresh: Path, content: VaultFile, source: Path) -> None:
    """Write the next content of an archive to a new file, if it is right."""
    digest, left = hashlib.sha256(), content.size
    fresh.unlink(missing_ok=True)
    with naming(fresh), fresh.open("xb") as target:
        while left and (chunk := file.read(min(_CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
            target.write(chunk)
        os.fchmod(target.fileno(), content.mode)
    if left or digest.hexdigest() != content.sha256:
        raise ArchiveRefused(source, f"the content of {content.path} is damaged")
    os.utime(fresh, ns=(content.mtime, content.mtime))
