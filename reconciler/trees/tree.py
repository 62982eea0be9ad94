"""A tree whose packages are replaced: the stage or, in place, the live one.

uv writes only into an empty folder of its own. What it put there is moved in here, whole
folders at a time. Conflicts with held files are found before anything is moved.
"""

import errno
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from packaging.utils import NormalizedName

from reconciler.patterns import regex
from reconciler.processes import Cancellation
from reconciler.state.holds import HoldSet
from reconciler.state.installed import Distribution, Installed, read_recorded_paths
from reconciler.trees.real_folders import RealFolders, copy_over, is_real_folder
from reconciler.trees.reserved import is_reserved

_BYTECODE = "__pycache__"
_COMPILED = regex(r"(?P<module>.+?)\.[^.]+(\.opt-[^.]+)?\.pyc")
UV_LOCK = ".lock"


@dataclass(eq=False)
class HoldConflict(Exception):
    """A package brings files that a held one owns, with different content."""

    package: NormalizedName
    hold: NormalizedName
    path: str

    def __str__(self) -> str:
        return (
            f"{self.package} would overwrite {self.path}, a file of {self.hold}, which is held. "
            f"Remove {self.package} from the requirements, or stop holding {self.hold}."
        )


def recorded_paths(
    distribution: Distribution, prefix: Path, *, reserved: bool = False
) -> Iterator[str]:
    """A distribution's files, relative to the environment.

    Files outside it are skipped. So are those of the environment itself and ours, unless they
    are `reserved` too: a RECORD may claim them, but no package owns them.
    """
    start, site = f"{prefix}/", f"{distribution.info.parent}/"
    try:
        paths = () if distribution.legacy else read_recorded_paths(distribution.info)
    except (OSError, ValueError):
        return
    for path in paths:
        if not path.startswith(start):
            continue
        inside = path[len(start) :]
        if reserved or path.startswith(site) or not is_reserved(inside):
            yield inside


