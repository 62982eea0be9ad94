"""Finds what an environment held before it was moved: the vault records that by its path.

A folder keeps its inode when it is moved within a file system. A number can be used again, so the
project's name counts as well, and only an environment that is gone is taken to have moved.
"""

import os
import tomllib
from contextlib import suppress
from pathlib import Path

import msgspec

from reconciler.files.bounded import read_text
from reconciler.trees.own_files import NotOurs, read_own
from reconciler.trees.workspace import sync_folder, write_durably
from reconciler.vault.copies import Vault
from reconciler.vault.store import Owner, folders_in, owner_file
from reconciler.vault.writer import VaultWriter

_HOME = "home.json"
_MOST = 4 * 1024 * 1024


class Home(msgspec.Struct, frozen=True):
    """The project that an environment is for: the inode of its folder, and its name."""

    inode: int
    name: str


def remember_home(vault: Vault, pyproject: Path) -> None:
    """Record which project an environment is for, if it holds anything. Needs the pass lock.

    Raises:
        OSError: That cannot be written.
    """
    if not vault.records.is_dir() or vault.records.is_symlink():
        return
    home = _home_of(pyproject)
    if home is not None and home != _read(vault.records):
        write_durably(vault.records / _HOME, msgspec.json.encode(home).decode())


def adopt(vault: Vault, pyproject: Path, writer: VaultWriter) -> Path | None:
    """Go on with what the environment held at another path.

    Returns:
        That path; None if it held nothing anywhere else, or already holds something here.

    Raises:
        OSError: The vault cannot be written.
        Busy: Another process used the vault for too long.
    """
    if os.path.lexists(vault.records):
        return None
    known = folders_in(vault.store.root / "environments")
    home = _home_of(pyproject) if known else None
    for folder in known if home is not None else ():
        if _read(folder) == home and (former := _gone_from(folder)) is not None:
            with writer.alone():
                owner = msgspec.json.encode(Owner(str(vault.prefix))).decode()
                write_durably(owner_file(folder), owner)
                folder.rename(vault.records)
                sync_folder(folder.parent)
            return former
    return None


def _gone_from(folder: Path) -> Path | None:
    with suppress(OSError, NotOurs):
        former = Path(read_own(owner_file(folder), Owner).path)
        return None if os.path.lexists(former) else former
    return None


def _read(folder: Path) -> Home | None:
    with suppress(OSError, NotOurs):
        return read_own(folder / _HOME, Home)
    return None


def _home_of(pyproject: Path) -> Home | None:
    try:
        inode = pyproject.parent.stat().st_ino
        told = tomllib.loads(read_text(pyproject, _MOST)).get("project")
    except (OSError, ValueError):  # also if it is not TOML, or not text
        return None
    name = told.get("name") if isinstance(told, dict) else None
    return Home(inode, name if isinstance(name, str) else pyproject.name)
