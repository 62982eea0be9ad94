"""One vault: the copies of held packages, shared by all environments of a user on a file system.

    packages/NAME/files/KEY         the content of a file; hard links to it are in environments
    packages/NAME/copies/ID/        a build: `copy.json` lists its files, `info` has its metadata
    packages/NAME/unfinished        only while someone changes this package
    environments/KEY/NAME/1.json    which copies an environment held, the newest last
    lock                            exclusive for all that writes, shared for what needs its copies

Only reads, except for the folder itself. A copy is whole or is not there: `copy.json` comes into
being, and goes, by one rename. What no copy lists, nobody reads.
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import msgspec
from packaging.utils import NormalizedName

from reconciler.files.trust import refuse_insecure
from reconciler.processes import Cancellation
from reconciler.trees.own_files import NotOurs, read_own
from reconciler.trees.workspace import lock_file
from reconciler.vault.manifest import (
    Copy,
    Manifest,
    VaultFile,
    is_id,
    read_copied_files,
    read_copy,
    read_manifest,
)
from reconciler.vault.whereabouts import BESIDE

COPY, INFO, MARK = "copy.json", "info", "unfinished"
_OWNER = "environment.json"
_WAIT_SECONDS = 120.0
_OTHERS = "it belongs to another user, and every user has a vault of their own"
_LINK = "it is a symbolic link, and Reconciler writes nothing through one; remove the link"


class Owner(msgspec.Struct, frozen=True):
    """An environment that the vault knows."""

    path: str


class Holding(msgspec.Struct, frozen=True):
    """One copy that an environment held, or holds."""

    environment: Path
    manifest: Manifest
    current: bool
    """Whether it is the one that counts."""
    file: Path
    """Where that is recorded."""


class Store:
    """A vault's folder.

    Args:
        root: The folder; it need not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self) -> None:
        """Make the folder; it is private.

        Raises:
            OSError: It cannot be made, or a symbolic link is in its place.
            Insecure: As root: others may change it.
        """
        if self.root.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, _LINK, str(self.root))
        if os.geteuid() == 0:
            refuse_insecure(self.root)
        if self.root.is_dir() and self.root.stat().st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, _OTHERS, str(self.root))
        if not self.root.is_dir():
            self.root.parent.mkdir(parents=True, exist_ok=True)
            self.root.mkdir(mode=0o700, exist_ok=True)
        if self.root.name == BESIDE and not (self.root / ".gitignore").exists():
            (self.root / ".gitignore").write_text("*\n", encoding="utf-8")

    def alone(self, cancel: Cancellation) -> AbstractContextManager[None]:
        """Keep everyone else out, to write.

        Raises:
            Busy: Someone else used it for longer than two minutes.
            Cancelled: `cancel` asked to end.
        """
        return lock_file(self.root / "lock", cancel, _WAIT_SECONDS)

    def in_use(self, cancel: Cancellation) -> AbstractContextManager[None]:
        """Let nobody remove a copy meanwhile. The caller must not write: that would never end.

        Raises:
            Busy: Someone wrote for longer than two minutes.
            Cancelled: `cancel` asked to end.
        """
        return lock_file(self.root / "lock", cancel, _WAIT_SECONDS, shared=True)

    def package(self, name: str) -> Path:
        """The folder of a package."""
        return self.root / "packages" / name

    def copy_folder(self, name: str, copy: str) -> Path:
        """The folder of a copy."""
        return self.package(name) / "copies" / copy

    def contents(self, name: str) -> Path:
        """The folder with the contents of a package's files, each under its key."""
        return self.package(name) / "files"

    def content(self, name: str, file: VaultFile) -> Path:
        """Where the content of a copy's file is."""
        return self.contents(name) / file.key

    def environment(self, prefix: Path) -> Path:
        """The folder about an environment: found by its path, so a recreated one is the same."""
        path = os.fsencode(prefix)
        return self.root / "environments" / hashlib.sha256(path).hexdigest()[:16]

    def names(self) -> list[NormalizedName]:
        """The packages that it has, or had."""
        return [NormalizedName(path.name) for path in folders_in(self.root / "packages")]

    def copies(self, name: str) -> list[Copy]:
        """Every usable copy of a package, the newest first."""
        found = []
        for folder in folders_in(self.package(name) / "copies"):
            if is_id(folder.name):
                with suppress(OSError, NotOurs):
                    found.append(read_copy(folder / COPY))
        return sorted(found, key=lambda copy: -copy.made)

    def files(self, copy: Copy) -> tuple[VaultFile, ...]:
        """The files of a copy, as they are in the vault.

        Raises:
            OSError: The list cannot be read.
            NotOurs: It is not one that we wrote.
        """
        return read_copied_files(self.copy_folder(copy.name, copy.id) / COPY)

    def uses(self, name: str | None = None) -> Iterator[Holding]:
        """What each environment held, and holds.

        Args:
            name: Only of this package.

        Raises:
            NotOurs: A record cannot be used.
            OSError: One cannot be read.
        """
        for folder in folders_in(self.root / "environments"):
            with suppress(FileNotFoundError):
                owner = Path(read_own(folder / _OWNER, Owner).path)
                packages = folders_in(folder)
                for package in (
                    packages if name is None else [p for p in packages if p.name == name]
                ):
                    records = numbered(package)
                    for file in records:
                        yield Holding(owner, read_manifest(file, owner), file == records[-1], file)


def owner_file(folder: Path) -> Path:
    """The file that says which environment a folder is about."""
    return folder / _OWNER


def numbered(package: Path) -> list[Path]:
    """The records of one package in one environment, the oldest first."""
    found = [path for path in package.glob("*.json") if path.stem.isdecimal()]
    return sorted(found, key=lambda path: int(path.stem))


def folders_in(folder: Path) -> list[Path]:
    """The real folders in a folder; none if it is missing, or a link."""
    if folder.is_symlink():
        return []
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink())
    return []
