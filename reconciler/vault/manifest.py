"""What the vault knows: of each copy, which files it has; of each environment, which copy counts.

Only reads; `reconciler.vault.writer` writes it. A copy's description is complete without any
environment, and says for which Python and platform it is.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from posixpath import join, normpath

import msgspec
from msgspec.structs import replace

from reconciler.patterns import regex
from reconciler.state.bounds import shown, version_in
from reconciler.trees.own_files import NotOurs, read_own
from reconciler.trees.reserved import is_plain, may_belong_to_package

_MOST = 256 * 1024 * 1024
"""In bytes: a package of a million files has a description of this size."""
_SITE = regex(r"lib(64)?/python[^/]+/(site|dist)-packages/")
_HEX = frozenset("0123456789abcdef")
_DIGEST = 64
ID_LENGTH = 32


class VaultFile(msgspec.Struct, frozen=True, array_like=True):
    """One file: path below the environment, SHA-256 (hex), size, inode, mtime, permissions."""

    path: str
    sha256: str
    size: int
    inode: int
    mtime: int
    mode: int = 0o644

    @property
    def key(self) -> str:
        """The name of its content in the vault: the same path and bytes are kept once."""
        within = _SITE.sub("", self.path, count=1)
        return _hash(f"{within}\0{self.sha256}\0{self.mode:o}")[:40]


class SeenFile(VaultFile, frozen=True, array_like=True):
    """The same in one environment: inode and mtime are those of the file that was copied.

    A restored file is the vault's own, which may be another one with the same content.
    """

    kept_inode: int = 0
    kept_mtime: int = 0

    @property
    def identities(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Inode, size and modification time of a file that is known to be right."""
        kept = (self.kept_inode, self.size, self.kept_mtime)
        return (self.inode, self.size, self.mtime), kept


class Target(msgspec.Struct, frozen=True):
    """The Python and the platform that a copy is for, or that an environment has."""

    python: str
    """As in `3.11`."""
    library: str
    """Its folder for packages, below the environment: `lib/python3.11/site-packages`."""
    implementation: str = "cpython"
    machine: str = ""
    platform: str = "linux"

    @property
    def words(self) -> str:
        """As in `cpython 3.11 on linux x86_64`."""
        return f"{self.implementation} {self.python} on {self.platform} {self.machine}".strip()


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy is of. Its files are read separately: torch has 14,600."""

    id: str
    name: str
    version: str
    target: Target
    tags: tuple[str, ...] = ()
    """The tags of its wheel: which build it is."""
    pinned_by: str | None = None
    links: dict[str, str] = {}
    """Symbolic links: path below the environment to where they lead."""
    omitted: tuple[str, ...] = ()
    """The files that its RECORD lists and that had been deleted on purpose."""
    made: float = 0.0
    """When, in seconds since 1970."""
    imported: bool = False
    """Whether it came from a file; then it stays, though no environment has it."""

    def unfit(self, target: Target) -> str | None:
        """Why it is of no use for an environment, or None."""
        if replace(self.target, python=target.python) == target:
            return None
        return (
            f"the vault's copy of {self.name} {self.version} is for {self.target.words}, and "
            f"this environment has {target.words}"
        )


class WholeCopy(Copy, frozen=True, kw_only=True):
    """A copy's whole description."""

    files: tuple[VaultFile, ...]
    """Inode and modification time are those of the vault's own files."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Which copy an environment had as the held build. Small: it is read at every look."""

    name: str
    version: str
    copy: str
    """The copy's id."""
    pinned_by: str | None
    links: dict[str, str] = {}
    """Symbolic links: path below the environment to where they lead."""
    number: int = 0
    """Rises with each copy of this package that became the held one; 0: none has yet."""
    slim: bool = False
    """Whether it was accepted without some of the files that its RECORD lists."""


class _Files(msgspec.Struct, frozen=True):
    """The other half of a copy's file."""

    files: tuple[VaultFile, ...]


class _Seen(msgspec.Struct, frozen=True):
    """The other half of a manifest's file."""

    seen: tuple[tuple[int, int], ...] = ()


class _Omitted(msgspec.Struct, frozen=True):
    omitted: tuple[str, ...] = ()


