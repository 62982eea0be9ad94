"""What the code of a build may not change: the environment, its copies and earlier trees.

uv runs build backends as its own children, with the user's permissions. They get to see the live
tree, but writing into it, or into a file that it shares with the vault, a generation, the stage or
uv's cache, is refused by the kernel.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from reconciler import landlock
from reconciler.config import Build
from reconciler.confinement import Confinement, Means, best_means
from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.files.bounded import read_text
from reconciler.files.trust import Insecure
from reconciler.state.locations import local_path
from reconciler.state.sources import Source
from reconciler.trees.stage import STAGE, clonable_roots
from reconciler.trees.workspace import NAME, Workspace
from reconciler.uv.cached import archives_of, cache_folder

_ALSO_INSTALLED_TO = ("etc", "include", "pyvenv.cfg", "share")


def confinement_of_builds(
    environment: Environment, snapshot: Snapshot, work: Path, sources: Collection[Source]
) -> Confinement | None:
    """What uv, and the builds that it starts, may not change in this pass.

    Args:
        environment: The environment.
        snapshot: As it is seen now.
        work: The folder that uv may write to.
        sources: Where packages come from, if not from an index.

    Returns:
        None if nothing is built, or if programs cannot be confined here.
    """
    if environment.config.build is not Build.ALLOW:
        return None
    prefix = snapshot.interpreter.prefix
    means = _means(sources, prefix)
    cache = cache_folder(environment.environ, snapshot.settings)
    if snapshot.holds.held:
        with suppress(OSError, Insecure):  # a build must not make it in our place
            snapshot.vault.store.create()
    kept = (*_live(snapshot), *_ours(prefix, work), snapshot.store)
    if means is Means.NONE:
        return None
    if means is Means.MOUNTS and cache:
        held = {one.distribution.info.name for one in snapshot.holds.held.values()}
        kept = (*kept, *archives_of(held, cache)) if held else kept
    elif cache:
        with suppress(OSError):  # uv says what is wrong
            cache.mkdir(parents=True, exist_ok=True)  # it could not do so itself any more
    found = (path for path in kept if path.exists() and not path.is_symlink())
    return Confinement(tuple(Path(os.path.realpath(path)) for path in found), means)


def confinement_of_imports(prefix: Path, work: Path | None = None) -> Confinement | None:
    """What imports may not change: all of the environment, except a folder in which they work.

    Args:
        prefix: The environment.
        work: The folder of the pass, with the stage in it; None: there is no pass.

    Returns:
        None if programs cannot be confined here.
    """
    means = best_means()
    if means is Means.NONE:
        return None
    if work is None:
        return Confinement((prefix,), means, offline=True)
    places = (*(prefix / name for name in clonable_roots(prefix)), *_ours(prefix, work))
    kept = (Path(os.path.realpath(p)) for p in places if p.exists() and not p.is_symlink())
    return Confinement(tuple(kept), means, offline=True)


def _means(sources: Collection[Source], prefix: Path) -> Means:
    """How to confine: the best way in which what is to be built can still be built."""
    means = best_means()
    urls = [source.url or "" for source in sources]
    if means is Means.MOUNTS and os.geteuid() != 0 and any(map(_uses_ssh, urls)):
        # ssh refuses a configuration of root's, whom a user namespace does not know.
        means = Means.LANDLOCK if landlock.is_supported() else Means.NONE
    if means is Means.LANDLOCK and any(_contains(url, prefix) for url in urls):
        return Means.NONE
    return means


def _uses_ssh(url: str) -> bool:
    return "ssh://" in url or ("@" in url and "://" not in url)


def _contains(url: str, prefix: Path) -> bool:
    """Whether a source is a folder around the environment: its build makes files beside it."""
    path = local_path(url)
    return path is not None and prefix.is_relative_to(os.path.realpath(path))


def _live(snapshot: Snapshot) -> Iterator[Path]:
    """What packages are installed to. Someone may have a project in the same folder."""
    interpreter = snapshot.interpreter
    places = [*interpreter.site_directories, interpreter.scripts]
    inside = (
        p.relative_to(interpreter.prefix) for p in places if p.is_relative_to(interpreter.prefix)
    )
    names = {path.parts[0] for path in inside if path.parts}
    for held in snapshot.holds.held.values():
        names.update(_outside_site(held.distribution.info, interpreter.prefix))
    names.discard(NAME)  # where the copy of a replaced hold is, and where uv works in this pass
    for name in sorted(names.union(_ALSO_INSTALLED_TO)):
        yield interpreter.prefix / name


def _outside_site(info: Path, prefix: Path) -> Iterator[str]:
    """The top-level names that a RECORD leads to from site-packages: data files and the like."""
    with suppress(OSError, ValueError):
        for row in read_text(info / "RECORD").splitlines():
            if row.startswith(("../", '"../')):
                path = os.path.normpath(info.parent / row.strip('"').partition(",")[0])
                if path.startswith(f"{prefix}/"):
                    yield path.removeprefix(f"{prefix}/").partition("/")[0]


def _ours(prefix: Path, work: Path) -> Iterator[Path]:
    """The generations, our records, and the stage; not the folder that uv works in."""
    root = Workspace(prefix).root
    if root.is_dir():
        yield from (path for path in sorted(root.iterdir()) if path != work)
    yield work / STAGE
