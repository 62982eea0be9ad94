"""What to watch now: folders, since editors save by renaming, and whole trees of held packages.

Looks at the disk and decides; it watches nothing itself and starts no process.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from reconciler.config import EnvironmentConfig
from reconciler.environment.snapshot import Snapshot
from reconciler.state.installed import Distribution
from reconciler.trees.tree import recorded_paths
from reconciler.trees.workspace import NAME

_MOST_LINKS = 40
_MOST_OF_SOURCES = 500
"""What is not watched is noticed at the next interval."""
OF_PREFIX = frozenset({"lib", "lib64", "bin", "pyvenv.cfg"})
"""What matters in an environment's own folder."""


class Targets(msgspec.Struct, frozen=True):
    """What to watch, and which changes there matter.

    `files` are the project's file and those around it that decide, the symbolic links on the way to
    them and the folder that the project is in; `places` the same of the environment. Both are free
    of symbolic links except the last part, as the kernel names them in a folder that is watched by
    its real path.
    """

    files: frozenset[str]
    places: frozenset[str]
    prefix: Path
    sites: tuple[Path, ...] = ()
    trees: tuple[Path, ...] = ()
    """Watched with everything below: the packages of the holds."""
    inodes: tuple[int, ...] = ()
    """The folders' identities: after an exchange the same paths are other folders."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders to watch, without what is below them."""
        parents = {Path(p).parent for p in (*self.files, *self.places)}
        found = {p for p in (*parents, *self.sites, self.prefix) if p.is_dir()}
        return tuple(sorted(found))

    def matters(self, path: str) -> bool:
        """Whether a change at this path could mean drift: not bytecode, nor files of ours."""
        if path in self.files or path in self.places:
            return True
        parts = path.split("/")
        if "__pycache__" in parts or NAME in parts or path.endswith((".pyc", "/.lock")):
            return False
        parent = os.path.dirname(path)  # noqa: PTH120 -- for every change of a busy folder
        if parent == str(self.prefix):
            return parts[-1] in OF_PREFIX
        return parent in map(str, self.sites) or any(path.startswith(f"{t}/") for t in self.trees)


def targets_of(
    config: EnvironmentConfig, snapshot: Snapshot | None, held: "HeldPlaces | None" = None
) -> Targets:
    """What to watch of an environment.

    Args:
        config: Which project and environment.
        snapshot: The environment as it was last seen, if it was.
        held: Remembers where the held packages are, from one time to the next.
    """
    deciding = [config.pyproject, config.pyproject.with_name("uv.toml"), *_beside(snapshot)]
    files = {place for file in deciding for place in _on_the_way(file)}
    files.add(os.path.realpath(config.pyproject.parent))
    if snapshot is not None:
        files.update(islice(_of_local_sources(snapshot), _MOST_OF_SOURCES))
    root = config.python.parent.parent
    prefix = snapshot.interpreter.prefix if snapshot else Path(os.path.realpath(root))
    sites = snapshot.interpreter.site_directories if snapshot else ()
    owned = (held or HeldPlaces()).of(snapshot) if snapshot else []
    strays = {place for one in owned for place in one.strays}
    found = Targets(
        files=frozenset(files),
        # The files of holds that are not in site-packages: scripts, and what they share.
        places=frozenset({*_on_the_way(root), str(prefix), *strays}),
        prefix=prefix,
        sites=tuple(d for d in sites if d.is_dir()),
        trees=tuple(_trees_of(owned, sites)),
    )
    inodes = tuple(_inode(p) for p in (*found.folders, *found.trees))
    return Targets(found.files, found.places, prefix, found.sites, found.trees, inodes)


def _beside(snapshot: Snapshot | None) -> Iterator[Path]:
    """The other files that decide what is declared, and the one that cannot be used now.

    They are those of the workspace's root and members, or those that a requirements file includes.
    """
    if snapshot is not None and snapshot.desired is not None:
        yield from snapshot.desired.files
    if snapshot is not None and snapshot.problem is not None:
        yield Path(snapshot.problem.file)


def _of_local_sources(snapshot: Snapshot) -> Iterator[str]:
    """The files that decide whether a package is installed again from its folder or file."""
    for source in snapshot.local.values():
        for file in source.files:
            yield from _on_the_way(Path(file))


def _on_the_way(path: Path) -> Iterator[str]:
    """Every symbolic link on the way to a path, and its real place; or the first missing part."""
    real, waiting = Path("/"), list(path.parts[1:])
    for _ in range(_MOST_LINKS * 10):
        if not waiting:
            break
        place = real / waiting.pop(0)
        if place.name == "..":
            real = real.parent
        elif place.is_symlink():
            yield str(place)
            target = place.readlink()
            waiting = [*(target.parts[1:] if target.is_absolute() else target.parts), *waiting]
            real = Path("/") if target.is_absolute() else real
        elif not place.exists():
            yield str(place)
            return
        else:
            real = place
    yield str(real)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


class _Owned(msgspec.Struct, frozen=True):
    """Where a held package's files are: at the top of site-packages, and elsewhere."""

    tops: frozenset[str]
    strays: frozenset[str]


class HeldPlaces:
    """Where the held packages of one environment are; only those that are held now are remembered.

    Reading a RECORD with 15,000 rows takes some ten milliseconds, and it seldom changes.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Distribution, _Owned]] = {}

    def of(self, snapshot: Snapshot) -> list[_Owned]:
        """The places of each hold."""
        prefix = snapshot.interpreter.prefix
        fresh: dict[Path, tuple[Distribution, _Owned]] = {}
        for held in snapshot.holds.held.values():
            distribution = held.distribution
            known = self._known.get(distribution.info)
            if known is None or known[0] is not distribution:
                known = (distribution, _owned(distribution, prefix))
            fresh[distribution.info] = known
        self._known = fresh
        return [owned for _, owned in fresh.values()]


def _owned(distribution: Distribution, prefix: Path) -> _Owned:
    site = f"{distribution.info.parent}/"
    tops, strays = {distribution.info.name}, set()
    for path in recorded_paths(distribution, prefix):
        place = f"{prefix}/{path}"
        if place.startswith(site):
            tops.add(place.removeprefix(site).partition("/")[0])
        elif not path.startswith(f"{NAME}/"):
            strays.add(place)
    return _Owned(frozenset(tops), frozenset(strays))


def _trees_of(owned: Iterable[_Owned], sites: Iterable[Path]) -> Iterator[Path]:
    """The folders of held packages, in which any change matters."""
    names = {name for one in owned for name in one.tops}
    for site in sites:
        yield from (site / name for name in sorted(names) if (site / name).is_dir())