class WholeManifest(Manifest, frozen=True, kw_only=True):
    """A manifest's whole file: enough to recognize the originals."""

    seen: tuple[tuple[int, int], ...]
    """Inode and modification time of the environment's own files, in the copy's order."""
    omitted: tuple[str, ...] = ()
    """The files that its RECORD lists and that had been deleted on purpose."""


def id_of(
    name: str,
    version: str,
    files: Iterable[VaultFile],
    links: dict[str, str],
    omitted: Iterable[str],
) -> str:
    """The id of a copy: the same for the same files."""
    lines = [name, version]
    lines += sorted(f"{file.path}\0{file.sha256}\0{file.mode:o}" for file in files)
    lines += sorted(f"{path}\0-> {to}" for path, to in links.items())
    lines += sorted(f"{path}\0omitted" for path in omitted)
    return _hash("\n".join(lines))[:ID_LENGTH]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def is_id(name: str) -> bool:
    """Whether a copy can have this id."""
    return len(name) == ID_LENGTH and _HEX.issuperset(name)


def read_manifest(path: Path, prefix: Path) -> Manifest:
    """Everything except the files.

    Args:
        path: `.../NAME/NUMBER.json`.
        prefix: The environment.

    Raises:
        NotOurs: It is not one that we wrote.
        OSError: It is missing, or cannot be read.
    """
    manifest = read_own(path, Manifest, _MOST)
    if manifest.name != path.parent.name or str(manifest.number) != path.stem:
        raise NotOurs(f"it is that of copy {manifest.number} of {manifest.name!r}")
    if not is_id(manifest.copy):
        raise NotOurs(f"{shown(manifest.copy)} is not the id of a copy")
    _refuse(manifest.version, manifest.links, str(prefix))
    return manifest


def read_copy(path: Path) -> Copy:
    """Everything except the list of files.

    Args:
        path: `.../NAME/copies/ID/copy.json`.

    Raises:
        NotOurs: It is not one that we wrote.
        OSError: It is missing, or cannot be read.
    """
    copy = read_own(path, Copy, _MOST)
    if copy.id != path.parent.name or copy.name != path.parents[2].name:
        raise NotOurs(f"it is that of copy {shown(copy.id)} of {copy.name!r}")
    _refuse(copy.version, copy.links, "/environment")
    return copy


def _refuse(version: str, links: dict[str, str], prefix: str) -> None:
    if version_in(version) is None:
        raise NotOurs(f"{shown(version)} is not a version")
    refuse_links(links, prefix)


def refuse_links(links: dict[str, str], prefix: str) -> None:
    """Check that symbolic links in the environment at `prefix` stay inside it.

    Raises:
        NotOurs: One does not.
    """
    for link, to in links.items():
        if not may_belong_to_package(link) or not _stays_inside(prefix, link, to):
            raise NotOurs(f"its link {link!r} leads out of the environment")


def _stays_inside(prefix: str, link: str, to: str) -> bool:
    """Whether a symbolic link in the environment leads to something in it."""
    there = normpath(join(prefix, link.rpartition("/")[0], to))
    return bool(to) and is_plain(there.removeprefix(f"{prefix}/"))


def read_copied_files(path: Path) -> tuple[VaultFile, ...]:
    """The list of a copy's files.

    Raises:
        OSError: It cannot be read.
        NotOurs: It is not one that we wrote.
    """
    files = read_own(path, _Files, _MOST).files
    refuse_files(files)
    return files


def refuse_files(files: Iterable[VaultFile]) -> None:
    """Check that these can be files of a package.

    Raises:
        NotOurs: One cannot.
    """
    for file in files:
        if not may_belong_to_package(file.path):
            raise NotOurs(f"{file.path!r} is not a file of a package")
        if len(file.sha256) != _DIGEST or not _HEX.issuperset(file.sha256):
            raise NotOurs(f"{shown(file.sha256)} is not a SHA-256")


def read_seen(path: Path) -> tuple[tuple[int, int], ...]:
    """How the environment's own files were, from a manifest's file.

    Raises:
        OSError: It cannot be read.
        NotOurs: It is not one that we wrote.
    """
    return read_own(path, _Seen, _MOST).seen


def read_omitted(path: Path) -> tuple[str, ...]:
    """The files that had been deleted on purpose; none if that cannot be read."""
    try:
        return read_own(path, _Omitted, _MOST).omitted
    except (OSError, NotOurs):
        return ()
