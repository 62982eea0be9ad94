"""Where the copies for an environment are: outside of it, where hard links to its files work.

Only looks; makes nothing. Each path in systemd's `ReadWritePaths=` is a mount of its own, and
no hard link leads from one mount to another (link(2)), even on the same file system.
"""

import os
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR

import msgspec

from reconciler.config import ServiceConfig
from reconciler.files.bounded import read_text

BESIDE = ".reconciler-vault"
_FOLDER = "vault"


class VaultPlaces(msgspec.Struct, frozen=True):
    """Where copies may be.

    Attributes:
        data: The service's data folder.
        configured: The vault that the configuration names.
    """

    data: Path | None = None
    configured: Path | None = None


def places_of(service: ServiceConfig) -> VaultPlaces:
    """The places that a configuration allows."""
    return VaultPlaces(service.state_dir, service.vault)


def store_for(root: Path, places: VaultPlaces) -> Path:
    """The vault of an environment.

    Args:
        root: The environment's folder, links resolved; it need not exist.
        places: Where copies may be.
    """
    if places.configured is not None:
        return places.configured
    beside = root.parent / BESIDE
    if places.data is None or _is_used(beside):
        return beside
    inside = places.data / _FOLDER
    linked = can_link(root, inside) and _can_make(inside)
    return inside if linked or not _can_make(beside) else beside


def can_link(one: Path, other: Path) -> bool:
    """Whether hard links between two folders work, or will once they exist."""
    one, other = _existing(one), _existing(other)
    try:
        same = one.stat().st_dev == other.stat().st_dev
        return same and _mount_of(one) == _mount_of(other)
    except OSError:
        return False


def _is_used(beside: Path) -> bool:
    """Whether this user already has a vault beside the environment."""
    with suppress(OSError):
        found = os.lstat(beside)
        own = S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        return own and os.access(beside, os.W_OK)
    return False


def _can_make(folder: Path) -> bool:
    return os.access(_existing(folder), os.W_OK | os.X_OK)


def _existing(folder: Path) -> Path:
    """The folder, or the one in which it will be made."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def _mount_of(folder: Path) -> str:
    """The mount that a folder is on; empty if the kernel does not say."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        lines = read_text(f"/proc/self/fdinfo/{descriptor}").splitlines()
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return next((line for line in lines if line.startswith("mnt_id:")), "")
