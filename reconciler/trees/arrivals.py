"""Which packages must not be moved in: their files belong elsewhere, or a link is in their way.

Only looks, at what uv has prepared and at the live tree; nothing has been moved yet.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from packaging.utils import NormalizedName

from reconciler.state.installed import Distribution
from reconciler.status import Reason
from reconciler.trees.real_folders import is_real_folder
from reconciler.trees.reserved import is_reserved
from reconciler.trees.tree import UV_LOCK, Tree, entries_of, recorded_paths


class Refused(msgspec.Struct, frozen=True):
    """A package that must not be moved in, and why, in words."""

    package: NormalizedName
    reason: Reason
    message: str


class CannotMoveIn(Exception):
    """Some packages must not be moved in."""

    def __init__(self, refused: tuple[Refused, ...]) -> None:
        super().__init__(refused[0].message)
        self.refused = refused


class Arrivals(msgspec.Struct, frozen=True):
    """Packages that are to be moved into the live tree.

    Attributes:
        incoming: The folder with them; it mirrors the environment.
        packages: The distributions in it.
        live: The live tree.
        going: The packages that leave it.
        restored: Whether they are copies of held packages: what is in the way of one, a link too,
            is replaced, unless another package has files there.
    """

    incoming: Path
    packages: Iterable[Distribution]
    live: Tree
    going: frozenset[NormalizedName]
    restored: bool = False

    def check(self) -> None:
        """Check all of them.

        Raises:
            CannotMoveIn: Some must not be moved in.
        """
        refused: dict[NormalizedName, Refused] = {}
        for name in self._claiming(UV_LOCK):
            why = f"{name} {_RESERVED.format(UV_LOCK)}"
            refused[name] = Refused(name, Reason.UNUSABLE, why)
        for path, reason, why in self._obstacles(""):
            for name in self._bringing(path):
                refused.setdefault(name, Refused(name, reason, f"{name} {why}"))
        if refused:
            raise CannotMoveIn(tuple(refused.values()))

    def _obstacles(self, folder: str) -> Iterator[tuple[str, Reason, str]]:
        """The first path on each way that cannot be moved in, the reason, and the words for it."""
        for entry in entries_of(self.incoming, folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            there = self.live.folder / path
            if is_reserved(f"{path}/x" if is_folder else path):
                if is_folder and folder:  # the standard library has a folder for packages
                    yield from self._obstacles(path)
                else:
                    yield path, Reason.UNUSABLE, _RESERVED.format(path)
            elif not os.path.lexists(there):
                continue
            elif is_folder and is_real_folder(self.live.folder, path):
                yield from self._obstacles(path)
            elif (is_folder and there.is_symlink()) or there.is_dir():
                if not self._may_replace(path):
                    yield self._in_the_way(path, there)
            elif is_folder and self._has_others(path):
                yield path, Reason.UNUSABLE, _A_FILE.format(path)

    def _in_the_way(self, path: str, there: Path) -> tuple[str, Reason, str]:
        if there.is_symlink():
            to = os.path.realpath(there)
            return path, Reason.LEADS_OUT, _A_LINK.format(path, to)
        return path, Reason.UNUSABLE, _A_FOLDER.format(path)

    def _may_replace(self, path: str) -> bool:
        """Whether everything at or below this path belongs to what leaves."""
        if self._has_others(path):
            return False
        return self.restored or any(
            _has(distribution, self.live.prefix, path)
            for name in self.going
            for distribution in self.live.installed.copies(name)
        )

    def _has_others(self, path: str) -> bool:
        others = (d for d in self.live.installed.all() if d.name not in self.going)
        return any(_has(distribution, self.live.prefix, path) for distribution in others)

    def _bringing(self, path: str) -> list[NormalizedName]:
        """The packages that have a file there; all of them if none admits it."""
        return self._claiming(path) or [d.name for d in self.packages]

    def _claiming(self, path: str) -> list[NormalizedName]:
        return [d.name for d in self.packages if _has(d, self.incoming, path, reserved=True)]


def _has(distribution: Distribution, prefix: Path, path: str, *, reserved: bool = False) -> bool:
    """Whether its RECORD claims this path, or one below it; or it has its metadata there."""
    info = f"{distribution.info}/".removeprefix(f"{prefix}/")
    paths = recorded_paths(distribution, prefix, reserved=reserved)
    return info.startswith(f"{path}/") or any(
        one == path or one.startswith(f"{path}/") for one in paths
    )


_RESERVED = (
    "has a file {}, which belongs to the environment itself or to Reconciler. Take it out of the "
    "requirements."
)
_A_LINK = (
    "has files in {}, which is a symbolic link to {}, and nothing is written through a link. "
    "Remove the link, or take it out of the requirements."
)
_A_FOLDER = (
    "has a file {} where the environment has a folder that is not its own. Take it out of the "
    "requirements."
)
_A_FILE = (
    "has a folder {} where another package has a file. Take one of them out of the requirements."
)
