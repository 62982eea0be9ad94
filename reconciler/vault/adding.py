"""Adds a copy to a vault, in steps: begin, contents, description, settle. The caller is alone.

Until it is settled, nobody sees it; what is left of it is found by the mark that `begin` made.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from posixpath import dirname, relpath

import msgspec

from reconciler.files.bounded import read_text
from reconciler.files.naming import naming
from reconciler.trees.exchange import rename_exchange
from reconciler.trees.own_files import NotOurs
from reconciler.trees.workspace import remove_tree, sync_folder
from reconciler.vault.clearing import discard, is_imported
from reconciler.vault.manifest import VaultFile, WholeCopy, is_id, read_copied_files
from reconciler.vault.shelf import UNFINISHED, Shelf, known_contents, link_or_copy
from reconciler.vault.store import COPY, INFO, MARK, Store, folders_in

_MOST_WORDS = 1024 * 1024
_EXISTS = frozenset({errno.ENOTEMPTY, errno.EEXIST})


def begin(store: Store, name: str) -> None:
    """Mark a package as being changed, until `clear` has removed what is not needed.

    Raises:
        OSError: The vault cannot be written.
    """
    package = store.package(name)
    make_folder(store, package)
    mark = package / MARK
    if mark.is_symlink():
        mark.unlink()
    mark.touch()


def unfinished(store: Store) -> list[str]:
    """The packages that someone was changing when they died, or is changing."""
    return [f.name for f in folders_in(store.root / "packages") if os.path.lexists(f / MARK)]


def shelf_of(store: Store, name: str) -> Shelf:
    """Where the contents of a package go."""
    package = store.package(name)
    for folder in (package / "files", package / "copies"):
        make_folder(store, folder)
    known: list[VaultFile] = []
    for folder in folders_in(package / "copies"):
        if is_id(folder.name):
            with suppress(OSError, NotOurs):
                known += read_copied_files(folder / COPY)
    return Shelf(package / "files", known_contents(known))


def describe(store: Store, copy: WholeCopy) -> Path:
    """Write what a copy is, where it does not count yet; its contents are in the vault already.

    Raises:
        OSError: It cannot be written.
    """
    folder = store.copy_folder(copy.name, f"{UNFINISHED}{copy.id}-{os.getpid()}")
    if os.path.lexists(folder):
        remove_tree(folder)
    (folder / INFO).mkdir(parents=True)
    info = _info_in(copy.files)
    for file in copy.files:
        if info and file.path.startswith(f"{info}/"):
            place = folder / INFO / relpath(file.path, dirname(info))
            place.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(store.content(copy.name, file), place)
    with naming(folder / COPY):
        (folder / COPY).write_bytes(msgspec.json.encode(copy))
    return folder


def settle(store: Store, fresh: Path, copy: WholeCopy) -> None:
    """Let a copy count from now on; what it consists of is on the disk.

    Raises:
        OSError: It may not count after a power cut.
    """
    folder = store.copy_folder(copy.name, copy.id)
    if folder.is_dir() and _is_same(folder, copy):
        remove_tree(fresh)
        return
    if folder.is_symlink():
        folder.unlink()
    try:
        fresh.rename(folder)
    except OSError as error:
        if error.errno not in _EXISTS:
            raise
        _replace(folder, fresh)
    sync_folder(folder.parent)


def _is_same(folder: Path, copy: WholeCopy) -> bool:
    try:
        same = read_copied_files(folder / COPY) == copy.files
        return same and (is_imported(folder) or not copy.imported)
    except (OSError, NotOurs):
        return False


def _replace(folder: Path, fresh: Path) -> None:
    """Replace a description, in one step where the file system can do that."""
    try:
        rename_exchange(fresh, folder)
    except OSError:
        discard(folder)
        fresh.rename(folder)
    else:
        remove_tree(fresh)


def _info_in(files: tuple[VaultFile, ...]) -> str | None:
    """The dist-info folder among a package's files."""
    found = (f.path for f in files if f.path.endswith(".dist-info/METADATA"))
    return next((dirname(path) for path in found), None)


def make_folder(store: Store, folder: Path) -> None:
    """Make a folder in the vault, through no symbolic link.

    Raises:
        OSError: It cannot be made.
    """
    for path in reversed([folder, *folder.parents]):
        if path != store.root and path.is_relative_to(store.root):
            if path.is_symlink():
                path.unlink()
            if not path.is_dir():
                path.mkdir(mode=0o700)


def tags_in(info: Path) -> tuple[str, ...]:
    """The tags of the wheel that a package was installed from (PEP 427)."""
    with suppress(OSError, UnicodeDecodeError):
        lines = read_text(info / "WHEEL", _MOST_WORDS).splitlines()
        return tuple(line.partition(":")[2].strip() for line in lines if line.startswith("Tag:"))
    return ()
