"""What the vault knows about a copy: a JSON file beside it, read in two halves.

Only reads; `reconciler.vault.writer` writes it.
"""

from pathlib import Path
from posixpath import join, normpath

import msgspec

from reconciler.state.bounds import shown, version_in
from reconciler.trees.own_files import NotOurs, read_own
from reconciler.trees.reserved import is_plain, may_belong_to_package

_MOST = 256 * 1024 * 1024
"""The list of torch's 14,600 files has 3 megabytes."""


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


def read_manifest(path: Path) -> Manifest:
    """Everything except the list of files.

    Raises:
        NotOurs: It is not one that we wrote.
        OSError: It is missing, or cannot be read.
    """
    manifest = read_own(path, Manifest, _MOST)
    if manifest.name != path.parent.parent.name or str(manifest.number) != path.parent.name:
        raise NotOurs(f"it is that of copy {manifest.number} of {manifest.name!r}")
    if version_in(manifest.version) is None:
        raise NotOurs(f"{shown(manifest.version)} is not a version")
    prefix = str(path.parents[4])
    for link, to in manifest.links.items():
        if not may_belong_to_package(link) or not _stays_inside(prefix, link, to):
            raise NotOurs(f"its link {link!r} leads out of the environment")
    return manifest


def _stays_inside(prefix: str, link: str, to: str) -> bool:
    """Whether a symbolic link in the environment leads to something in it."""
    there = normpath(join(prefix, link.rpartition("/")[0], to))
    return bool(to) and is_plain(there.removeprefix(f"{prefix}/"))


def read_files(path: Path) -> tuple[VaultFile, ...]:
    """The list of files.

    Raises:
        OSError: It cannot be read.
        NotOurs: It is not one that we wrote.
    """
    files = read_own(path, _Files, _MOST).files
    for file in files:
        if not may_belong_to_package(file.path):
            raise NotOurs(f"{file.path!r} is not a file of a package")
    return files


def read_omitted(path: Path) -> tuple[str, ...]:
    """The files that had been deleted on purpose; none if that cannot be read."""
    try:
        return read_own(path, _Omitted, _MOST).omitted
    except (OSError, NotOurs):
        return ()
