"""Finds what Python might import in place of a held module, in what is about to be installed.

Only looks. Overwritten files are `Tree.conflict`'s; here, no held file need change: a file
beside it, or a new one in a folder of a hold, is enough.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from packaging.utils import NormalizedName, canonicalize_name

from reconciler.files.bounded import read_text
from reconciler.state.held_modules import BYTECODE, PACKAGE, HeldModules, ImportLayout
from reconciler.state.installed import Distribution
from reconciler.trees.tree import HoldConflict, Tree, entries_of, recorded_paths

_METADATA = (".dist-info", ".egg-info", ".egg-link")
_NAMESPACE_BYTES = 4096
_NAMESPACE_LINES = frozenset({
    "__path__ = __import__('pkgutil').extend_path(__path__, __name__)",
    "__import__('pkg_resources').declare_namespace(__name__)",
    "from pkgutil import extend_path",
    "__path__ = extend_path(__path__, __name__)",
})  # fmt: skip
"""What the `__init__` of a namespace may say (PEP 420 describes both ways)."""


class Shadowing(HoldConflict):
    """A package brings a file that Python might import instead of one of a held package."""

    def __str__(self) -> str:
        return (
            f"{self.package} would put {self.path} where {self.hold}, which is held, has its "
            f"modules, so Python could import it instead. Remove {self.package} from the "
            f"requirements, or stop holding {self.hold}."
        )


def shadowing(
    live: Tree, incoming: Path, packages: Iterable[Distribution], layout: ImportLayout
) -> HoldConflict | None:
    """The first file in `incoming` that must not be where a held package is, or None.

    Args:
        live: The live tree.
        incoming: What uv installed into a folder of its own.
        packages: The distributions in that folder; one of them brings the file.
        layout: Where the target's Python imports from.
    """
    guard = _Guard(live, layout)
    for path in guard.files_near(incoming, ""):
        hold = guard.hold_near(incoming, path)
        if hold is None:
            continue
        bringing = (p.name for p in packages if _lists(p, incoming, path))
        return Shadowing(next(bringing, NormalizedName("unknown")), hold, path)
    return None


def says_nothing(init: Path) -> bool:
    """Whether the `__init__.py` of a package has no code, or only makes it a namespace."""
    try:
        text = read_text(init, limit=_NAMESPACE_BYTES)
    except (OSError, ValueError):
        return False
    lines = {line.strip().replace('"', "'") for line in text.splitlines()}
    return all(not line or line[0] == "#" or line in _NAMESPACE_LINES for line in lines)


class _Guard:
    """Knows where the modules of held packages are."""

    def __init__(self, live: Tree, layout: ImportLayout) -> None:
        self._live = live
        self._layout = layout
        self._modules = HeldModules(live.held_files, layout)

    def files_near(self, incoming: Path, folder: str) -> Iterator[str]:
        """Every file of `incoming` that may be in the way: below other folders, none can be."""
        for entry in entries_of(incoming, folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if not entry.is_dir(follow_symlinks=False):
                yield path
            elif self._matters(path):
                yield from self.files_near(incoming, path)

    def _matters(self, folder: str) -> bool:
        if self._layout.leads_to_imports(folder):
            return True
        inside = self._layout.within(folder)
        if inside is None:
            return False
        top = inside.partition("/")[0]
        # A module may become a package, and a folder may be spelled in another way.
        if top.endswith(_METADATA):
            return True
        return top == BYTECODE or _folded(top) in self._tops

    @cached_property
    def _tops(self) -> frozenset[str]:
        modules = self._modules.by_folder.get("", {}).keys()
        folders = {folder.partition("/")[0] for folder in self._modules.folders}
        return frozenset(map(_folded, {*modules, *folders}))

    def hold_near(self, incoming: Path, path: str) -> NormalizedName | None:
        """The hold that this file would be in the way of, if any."""
        if path in self._live.held_files:
            return None  # it overwrites a file, and is compared with it
        hold = (
            self._spelled_otherwise(path)
            or self._modules.shadowed_by(path)
            or self._described(path)
        )
        if hold is not None and not self._makes_namespace(incoming, path):
            return hold
        folder = self._modules.closed(path, self._shared)
        owners = self._owners(folder) if folder else frozenset()
        alone = bool(owners) and all(map(self._live.holds.covers, owners))
        return min(owners) if alone else None

    def _described(self, path: str) -> NormalizedName | None:
        """The hold that metadata is about."""
        top = (self._layout.within(path) or "").partition("/")[0]
        return self._hold_of(top) if top.endswith(_METADATA) else None

    def _hold_of(self, top: str) -> NormalizedName | None:
        name = canonicalize_name(top.rpartition(".")[0].partition("-")[0])
        return name if self._live.holds.covers(name) else None

    def _makes_namespace(self, incoming: Path, path: str) -> bool:
        """Whether it is an `__init__.py` that changes nothing for the packages in its folder."""
        inside = self._layout.within(path) or ""
        folder, _, name = inside.rpartition("/")
        empty = self._modules.is_namespace(folder) or folder in self._shared
        return empty and name == f"{PACKAGE}.py" and says_nothing(incoming / path)

    @cached_property
    def _shared(self) -> frozenset[str]:
        """The top-level folders of holds that are shared, though they have an `__init__.py`."""
        found = set()
        for path in self._live.held_files:
            parts = (self._layout.within(path) or "").split("/")
            if parts[1:] == [f"{PACKAGE}.py"] and says_nothing(self._live.prefix / path):
                found.add(parts[0])
        return frozenset(found)

    def _spelled_otherwise(self, path: str) -> NormalizedName | None:
        """The hold that this path belongs to, on a file system that ignores case."""
        inside = self._layout.within(path)
        if inside is None or _folded(inside.partition("/")[0]) not in self._tops:
            return None
        there = self._live.prefix
        parts = path.split("/")
        for count in range(len(parts) - inside.count("/"), len(parts) + 1):
            part = "/".join(parts[:count])
            known, hold = self._by_folded.get(_folded(part), (part, None))
            if known != part and _is_one(there / part, there / known):
                return hold
        return None

    @cached_property
    def _by_folded(self) -> dict[str, tuple[str, NormalizedName]]:
        found: dict[str, tuple[str, NormalizedName]] = {}
        for file, hold in self._live.held_files.items():
            path = file
            while path and _folded(path) not in found:
                found[_folded(path)] = path, hold
                path = path.rpartition("/")[0]
        return found

    def _owners(self, folder: str) -> frozenset[NormalizedName]:
        """The packages with a file below a folder."""
        if folder not in self._known_owners:
            starts = tuple(f"{site}/{folder}/" for site in self._layout.sites)
            self._known_owners[folder] = frozenset(
                one.name
                for one in self._live.installed.all()
                if any(p.startswith(starts) for p in recorded_paths(one, self._live.prefix))
            )
        return self._known_owners[folder]

    @cached_property
    def _known_owners(self) -> dict[str, frozenset[NormalizedName]]:
        return {}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _is_one(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _lists(distribution: Distribution, incoming: Path, path: str) -> bool:
    return any(listed == path for listed in recorded_paths(distribution, incoming))
