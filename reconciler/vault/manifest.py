"""What the vault knows of a copy: one small JSON file beside it, read in two halves.

Only reads; who writes it, durably, is the vault.
"""

from pathlib import Path

import msgspec


class VaultFile(msgspec.Struct, frozen=True, array_like=True):
    """One file of a copy: path below the environment, SHA-256 (hex), size, inode, mtime."""

    path: str
    sha256: str
    size: int
    inode: int
    mtime: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy is of. Its files are listed apart: torch has 14,600, seldom wanted."""

    name: str
    version: str
    pinned_by: str | None
    links: dict[str, str] = {}
    """Symbolic links: path below the environment to where they lead."""
    number: int = 0
    """Counts up with each copy of this package that was taken as the held one."""


class _Files(msgspec.Struct, frozen=True):
    """The other half of what a manifest's file says."""

    files: tuple[VaultFile, ...]


class WholeManifest(Manifest, frozen=True, kw_only=True):
    """All that a manifest's file says: enough to recognise the original, and to check the copy."""

    files: tuple[VaultFile, ...]


def read_manifest(path: Path) -> Manifest | None:
    """All but the list of files, or None where there is no such file, or a damaged one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None


def read_files(path: Path) -> tuple[VaultFile, ...]:
    """The list of files.

    Raises:
        OSError: It cannot be read.
        msgspec.DecodeError: It is damaged.
    """
    return msgspec.json.decode(path.read_bytes(), type=_Files).files
