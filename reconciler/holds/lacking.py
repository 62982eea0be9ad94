"""What an environment lacks of a copy: only that is checked, and taken from the vault.

Everything else is as it was when it was copied. Changes nothing in the vault or the environment.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.environment.snapshot import Snapshot
from reconciler.trees.real_folders import RealFolders
from reconciler.vault.breaks import unlike
from reconciler.vault.copies import Vault
from reconciler.vault.manifest import Manifest, SeenFile
from reconciler.vault.shelf import link_or_copy


class CopyHere(msgspec.Struct, frozen=True):
    """A copy, and how it compares with the environment.

    Attributes:
        files: All its files.
        lacking: Those that are gone or not the same files; if not one byte differs, none.
        in_place: Whether nothing is to be done: all of it is there, once, and nothing else.
    """

    manifest: Manifest
    files: tuple[SeenFile, ...]
    lacking: tuple[SeenFile, ...]
    in_place: bool


def copy_of(vault: Vault, manifest: Manifest, snapshot: Snapshot) -> CopyHere:
    """Compare a copy with the environment.

    Where another build is installed, everything counts as lacking and nothing is read.

    Raises:
        CopyDamaged: Its list of files cannot be read.
    """
    prefix, files = snapshot.interpreter.prefix, vault.files(manifest)
    found = list(snapshot.installed.copies(NormalizedName(manifest.name)))
    if len(found) != 1 or found[0].version != Version(manifest.version):
        return CopyHere(manifest, files, files, in_place=False)
    real = RealFolders(prefix)
    elsewhere = {file.path for file in files if not real.has(_folder_of(file.path))}
    lacking = tuple(
        f for f in files if f.path in elsewhere or not _is_known(f"{prefix}/{f.path}", f)
    )
    if not elsewhere and next(unlike(lacking, prefix), None) is None:
        lacking = ()  # other files with the same bytes: where the vault cannot share them, say
    return CopyHere(manifest, files, lacking, not lacking and _has_links(manifest, prefix))


def _is_known(path: str, file: SeenFile) -> bool:
    """Whether it is the file that was copied, or the vault's; it is not opened."""
    try:
        found = os.stat(path)  # noqa: PTH116 -- thousands of times
    except OSError:
        return False
    return (found.st_ino, found.st_size, found.st_mtime_ns) in file.identities


def _has_links(manifest: Manifest, prefix: Path) -> bool:
    try:
        return all(
            os.readlink(prefix / path) == target  # noqa: PTH115 -- as it is recorded
            for path, target in manifest.links.items()
        )
    except OSError:
        return False


def check(vault: Vault, copies: Sequence[CopyHere]) -> None:
    """Compare what is lacking with what was recorded when it was copied.

    Raises:
        CopyDamaged: The vault's content is not what was put there.
    """
    for copy in copies:
        if copy.lacking:
            vault.check(copy.manifest, copy.lacking)


def take_out(vault: Vault, copy: CopyHere, prefix: Path, incoming: Path) -> None:
    """Link a copy into the folder of incoming packages; what is in place, from there."""
    folders: set[str] = set()
    lacking = {file.path for file in copy.lacking}
    contents = vault.store.contents(copy.manifest.name)
    for file in copy.files:  # thousands
        _make_folder(incoming, file.path, folders)
        missing = file.path in lacking
        content = f"{contents}/{file.key}" if missing else f"{prefix}/{file.path}"
        with suppress(FileExistsError):  # another copy has it, too: `nvidia/__init__.py`
            link_or_copy(content, f"{incoming}/{file.path}")
    for path, target in copy.manifest.links.items():
        _make_folder(incoming, path, folders)
        (incoming / path).symlink_to(target)


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def _make_folder(incoming: Path, path: str, known: set[str]) -> None:
    folder = _folder_of(path)
    if folder not in known:
        (incoming / folder).mkdir(parents=True, exist_ok=True)
        known.add(folder)
