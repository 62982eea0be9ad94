"""Moves the copies that an earlier version kept inside the environment to the vault.

The old folder is removed once everything is on the disk in the new place; until then, the next
pass starts over. A copy that is no longer whole is left out.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname

import msgspec
from packaging.utils import canonicalize_name

from reconciler.log.logger import get_logger
from reconciler.state.bounds import version_in
from reconciler.trees.own_files import NotOurs, read_own
from reconciler.trees.workspace import remove_tree
from reconciler.vault.adding import begin, describe, shelf_of, tags_in
from reconciler.vault.clearing import clear
from reconciler.vault.copies import Vault, digest_of
from reconciler.vault.manifest import (
    VaultFile,
    WholeCopy,
    WholeManifest,
    id_of,
    refuse_files,
    refuse_links,
)
from reconciler.vault.shelf import Shelf
from reconciler.vault.store import folders_in
from reconciler.vault.writer import Unkept, VaultWriter

log = get_logger(__name__)

_MOST = 256 * 1024 * 1024


class _Former(msgspec.Struct, frozen=True, kw_only=True):
    """A copy's whole description, as it was."""

    name: str
    version: str
    pinned_by: str | None
    files: tuple[VaultFile, ...]
    links: dict[str, str] = {}
    slim: bool = False
    omitted: tuple[str, ...] = ()


def take_over(former: Path, vault: Vault, writer: VaultWriter) -> None:
    """Move every copy out of an environment; the caller holds its pass lock.

    Args:
        former: The folder in the environment.
        vault: Where they go.
        writer: The same vault, to write.

    Raises:
        OSError: They cannot be moved, and stay where they are.
        Busy: Another process used the vault for too long.
        Cancelled: The pass was asked to end.
    """
    packages = folders_in(former)
    if packages:
        with writer.alone():
            copies = [copy for package in packages for copy in _copies(package, vault)]
            for copy in copies:
                writer.make_place_for(copy.copy.name)
            writer.keep(copies)
        log.info("vault.moved", path=str(vault.store.root), copies=len(copies))
    remove_tree(former)


def _copies(package: Path, vault: Vault) -> Iterator[Unkept]:
    """Each whole copy of a package, unless the vault knows the package already."""
    name = package.name
    if name != canonicalize_name(name) or (vault.records / name).exists():
        return
    begin(vault.store, name)
    shelf = shelf_of(vault.store, name)
    numbered = [path for path in folders_in(package) if path.name.isdecimal()]
    for folder in sorted(numbered, key=lambda path: int(path.name)):
        try:
            former = _read(folder)
            seen = tuple((file.inode, file.mtime) for file in former.files)
            files = tuple(_moved(file, folder / "tree", shelf) for file in former.files)
        except NotOurs as error:
            log.warning("vault.ignored", file=str(folder), message=str(error))
            continue
        except OSError:
            clear(vault.store, name)
            raise
        info = next((dirname(f.path) for f in files if f.path.endswith(".dist-info/METADATA")), "")
        copy = WholeCopy(
            id=id_of(name, former.version, files, former.links, former.omitted), name=name,
            version=former.version, target=vault.target, tags=tags_in(folder / "tree" / info),
            pinned_by=former.pinned_by, links=former.links, omitted=former.omitted,
            made=folder.stat().st_mtime, files=files,
        )  # fmt: skip
        manifest = WholeManifest(
            name=name, version=former.version, copy=copy.id, pinned_by=former.pinned_by,
            links=former.links, number=int(folder.name), slim=former.slim, seen=seen,
            omitted=former.omitted,
        )  # fmt: skip
        yield Unkept(describe(vault.store, copy), copy, manifest)


def _read(folder: Path) -> _Former:
    try:
        former = read_own(folder / "manifest.json", _Former, _MOST)
    except FileNotFoundError as error:
        raise NotOurs("it has no manifest") from error
    if former.name != folder.parent.name or version_in(former.version) is None:
        raise NotOurs(f"it is that of {former.name!r} {former.version!r}")
    refuse_files(former.files)
    refuse_links(former.links, "/environment")
    return former


def _moved(file: VaultFile, tree: Path, shelf: Shelf) -> VaultFile:
    """Put a file's content into the vault.

    Raises:
        NotOurs: It is not what was copied.
    """
    source = tree / file.path
    try:
        found = source.lstat()
        same = (found.st_size, found.st_mtime_ns) == (file.size, file.mtime)
        if source.is_symlink() or not (same or digest_of(source) == file.sha256):
            raise NotOurs(f"{file.path} has changed since the copy was made")
    except FileNotFoundError as error:
        raise NotOurs(f"{file.path} is gone") from error
    moved = VaultFile(
        file.path, file.sha256, found.st_size, found.st_ino, found.st_mtime_ns,
        found.st_mode & 0o7777,
    )  # fmt: skip
    return shelf.put(os.fspath(source), moved, may_link=True)
