"""Removes from a vault what no environment and no copy needs, and what a dead process left.

Under the vault's lock only: what is unfinished then, nobody is writing. Where something cannot be
read, nothing is removed that it might need.
"""

import os
from contextlib import suppress
from pathlib import Path

from reconciler.trees.own_files import NotOurs
from reconciler.trees.workspace import remove_tree
from reconciler.vault.manifest import is_id, read_copied_files, read_copy
from reconciler.vault.shelf import UNFINISHED
from reconciler.vault.store import COPY, MARK, Store


def clear(store: Store, name: str) -> None:
    """Remove what is not needed of one package; the caller has the vault to itself.

    Raises:
        OSError: Something cannot be removed.
    """
    package = store.package(name)
    if package.is_symlink() or not package.is_dir():
        return
    used = _used(store, name)
    for folder in _entries(package / "copies"):
        if folder.name.startswith(UNFINISHED):
            remove_tree(folder)
        elif used is not None and folder.name not in used and not is_imported(folder):
            discard(folder)
    needed = _needed(package / "copies")
    for path in _entries(package / "files"):
        if path.name.startswith(UNFINISHED) or (needed is not None and path.name not in needed):
            path.unlink(missing_ok=True)
    (package / MARK).unlink(missing_ok=True)
    for folder in (package / "copies", package / "files", package):
        with suppress(OSError):  # it is not empty
            folder.rmdir()


def discard(path: Path) -> None:
    """Remove one of the vault's folders or files, so that half of it never counts as one."""
    leaving = path.with_name(f"{UNFINISHED}gone-{path.name}")
    with suppress(FileNotFoundError):
        if os.path.lexists(leaving):
            remove_tree(leaving)
        path.rename(leaving)
        remove_tree(leaving)


def is_imported(folder: Path) -> bool:
    """Whether a copy came from a file: it stays though no environment has it."""
    try:
        return read_copy(folder / COPY).imported
    except (OSError, NotOurs):
        return False


def _entries(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return list(folder.iterdir())
    return []


def _used(store: Store, name: str) -> set[str] | None:
    """The ids of the copies that environments have; None: not all is known."""
    try:
        return {use.manifest.copy for use in store.uses(name)}
    except (OSError, NotOurs):
        return None


def _needed(copies: Path) -> set[str] | None:
    """The keys of the contents that copies have; None: not all is known."""
    found: set[str] = set()
    for folder in _entries(copies):
        if is_id(folder.name):
            try:
                found.update(file.key for file in read_copied_files(folder / COPY))
            except (OSError, NotOurs):
                return None
    return found
