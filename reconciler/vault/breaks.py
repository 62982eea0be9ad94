"""How an installed package differs from the held one: replaced, removed or changed.

Only compares: with the vault's copy, or with RECORD where there is no copy yet.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.state.holds import Held
from reconciler.state.installed import Distribution, Installed, RecordedFile
from reconciler.vault.copies import CopyDamaged, Vault, digest_of
from reconciler.vault.manifest import Manifest, SeenFile

_SHOWN = 3
INSTALL_FOR_THIS = "Install a build for this Python by hand"


class Break(msgspec.Struct, frozen=True):
    """How an installed package differs from the one that counts as held."""

    name: NormalizedName
    expected: Version
    found: Version | None
    """None if it is not installed at all."""
    files: tuple[str, ...] = ()
    """The files that are gone or changed, if the version is the same."""
    kept: bool = True
    """Whether the vault has a copy; if not, the files were compared with RECORD."""
    in_place: bool = False
    """Whether a file was edited in place: the copy is the same file and has changed with it."""

    emptied: bool = False
    """Whether one of the files is empty, as a power cut leaves it: nobody wants that."""
    unfit: str | None = None
    """Why the copy cannot be restored here: it is for another Python."""
    added: tuple[str, ...] = ()
    """Files that are not its own, and that Python may import in place of its modules."""
    pinned_by: str | None = None
    """The hold that needs just the expected version."""

    @property
    def restorable(self) -> bool:
        """Whether there is a copy that fits and has not changed with the original."""
        return self.kept and not self.in_place and self.unfit is None

    @property
    def what(self) -> str:
        """What happened, without a full stop."""
        held = f"{self.name} {self.expected}"
        if self.found is None:
            return f"{held} has been removed by someone else, or the environment was recreated"
        if self.found != self.expected:
            return f"{held} has been replaced by {self.found} by someone else"
        if not self.files and self.added:
            added = f"{_count_of(self.added)} that Python may import in place of {held}"
            return f"{added} ({_some(self.added)})"
        if not self.files:
            return f"there is a second dist-info folder of {held}"
        shown = _some(self.files)
        one = len(self.files) == 1
        count = f"a file of {held} is" if one else f"{len(self.files)} files of {held} are"
        if not self.kept:
            return f"{count} not as its RECORD says ({shown}), and the vault has no copy of {held}"
        if self.in_place:
            return (
                f"{count} gone or changed ({shown}), and the vault's copy has changed with it, "
                "since both are the same file"
            )
        return f"{count} gone or changed ({shown})"

    @property
    def fix(self) -> str:
        """What to do."""
        restore = f"`reconciler hold restore {self.name}` restores {self.expected}, offline"
        accept = f"`reconciler hold accept {self.name}` holds what is installed as it is."
        if self.unfit is not None:
            return f"It cannot be restored, since {self.unfit}. {INSTALL_FOR_THIS}."
        if self.found is None and self.pinned_by is None:
            without = f"To do without it: `reconciler hold accept {self.name}`"
            return f"A copy of {self.expected} is in the vault: {restore}. {without}."
        if self.found != self.expected and self.pinned_by is not None:
            return f"{restore}. {self.pinned_by} needs just that version."
        if self.added and not (self.files or self.kept):
            return f"Remove what was added, or {accept}"
        if self.files and (self.in_place or not self.kept):
            again = "Install that build by hand again"
            return f"{again}." if self.emptied else f"{again}, or {accept}"
        if self.found == self.expected and (self.emptied or not (self.files or self.added)):
            return f"{restore}."  # a second dist-info folder
        return f"{restore}; {accept}"


def _some(paths: tuple[str, ...]) -> str:
    return ", ".join(paths[:_SHOWN]) + (" ..." if len(paths) > _SHOWN else "")


def _count_of(added: tuple[str, ...]) -> str:
    return "a file has been added" if len(added) == 1 else f"{len(added)} files have been added"


def find_breaks(
    vault: Vault, installed: Installed, prefix: Path, names: Iterable[NormalizedName]
) -> dict[NormalizedName, Break]:
    """Compare what is installed with what counts as held.

    A file with the same inode, size and modification time is unchanged. The content of
    any other is compared, so a restored or copied file is as good as the original.

    Args:
        vault: The copies.
        installed: The environment.
        prefix: Its folder.
        names: The packages to compare.
    """
    current = vault.current()
    found: dict[NormalizedName, Break] = {}
    for name in names:
        manifest = current.get(name)
        if manifest is None:
            continue
        expected = Version(manifest.version)
        versions = [d.version for d in installed.copies(name)]
        if expected not in versions:
            version = versions[0] if versions else None
            found[name] = Break(
                name, expected, version, pinned_by=manifest.pinned_by,
                unfit=_unfit(vault, manifest),
            )  # fmt: skip
            continue
        changed = list(unlike(vault.files(manifest), prefix))
        paths = (*(f.path for f in changed), *_changed_links(manifest.links, prefix))
        if paths or name in installed.duplicates:
            in_place = any(_is_one(prefix / f.path, vault.content(manifest, f)) for f in changed)
            emptied = any(file.size and _is_empty(prefix / file.path) for file in changed)
            found[name] = Break(name, expected, expected, paths, in_place=in_place, emptied=emptied)
    return found


def _unfit(vault: Vault, manifest: Manifest) -> str | None:
    try:
        return vault.unfit(manifest)
    except CopyDamaged:  # a restore says it
        return None


def unlike(files: Iterable[SeenFile], folder: Path) -> Iterator[SeenFile]:
    """The files of a copy that are gone or have another content in this tree."""
    return (file for file in files if not _is_same(folder / file.path, file))


def _is_same(path: Path, file: SeenFile) -> bool:
    try:
        stat = os.stat(path)  # noqa: PTH116 -- 14,600 files of torch
        if (stat.st_ino, stat.st_size, stat.st_mtime_ns) in file.identities:
            return True
        return stat.st_size == file.size and digest_of(path) == file.sha256
    except OSError:
        return False


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        return False


def _is_one(path: Path, copy: Path) -> bool:
    try:
        return path.samefile(copy)
    except OSError:
        return False


def _changed_links(links: Mapping[str, str], prefix: Path) -> Iterator[str]:
    for path, target in links.items():
        try:
            if os.readlink(prefix / path) == target:  # noqa: PTH115
                continue
        except OSError:
            pass
        yield path


def differs_from_record(held: Iterable[Held], prefix: Path) -> dict[NormalizedName, Break]:
    """The holds whose files are not as their RECORD says.

    Costs a `stat` for each file; only a file that was written after RECORD is read. Missing
    files are reported elsewhere.

    Args:
        held: Holds that the vault has no copy of.
        prefix: The environment.
    """
    found: dict[NormalizedName, Break] = {}
    for one in held:
        paths = tuple(file.path.removeprefix(f"{prefix}/") for file in _unlike(one.distribution))
        if paths:
            emptied = any(_is_empty(prefix / path) for path in paths)
            found[one.name] = Break(
                one.name, one.version, one.version, paths, kept=False, emptied=emptied
            )
    return found


def _unlike(distribution: Distribution) -> Iterator[RecordedFile]:
    if distribution.legacy:
        return
    try:
        files = distribution.files()
        written = (distribution.info / "RECORD").stat().st_mtime_ns
    except (OSError, ValueError):
        return
    for file in files:
        digest = None if file.is_bytecode else file.sha256
        if digest is None:
            continue
        try:
            stat = os.stat(file.path)  # noqa: PTH116 -- 14,600 files of torch
            if file.size not in (None, stat.st_size):
                yield file
            elif stat.st_mtime_ns > written and digest_of(Path(file.path)) != digest:
                yield file  # RECORD is the last file that an installer writes
        except OSError:
            continue
