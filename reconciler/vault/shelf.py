"""The contents of one package's files in a vault: each is put there once, for all copies.

A content is complete or is not there: it comes into being by a hard link or a rename. The caller
has the vault to itself.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from msgspec.structs import replace

from reconciler.vault.copies import digest_of
from reconciler.vault.manifest import VaultFile

UNFINISHED = ".new-"
"""How the name of something begins that is being written, or removed."""
_NO_LINK = frozenset({
    errno.EPERM, errno.EACCES, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP,
    errno.ENOSYS,
})  # fmt: skip
"""Another user's file, another file system or mount, or one without hard links: then the file
itself is copied, which takes space."""

Identity = tuple[int, int, int]
"""Inode, size and modification time of a file in the vault when it was known to be right."""


class Shelf:
    """Puts contents into a package's folder.

    Args:
        folder: The package's folder of contents; it exists.
        known: The contents that are there, by their keys.
    """

    def __init__(self, folder: Path, known: Mapping[str, Identity]) -> None:
        self._folder = folder
        self._known = known

    def put(self, source: str, file: VaultFile, *, may_link: bool) -> VaultFile:
        """Have the content of a file in the vault.

        Args:
            source: Where it is now.
            file: What it is.
            may_link: Whether the vault may share the file.

        Returns:
            The same, with inode and modification time of the vault's file.

        Raises:
            OSError: It can be neither linked nor copied.
        """
        target = f"{self._folder}/{file.key}"
        found = self._usable(target, file)
        if found is None:
            self._bring(source, target, may_link=may_link)
            found = os.lstat(target)
        return replace(file, inode=found.st_ino, mtime=found.st_mtime_ns)

    def adopt(self, fresh: Path, file: VaultFile) -> VaultFile:
        """The same for a new file in the folder, which is moved or, if not needed, removed.

        Raises:
            OSError: It cannot be moved.
        """
        target = f"{self._folder}/{file.key}"
        found = self._usable(target, replace(file, inode=-1))
        if found is None:
            fresh.rename(target)
            found = os.lstat(target)
        else:
            fresh.unlink()
        return replace(file, inode=found.st_ino, mtime=found.st_mtime_ns)

    def _usable(self, target: str, file: VaultFile) -> os.stat_result | None:
        """What is there already, if it is right; one that was edited in place is not."""
        try:
            found = os.lstat(target)
        except FileNotFoundError:
            return None
        if not S_ISREG(found.st_mode) or found.st_size != file.size:
            return None
        identity = (found.st_ino, found.st_size, found.st_mtime_ns)
        if identity in ((file.inode, file.size, file.mtime), self._known.get(file.key)):
            return found
        with suppress(OSError):
            if digest_of(Path(target)) == file.sha256:
                return found
        return None

    def _bring(self, source: str, target: str, *, may_link: bool) -> None:
        fresh = f"{self._folder}/{UNFINISHED}{os.path.basename(target)}"  # noqa: PTH119
        if os.path.lexists(target):
            with suppress(FileNotFoundError):
                os.unlink(fresh)  # noqa: PTH108
            _link_or_copy(source, fresh, may_link=may_link)
            os.rename(fresh, target)  # noqa: PTH104
        elif not (may_link and _is_linked(source, target)):
            shutil.copy2(source, fresh)
            os.rename(fresh, target)  # noqa: PTH104


def _is_linked(source: str, target: str) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return False
    return True


def _link_or_copy(source: str, target: str, *, may_link: bool) -> None:
    if not (may_link and _is_linked(source, target)):
        shutil.copy2(source, target)


def known_contents(files: Iterable[VaultFile]) -> dict[str, Identity]:
    """What a vault has, as its copies describe it."""
    return {file.key: (file.inode, file.size, file.mtime) for file in files}


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """Have a file in another place, without taking space if that is possible.

    Raises:
        OSError: It can be neither linked nor copied.
    """
    _link_or_copy(str(source), str(target), may_link=True)
