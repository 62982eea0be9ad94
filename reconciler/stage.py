"""Building the new tree: clone the live one by hard links, take out, put in, compare.

uv writes only into an empty folder of its own; its files are moved into the clone here,
so that nothing ever opens a file that the live environment shares. What another package
must not overwrite is seen before anything is moved.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISLNK

from packaging.utils import NormalizedName

from reconciler.processes import Cancellation
from reconciler.state.holds import HoldSet
from reconciler.state.installed import Distribution, Installed, read_distribution
from reconciler.workspace import NAME

_NOT_CLONED = frozenset({NAME, ".lock", ".gitignore", "CACHEDIR.TAG"})
_BYTECODE = "__pycache__"

Census = dict[str, dict[str, int]]
"""Of each folder below an environment (as a relative path): name to inode."""


class StagingImpossible(Exception):
    """The environment cannot be cloned by hard links; the reason is the message."""


@dataclass(eq=False)
class HoldConflict(Exception):
    """A package brings files that a held one owns, with other content."""

    package: NormalizedName
    hold: NormalizedName
    path: str

    def __str__(self) -> str:
        return (
            f"{self.package} would overwrite {self.path}, a file of {self.hold}, which is held. "
            f"Remove {self.package} from what is required, or stop holding {self.hold}."
        )


def clonable_roots(prefix: Path) -> Iterator[str]:
    """The top-level names of an environment that a clone has."""
    with os.scandir(prefix) as entries:
        yield from sorted(e.name for e in entries if e.name not in _NOT_CLONED)


def clone(prefix: Path, stage: Path, cancel: Cancellation) -> Census:
    """Clone an environment by hard links into the folder `stage`; costs no data blocks.

    Returns:
        What was where in the live tree, to tell later whether it has changed since.

    Raises:
        StagingImpossible: Hard links cannot be made here.
        Cancelled: The pass was asked to end.
    """
    census: Census = {}
    try:
        for name in clonable_roots(prefix):
            _clone_entry(prefix, stage, name, census, cancel)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise StagingImpossible(_why_not(error)) from error
    return census


def _clone_entry(
    prefix: Path, stage: Path, name: str, census: Census, cancel: Cancellation
) -> None:
    source = prefix / name
    if source.is_dir() and not source.is_symlink():
        _clone_folder(str(source), str(stage / name), name, census, cancel)
        census.setdefault("", {})[name] = 0
    else:
        _link(str(source), str(stage / name), is_link=source.is_symlink())
        census.setdefault("", {})[name] = source.lstat().st_ino


def _clone_folder(
    source: str, target: str, relative: str, census: Census, cancel: Cancellation
) -> None:
    cancel.check()
    # Without the setgid bit, which a folder inherits (and RestrictSUIDSGID= refuses to hear).
    os.mkdir(target, os.stat(source).st_mode & 0o1777)  # noqa: PTH102, PTH116 -- 46,000 times
    names: dict[str, int] = {}
    with os.scandir(source) as entries:
        for entry in entries:
            path = f"{target}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                inside = f"{relative}/{entry.name}"
                _clone_folder(entry.path, path, inside, census, cancel)
                if entry.name != _BYTECODE:
                    names[entry.name] = 0
            elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                _link(entry.path, path, is_link=entry.is_symlink())
                names[entry.name] = entry.inode()
    census[relative] = names


def _link(source: str, target: str, *, is_link: bool) -> None:
    try:
        if is_link:
            os.symlink(os.readlink(source), target)  # noqa: PTH115, PTH211 -- 46,000 times
        else:
            os.link(source, target)
    except FileNotFoundError:
        if os.path.lexists(source):
            raise
        # Somebody is changing the tree right now: the census will tell before the exchange.


def _why_not(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return (
            f"{error.filename} belongs to another user, and the kernel lets nobody hard-link "
            "files of others (fs.protected_hardlinks). Run as their owner, or change the owner "
            "of the whole environment"
        )
    if error.errno == errno.EXDEV:
        return f"{error.filename} lies on another file system than the environment"
    if error.errno == errno.EMLINK:
        return f"{error.filename} has as many hard links as the file system allows"
    return f"hard links cannot be made here ({error.strerror}: {error.filename})"


def has_changed(prefix: Path, census: Census) -> str | None:
    """The first folder of the live tree whose content is not as it was cloned, or None.

    Compiled bytecode does not count: running programs write it all the time.
    """
    for relative, names in census.items():
        if relative.rpartition("/")[2] == _BYTECODE:
            continue
        try:
            now = _listing(prefix / relative)
        except OSError:
            return relative
        if relative == "":
            now = {n: 0 if names.get(n) == 0 else i for n, i in now.items() if n in names}
        if now != names:
            return relative or "."
    return None


def _listing(folder: Path) -> dict[str, int]:
    names: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != _BYTECODE:
                    names[entry.name] = 0
            elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                names[entry.name] = entry.inode()
    return names


Owners = Mapping[str, frozenset[NormalizedName]]
"""Of each recorded file, relative to the environment: the distributions that list it."""


def owners_of(prefix: Path, installed: Installed) -> dict[str, frozenset[NormalizedName]]:
    """Who owns which file, by the RECORDs."""
    owners: dict[str, frozenset[NormalizedName]] = {}
    for distribution in installed.all():
        own = frozenset({distribution.name})
        for path in recorded_paths(distribution, prefix):
            owners[path] = owners[path] | own if path in owners else own
    return owners


def recorded_paths(distribution: Distribution, prefix: Path) -> Iterator[str]:
    """A distribution's files relative to the environment; those outside it are left alone."""
    start = f"{prefix}/"
    try:
        files = distribution.files() if not distribution.legacy else ()
    except (OSError, ValueError):
        return
    for file in files:
        if file.path.startswith(start):
            yield file.path[len(start) :]


