"""What the code of a build may not change: the environment, its copies and earlier trees.

uv runs build backends as its own children, with the user's permissions. They get to see the live
tree, but writing into it, or into a file that it shares with the vault, a generation, the stage or
uv's cache, is refused by the kernel.
"""

from collections.abc import Iterator
from pathlib import Path

from reconciler.config import Build
from reconciler.confinement import Confinement, is_possible
from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.trees.stage import STAGE
from reconciler.trees.tree import recorded_paths
from reconciler.trees.workspace import Workspace
from reconciler.uv.cached import archives_of, cache_folder

_ALSO_INSTALLED_TO = ("etc", "include", "pyvenv.cfg", "share")


def confinement_of_builds(
    environment: Environment, snapshot: Snapshot, work: Path
) -> Confinement | None:
    """What uv, and the builds that it starts, may not change in this pass.

    Args:
        environment: The environment.
        snapshot: As it is seen now.
        work: The folder that uv may write to.

    Returns:
        None if nothing is built, or if programs cannot be confined here.
    """
    if environment.config.build is not Build.ALLOW or not is_possible():
        return None
    cache = cache_folder(environment.environ, snapshot.settings)
    held = {one.distribution.info.name for one in snapshot.holds.held.values()}
    shared = archives_of(held, cache) if cache and held else ()
    found = (*_live(snapshot), *_ours(snapshot.interpreter.prefix, work), *shared)
    return Confinement(tuple(path for path in found if path.exists() and not path.is_symlink()))


def _live(snapshot: Snapshot) -> Iterator[Path]:
    """What packages are installed to. Someone may have a project in the same folder."""
    interpreter = snapshot.interpreter
    places = [*interpreter.site_directories, interpreter.scripts]
    inside = (
        p.relative_to(interpreter.prefix) for p in places if p.is_relative_to(interpreter.prefix)
    )
    names = {path.parts[0] for path in inside if path.parts}
    for held in snapshot.holds.held.values():
        paths = recorded_paths(held.distribution, interpreter.prefix)
        names.update(path.partition("/")[0] for path in paths)
    for name in sorted(names.union(_ALSO_INSTALLED_TO)):
        yield interpreter.prefix / name


def _ours(prefix: Path, work: Path) -> Iterator[Path]:
    """The vault, the generations, our records, and the stage; not the folder that uv works in."""
    root = Workspace(prefix).root
    if root.is_dir():
        yield from (path for path in sorted(root.iterdir()) if path != work)
    yield work / STAGE
