"""How to remove packages so that what is held keeps all its files.

uv and pip remove every file that a package's RECORD lists, also one that another package lists as
well. Pure: only words.
"""

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping

from packaging.utils import NormalizedName

from reconciler.environment.snapshot import Snapshot
from reconciler.state.installed import Distribution
from reconciler.state.shared_files import claimed_paths
from reconciler.status import Hold


def how_to_remove(
    going: Collection[Distribution], snapshot: Snapshot, holds: Collection[Hold]
) -> str:
    """What to do to remove packages that are not held, in a sentence with the exact command.

    Args:
        going: The packages.
        snapshot: The environment.
        holds: The state of each hold.
    """
    sharing = _sharing(going, snapshot)
    rows = {row.name: row for row in holds}
    held = [d for d in sharing if snapshot.holds.covers(d.name)]
    without = [d.name for d in held if d.name not in rows or not rows[d.name].vaulted]
    it = "it" if len(going) == 1 else "them"
    if without:
        return (
            f"Do not remove {it} yet: that would also remove files of {', '.join(without)}, which "
            "is held and not in the vault. `reconciler apply` makes a copy of what is complete."
        )
    command = " && ".join(
        (
            uninstall(going, snapshot),
            *(f"reconciler hold restore {name}" for name in _roots(held, rows)),
            *_repairs([d for d in sharing if d not in held], snapshot),
        )
    )
    also = f", and restores the files that {', '.join(d.name for d in sharing)} shares with {it}"
    return f"`{command}` removes {it}{also if sharing else ''}."


def uninstall(going: Iterable[Distribution], snapshot: Snapshot) -> str:
    """The command that removes packages, with every file that they claim."""
    python = shlex.quote(str(snapshot.interpreter.prefix))
    return f"uv pip uninstall --python {python} {' '.join(d.name for d in going)}"


def _sharing(going: Collection[Distribution], snapshot: Snapshot) -> list[Distribution]:
    """The other packages that claim a file of theirs, whatever its content."""
    names = {d.name for d in going}
    paths = {path for d in going for path in claimed_paths(d)}
    return [
        distribution
        for name, distribution in snapshot.installed.distributions.items()
        if name not in names and not paths.isdisjoint(claimed_paths(distribution))
    ]


def _roots(held: Iterable[Distribution], rows: Mapping[str, Hold]) -> Iterator[str]:
    """The holds to restore: each restores what is held because of it, too."""
    seen: set[str] = set()
    for distribution in held:
        name: str = distribution.name
        while (by := rows[name].pinned_by) is not None and by in rows and rows[by].vaulted:
            name = by
        if name not in seen:
            seen.add(name)
            yield name


def _repairs(others: Collection[Distribution], snapshot: Snapshot) -> Iterator[str]:
    """What installs packages again that are not held: a pass does so if anything requires them."""
    if any(NormalizedName(d.name) in snapshot.drift.reachable for d in others):
        yield "reconciler apply"
    loose = [f"{d.name}=={d.version}" for d in others if d.name not in snapshot.drift.reachable]
    if loose:
        python = shlex.quote(str(snapshot.interpreter.prefix))
        yield f"uv pip install --python {python} --no-deps --reinstall {' '.join(loose)}"