@dataclass
class Tree:
    """A tree that packages are taken out of and put into.

    A stage, or, where nothing can be staged, the live environment itself.

    Args:
        folder: The tree.
        prefix: The live environment, which the recorded paths are in.
        owners: Who owns which file of it.
        touched: The top-level names that have been changed.
    """

    folder: Path
    prefix: Path
    owners: Owners
    holds: HoldSet
    touched: set[str] = field(default_factory=set)

    def remove(self, distribution: Distribution, going: frozenset[NormalizedName]) -> None:
        """Take a distribution's files out, but for those that somebody who stays owns too."""
        folders: set[str] = set()
        for path in recorded_paths(distribution, self.prefix):
            if self.owners.get(path, frozenset()) - going:
                continue
            self._unlink(path)
            folders.add(path.rpartition("/")[0])
        info = distribution.info.relative_to(self.prefix)
        self._remove_info(info)
        folders.add(str(info.parent))
        for folder in sorted(folders, key=len, reverse=True):
            self._remove_empty(folder)

    def _unlink(self, path: str) -> None:
        target = self.folder / path
        self.touched.add(path.partition("/")[0])
        if target.is_dir() and not target.is_symlink():
            return
        target.unlink(missing_ok=True)
        if path.endswith(".py"):
            for compiled in target.parent.glob(f"{_BYTECODE}/{target.stem}.*.pyc"):
                compiled.unlink(missing_ok=True)

    def _remove_info(self, info: Path) -> None:
        target = self.folder / info
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        self.touched.add(info.parts[0])

    def _remove_empty(self, relative: str) -> None:
        """Remove a folder that has become empty, and those above it, up to site-packages."""
        while relative.count("/") > 0:
            folder = self.folder / relative
            if relative.endswith(("/site-packages", "/dist-packages")) or not folder.is_dir():
                return
            bytecode = folder / _BYTECODE
            if bytecode.is_dir() and not any(bytecode.iterdir()):
                bytecode.rmdir()
            if any(folder.iterdir()):
                return
            folder.rmdir()
            relative = relative.rpartition("/")[0]

    def add(self, incoming: Path, cancel: Cancellation) -> None:
        """Move everything of the folder `incoming` in; a held file that is the same stays.

        Raises:
            Cancelled: The pass was asked to end.
        """
        for path in _files_below(incoming):
            cancel.check()
            if self._held_owner(path) and os.path.lexists(self.folder / path):
                continue  # known to be the same, by `conflict`
            target = self.folder / path
            self.touched.add(path.partition("/")[0])
            self._make_folder(target.parent)
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            _move(incoming / path, target)

    def link(self, source: Path, path: str) -> None:
        """Put a hard link of `source` at `path`, in place of whatever is there."""
        target = self._clear(path)
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
            shutil.copy2(source, target)

    def symlink(self, destination: str, path: str) -> None:
        """Put a symbolic link at `path`, in place of whatever is there."""
        self._clear(path).symlink_to(destination)

    def _clear(self, path: str) -> Path:
        target = self.folder / path
        self.touched.add(path.partition("/")[0])
        self._make_folder(target.parent)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        target.unlink(missing_ok=True)
        return target

    def conflict(
        self, incoming: Path, packages: Mapping[str, NormalizedName]
    ) -> HoldConflict | None:
        """The first file of `incoming` that would replace a held package's, or None.

        Args:
            incoming: What uv installed into a folder of its own.
            packages: Of each file in it, the package that brings it.
        """
        for path in _files_below(incoming):
            hold = self._held_owner(path)
            there = self.prefix / path
            if hold and there.is_file() and not _same_content(incoming / path, there):
                return HoldConflict(packages.get(path, NormalizedName("unknown")), hold, path)
        return None

    def _held_owner(self, path: str) -> NormalizedName | None:
        held = [n for n in self.owners.get(path, ()) if n in self.holds.held]
        return held[0] if held else None

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        if os.path.lexists(folder):
            folder.unlink()  # a file of a version that had a module where now a package is
        folder.mkdir(parents=True)


