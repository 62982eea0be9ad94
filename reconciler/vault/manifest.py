"""What the vault knows about a copy: a JSON file beside it, read in two halves.

Only reads; `reconciler.vault.writer` writes it.
"""

from pathlib import Path

import msgspec

from reconciler.files.bounded import read_bytes
from reconciler.files.parsing import json_as


class VaultFile(msgspec.Struct, frozen=True, array_like=True):
    """One file of a copy: path below the environment, SHA-256 (hex), size, inode, mtime."""

    path: str
    sha256: str
    size: int
    inode: int
    mtime: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Which build a copy is of. Its files are read separately: torch has 14,600."""

    name: str
    version: str
    pinned_by: str | None
    links: dict[str, str] = {}
    """Symbolic links: path below the environment to where they lead."""
    number: int = 0
    """Rises with each copy of this package that became the held one."""
    slim: bool = False
    """Whether it was accepted without some of the files that its RECORD lists."""


class _Files(msgspec.Struct, frozen=True):
    """The other half of a manifest's file."""

    files: tuple[VaultFile, ...]


_MOST = 256 * 1024 * 1024
"""In bytes: a package of a million files has a manifest of this size."""


class _Omitted(msgspec.Struct, frozen=True):
    omitted: tuple[str, ...] = ()


class WholeManifest(Manifest, frozen=True, kw_only=True):
    """A manifest's whole file: enough to recognize the original and to check the copy."""

    files: tuple[VaultFile, ...]
    omitted: tuple[str, ...] = ()
    """The files that its RECORD lists and that had been deleted on purpose."""


def read_manifest(path: Path) -> Manifest | None:
    """Everything except the list of files; None if there is no such file or it is damaged."""
    try:
        return json_as(read_bytes(path, _MOST), Manifest)
    except (OSError, msgspec.DecodeError):
        return None


def read_files(path: Path) -> tuple[VaultFile, ...]:
    """The list of files.

    Raises:
        OSError: It cannot be read.
        msgspec.DecodeError: It is damaged.
    """
    return json_as(read_bytes(path, _MOST), _Files).files


def read_omitted(path: Path) -> tuple[str, ...]:
    """The files that had been deleted on purpose; none if that cannot be read."""
    try:
        return json_as(read_bytes(path, _MOST), _Omitted).omitted
    except (OSError, msgspec.DecodeError):
        return ()
