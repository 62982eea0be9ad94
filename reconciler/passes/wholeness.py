"""Whether an older tree is whole, so that it may go live again.

A tree may have lost files since it was live: to a full disk, to someone's `rm`, or to a removal
that was interrupted. Half a tree must never go live, because nothing could repair it afterwards.
What the live tree lacks in the same way counts as whole: going back does not make it worse.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.environment.interpreter import Interpreter
from reconciler.environment.snapshot import Snapshot
from reconciler.processes import NotStarted, Program, TookTooLong, run
from reconciler.state.installed import Distribution, Installed, defect_of, missing_files
from reconciler.trees.generations import Generation, is_half
from reconciler.vault.breaks import unlike
from reconciler.vault.copies import CopyDamaged, Vault
from reconciler.vault.manifest import Manifest

_START_SECONDS = 30.0


def defect_of_tree(
    snapshot: Snapshot, target: Generation, folder: Path, found: Installed
) -> str | None:
    """What is wrong with a tree that was live once, or None.

    Checks its label, pyvenv.cfg and interpreter, every RECORD, and the held files.

    Args:
        snapshot: The environment as it is now.
        target: The tree's label.
        folder: Its folder.
        found: The packages in it.
    """
    if is_half(folder):
        return "its label or its pyvenv.cfg is gone"
    if len(found.distributions) < target.packages:
        return f"it had {target.packages} packages, now {len(found.distributions)}"
    return (
        _defect_of_interpreter(snapshot.interpreter, folder)
        or next(_defects_of_packages(snapshot.installed, found), None)
        or next(_defects_of_holds(snapshot, folder, found), None)
    )


def _defect_of_interpreter(interpreter: Interpreter, folder: Path) -> str | None:
    program = folder / interpreter.executable.parent.name / interpreter.executable.name
    if not os.path.lexists(program):
        return f"{program.relative_to(folder)} is gone"
    try:  # without `site`, so that no code of a package runs
        ended = run(
            Program([program, "-I", "-S", "-c", ""], folder=Path("/")), limit=_START_SECONDS
        )
    except (NotStarted, TookTooLong) as error:
        return f"its interpreter does not start ({error})"
    return None if ended.status == 0 else "its interpreter does not start"


def _defects_of_packages(live: Installed, found: Installed) -> Iterator[str]:
    for name, distribution in found.distributions.items():
        why = defect_of(distribution, found)
        if why and not _is_as_live(live.get(name), distribution):
            yield f"{name}: {why}"


def _is_as_live(live: Distribution | None, kept: Distribution) -> bool:
    """Whether the live tree has the same package, and lacks the same files of it."""
    if live is None or (live.version, live.defect) != (kept.version, kept.defect):
        return False
    return _missing(kept) <= _missing(live)


def _missing(distribution: Distribution) -> frozenset[str]:
    site = str(distribution.info.parent)
    return frozenset(os.path.relpath(path, site) for path in missing_files(distribution))


def _defects_of_holds(snapshot: Snapshot, folder: Path, found: Installed) -> Iterator[str]:
    """The held files must be those of some copy of the same version in the vault."""
    prefix, vault = snapshot.interpreter.prefix, snapshot.vault
    for name, copies in _copies_of(vault, found).items():
        differing = [_first_unlike(vault, copy, folder, prefix) for copy in copies]
        if copies and all(differing):
            yield f"{name}: {differing[-1]} is not as it was when it was held"


def _copies_of(vault: Vault, found: Installed) -> dict[NormalizedName, list[Manifest]]:
    return {
        name: [copy for copy in vault.copies(name) if Version(copy.version) == found.version(name)]
        for name, _ in vault.listed()
    }


def _first_unlike(vault: Vault, copy: Manifest, folder: Path, prefix: Path) -> str | None:
    try:
        files = vault.files(copy)
    except CopyDamaged:
        return None  # nothing to compare with
    return next(
        (f.path for f in unlike(files, folder) if not _is_shared(f.path, folder, prefix)), None
    )


def _is_shared(path: str, folder: Path, prefix: Path) -> bool:
    """Whether the live tree has the very same file, or lacks it as well."""
    try:
        return (folder / path).samefile(prefix / path)
    except OSError:
        return not (folder / path).exists() and not (prefix / path).exists()