def _files_below(folder: Path) -> Iterator[str]:
    start = len(str(folder)) + 1
    for parent, _, names in os.walk(folder):
        for name in names:
            path = f"{parent}/{name}"[start:]
            if path != ".lock":  # uv's lock on the prefix
                yield path


def _same_content(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = target.with_name(target.name + ".incoming")
        shutil.copy2(source, beside, follow_symlinks=False)
        beside.rename(target)


def incoming_distributions(
    incoming: Path, site: Path, prefix: Path
) -> dict[NormalizedName, Distribution]:
    """What uv put into its folder."""
    folder = incoming / site.relative_to(prefix)
    if not folder.is_dir():
        return {}
    found = (read_distribution(p) for p in sorted(folder.glob("*.dist-info")))
    return {d.name: d for d in found}


def packages_by_file(
    distributions: Iterable[Distribution], incoming: Path
) -> dict[str, NormalizedName]:
    """Of each file that uv put into its folder, the package that brings it."""
    return {
        path: distribution.name
        for distribution in distributions
        for path in recorded_paths(distribution, incoming)
    }


Fingerprints = Mapping[str, tuple[int, int, int]]
"""Of each held file, relative to the environment: inode, size, modification time (ns)."""


def fingerprints(
    holds: HoldSet, installed: Installed, prefix: Path, tree: Path
) -> dict[str, tuple[int, int, int]]:
    """What tells that held files are the very same: clones share the inode, so the bytes too.

    Args:
        holds: Whose files; of a hold that someone else replaced, what is there instead.
        installed: The live environment.
        prefix: Its folder.
        tree: Where to look: the environment itself, or a stage.
    """
    found: dict[str, tuple[int, int, int]] = {}
    copies = (d for name in holds.held for d in installed.copies(name))
    for path in (p for d in copies for p in recorded_paths(d, prefix)):
        try:
            stat = os.lstat(tree / path)
        except OSError:
            continue
        inode = 0 if S_ISLNK(stat.st_mode) else stat.st_ino
        found[path] = (inode, stat.st_size, stat.st_mtime_ns)
    return found
