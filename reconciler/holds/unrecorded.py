"""Which files belong to a package that has no RECORD: those of the modules that bear its name.

Only looks. A file that another package lists is that package's.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from packaging.utils import NormalizedName

from reconciler.files.bounded import read_text
from reconciler.state.installed import Distribution, Installed
from reconciler.trees.tree import recorded_paths

_MOST = 64 * 1024
"""Bytes of `top_level.txt`."""
_BYTECODE = (".pyc", ".pyo")


def files_without_record(
    distribution: Distribution, installed: Installed, prefix: Path
) -> tuple[str, ...]:
    """Its files and its metadata, relative to the environment; none if it has no module.

    Args:
        distribution: One without a RECORD.
        installed: What else is installed.
        prefix: The environment's folder.
    """
    site = distribution.info.parent
    inside = f"{site}/".removeprefix(f"{prefix}/")
    found = [path for name in _modules(distribution) for path in _files_of(site, name)]
    others = (d for d in installed.all() if d.info != distribution.info)
    theirs = {path for other in others for path in recorded_paths(other, prefix)}
    own = [f"{inside}{path}" for path in found if not path.endswith(_BYTECODE)]
    code = [path for path in own if path not in theirs]
    return (*code, *(f"{inside}{p}" for p in _below(site, distribution.info.name))) if code else ()


def _modules(distribution: Distribution) -> list[str]:
    """The names of its modules, relative to site-packages, without a suffix."""
    try:
        listed = read_text(distribution.info / "top_level.txt", _MOST).split()
    except (OSError, UnicodeDecodeError):
        return [_name_of(distribution.name), distribution.name.replace("-", "/", 1)]
    return [name for name in listed if "/" not in name and not name.startswith(".")]


def _name_of(name: NormalizedName) -> str:
    return name.replace("-", "_")


def _files_of(site: Path, module: str) -> Iterator[str]:
    if (site / module).is_dir() and not (site / module).is_symlink():
        yield from _below(site, module)
        return
    folder = (site / module).parent
    name = module.rpartition("/")[2]
    if folder == site and folder.is_dir():
        for entry in sorted(os.listdir(folder)):  # noqa: PTH208 -- names only
            if entry.partition(".")[0] == name and (folder / entry).is_file():
                yield entry


def _below(site: Path, folder: str) -> Iterator[str]:
    for above, _, names in os.walk(site / folder):
        inside = os.path.relpath(above, site)
        yield from (f"{inside}/{name}" for name in sorted(names))