@dataclass
class Tree:
    """A tree that mirrors an environment, or the environment itself.

    Args:
        folder: The tree.
        prefix: The live environment; recorded paths are inside it.
        installed: What is installed there.
        holds: Packages whose files stay unchanged.
        touched: The changed top-level names.
    """

    folder: Path
    prefix: Path
    installed: Installed
    holds: HoldSet
    touched: set[str] = field(default_factory=set)
    strays: Mapping[NormalizedName, Collection[str]] = field(default_factory=dict)
    """Files that leave with a package though its RECORD does not list them."""
    _seen_tops: set[str] = field(default_factory=set)
    _known_shared: dict[frozenset[NormalizedName], frozenset[str]] = field(default_factory=dict)

    @cached_property
    def held_files(self) -> Mapping[str, NormalizedName]:
        """The hold of each held file; if someone replaced the package, the files that are there.

        Without compiled bytecode: any program that imports the package may rewrite it at any time.
        """
        return {
            path: name
            for name in self.holds.held
            for distribution in self.installed.copies(name)
            for path in recorded_paths(distribution, self.prefix)
            if not path.endswith((".pyc", ".pyo"))
        }

    @cached_property
    def _held_folders(self) -> frozenset[str]:
        """Every folder with a file of a hold somewhere below it."""
        found: set[str] = set()
        for path in self.held_files:
            folder = _folder_of(path)
            while folder and folder not in found:
                found.add(folder)
                folder = _folder_of(folder)
        return frozenset(found)

    def _shared(self, going: frozenset[NormalizedName]) -> frozenset[str]:
        """The files of departing packages that a remaining package also owns, by the RECORDs."""
        if going not in self._known_shared:
            own = {
                path
                for name in going
                for distribution in self.installed.copies(name)
                for path in recorded_paths(distribution, self.prefix)
            }
            others = (d for d in self.installed.all() if d.name not in going)
            self._known_shared[going] = frozenset(
                path for d in others for path in recorded_paths(d, self.prefix) if path in own
            )
        return self._known_shared[going]

    def replace(
        self, going: frozenset[NormalizedName], incoming: Path | None, cancel: Cancellation
    ) -> None:
        """Remove packages, then move in what is in the folder `incoming`.

        Only for a tree that nobody uses yet: between the two steps it is incomplete.

        Raises:
            Cancelled: The pass was asked to end.
        """
        for name in going:
            for distribution in self.installed.copies(name):
                self.remove(distribution, going)
        if incoming is not None:
            self.add(incoming, cancel)

    def leaving(self, distribution: Distribution, going: frozenset[NormalizedName]) -> list[str]:
        """The files that leave with a distribution, including its compiled bytecode.

        Without its metadata folder, files that a link leads to, files that a remaining package
        also owns, and its metadata.
        """
        shared, others = self._shared(going), self._other_metadata(going)
        info = f"{self.info_of(distribution)}/"
        paths = [p for p in recorded_paths(distribution, self.prefix) if not p.startswith(info)]
        real = RealFolders(self.folder)
        gone = [
            path
            for path in paths
            if real.has(_folder_of(path)) and path not in shared
            and not (".dist-info/" in path and path.startswith(others))
        ]  # fmt: skip
        strays = [p for p in self.strays.get(distribution.name, ()) if real.has(_folder_of(p))]
        return list(dict.fromkeys((*gone, *strays, *self._compiled(gone, real))))

    def _other_metadata(self, going: frozenset[NormalizedName]) -> tuple[str, ...]:
        others = (d for d in self.installed.all() if d.name not in going)
        return tuple(f"{d.info}/".removeprefix(f"{self.prefix}/") for d in others)

    def info_of(self, distribution: Distribution) -> str:
        """Its metadata folder, or file, relative to the tree."""
        return str(distribution.info.relative_to(self.prefix))

    def remove(self, distribution: Distribution, going: frozenset[NormalizedName]) -> None:
        """Remove a distribution's files, except those that a remaining package also owns."""
        info = self.info_of(distribution)
        gone = self.leaving(distribution, going)
        for path in gone:
            self._unlink(path)
        self._remove_info(self.folder / info)
        self._touch({*gone, info})
        for folder in folders_of((*gone, info)):
            self._remove_empty(folder)

    def _unlink(self, path: str) -> None:
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            os.unlink(f"{self.folder}/{path}")  # noqa: PTH108 -- thousands of times

    def _compiled(self, paths: Iterable[str], real: RealFolders) -> Iterator[str]:
        """The compiled bytecode of modules, which goes with them."""
        modules: dict[str, set[str]] = {}
        for path in paths:
            folder, _, name = path.rpartition("/")
            if name.endswith(".py"):
                modules.setdefault(folder, set()).add(name[:-3])
        for folder, names in modules.items():
            compiled = f"{folder}/{_BYTECODE}" if folder else _BYTECODE
            there = self.folder / compiled
            for entry in os.listdir(there) if real.has(compiled) else ():  # noqa: PTH208
                matched = _COMPILED.fullmatch(entry)
                if matched and matched["module"] in names:
                    yield f"{compiled}/{entry}"

    def _remove_info(self, info: Path) -> None:
        _remove(info)

    def _remove_empty(self, relative: str) -> None:
        """Remove a folder that has become empty, and those above it, up to site-packages."""
        while relative.count("/") > 0:
            folder = self.folder / relative
            if relative.endswith(("/site-packages", "/dist-packages")):
                return
            if not RealFolders(self.folder).has(relative):
                return
            bytecode = folder / _BYTECODE
            if bytecode.is_symlink():
                return
            if bytecode.is_dir() and not any(bytecode.iterdir()):
                bytecode.rmdir()
            if any(folder.iterdir()):
                return
            folder.rmdir()
            relative = _folder_of(relative)

    def _touch(self, paths: Iterable[str]) -> None:
        tops = {path.partition("/")[0] for path in paths} - self._seen_tops
        self._seen_tops |= tops
        for top in tops:
            # A path through `lib64` changes `lib`, so `lib` must be exchanged.
            there = Path(os.path.realpath(self.folder / top))
            beside = there.parent == Path(os.path.realpath(self.folder))
            self.touched.add(there.name if beside else top)

    def add(self, incoming: Path, cancel: Cancellation) -> None:
        """Move everything in the folder `incoming` in; identical held files stay.

        Raises:
            Cancelled: The pass was asked to end.
        """
        self._touch(entry.name for entry in entries_of(incoming, ""))
        self._add_folder(incoming, "", cancel)

    def _add_folder(self, incoming: Path, folder: str, cancel: Cancellation) -> None:
        cancel.check()
        for entry in entries_of(incoming, folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            target = self.folder / path
            if path in self.held_files and os.path.lexists(target):
                continue  # `conflict` has checked that it is identical
            in_parts = entry.is_dir(follow_symlinks=False) and is_real_folder(self.folder, path)
            if in_parts or not _moved(incoming / path, target):
                self._make_folder(path)
                self._add_folder(incoming, path, cancel)

    def _make_folder(self, path: str) -> None:
        if is_real_folder(self.folder, path):
            return
        folder = self.folder / path
        if os.path.lexists(folder):
            folder.unlink()  # the old version had a module, or a link, instead of this package
        folder.mkdir()

    def conflict(self, incoming: Path, packages: Iterable[Distribution]) -> HoldConflict | None:
        """The first file in `incoming` that would replace a file of a held package, or None.

        Args:
            incoming: What uv installed into a folder of its own.
            packages: The distributions in that folder; one of them brings the file.
        """
        for path in self._held_within(incoming, ""):
            there = self.prefix / path
            if os.path.lexists(there) and not _same_content(incoming / path, there):
                bringing = (p.name for p in packages if _brings(p, incoming, path))
                name = next(bringing, NormalizedName("unknown"))
                return HoldConflict(name, self._hold_at(path), path)
        return None

    def _held_within(self, incoming: Path, folder: str) -> Iterator[str]:
        """The paths in `incoming` where a hold has a file, and files where it has a folder."""
        for entry in entries_of(incoming, folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if path in self._held_folders and entry.is_dir(follow_symlinks=False):
                yield from self._held_within(incoming, path)
            elif path in self._held_folders or path in self.held_files:
                yield path

    def _hold_at(self, path: str) -> NormalizedName:
        """The hold that owns this file, or a file in this folder."""
        inside = (n for p, n in self.held_files.items() if p.startswith(f"{path}/"))
        return self.held_files.get(path) or next(inside)


def follow_links(incoming: Path, prefix: Path) -> None:
    """Move folders that are links in the environment to the link's target, such as `lib64`.

    In any other prefix, uv creates a real folder instead.
    """
    for entry in entries_of(incoming, ""):
        meant = Path(os.path.realpath(prefix / entry.name))
        inside = str(meant.parent) == os.path.realpath(prefix)
        if inside and meant.name != entry.name and entry.is_dir(follow_symlinks=False):
            _merge(incoming / entry.name, incoming / meant.name)


def _merge(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for entry in entries_of(source, "."):
        if entry.is_dir(follow_symlinks=False) and (target / entry.name).is_dir():
            _merge(source / entry.name, target / entry.name)
        else:
            (source / entry.name).rename(target / entry.name)
    source.rmdir()


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def folders_of(paths: Iterable[str]) -> list[str]:
    """The folders that the paths are in, the deepest first."""
    return sorted({_folder_of(path) for path in paths}, key=len, reverse=True)


def _brings(distribution: Distribution, incoming: Path, path: str) -> bool:
    paths = recorded_paths(distribution, incoming)
    return any(p == path or p.startswith(f"{path}/") for p in paths)


def entries_of(incoming: Path, folder: str) -> list["os.DirEntry[str]"]:
    """What is in a folder of `incoming`, without uv's lock on it."""
    with os.scandir(incoming / folder) as entries:
        return [e for e in entries if folder or e.name != UV_LOCK]  # uv's lock on the prefix


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        import shutil  # noqa: PLC0415 -- slow to import, and `check` removes nothing

        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _moved(source: Path, target: Path) -> bool:
    """Replace what is there by a file or a whole folder; False if it must go in parts."""
    if target.is_dir() and not target.is_symlink():
        import shutil  # noqa: PLC0415 -- as above

        shutil.rmtree(target)
    elif source.is_dir():
        target.unlink(missing_ok=True)
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        if source.is_dir() and not source.is_symlink():
            return False
        copy_over(str(source), str(target), ".incoming")
    return True


def _same_content(one: Path, other: Path) -> bool:
    if not (one.is_file() and other.is_file()):
        return False
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
