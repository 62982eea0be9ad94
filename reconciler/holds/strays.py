"""Files in the environment that Python may import in place of a held module, listed by no hold.

They leave every held file as it is, so that comparing those shows nothing. Only looks.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace
from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.environment.snapshot import Snapshot
from reconciler.files.bounded import read_head
from reconciler.state.held_modules import BYTECODE, PACKAGE, HeldModules
from reconciler.trees.intrusion import says_nothing
from reconciler.trees.tree import Tree, recorded_paths
from reconciler.vault.breaks import Break
from reconciler.vault.copies import CopyDamaged, Vault

_HEADER_BYTES = 8
_UNCHECKED = 0b01
"""PEP 552: bytecode that Python uses without asking whether the source is still the same."""

Strays = Mapping[NormalizedName, tuple[str, ...]]
"""For each hold, the paths relative to the environment."""


def strays(snapshot: Snapshot, vault: Vault) -> Strays:
    """What Python may import in place of modules of each hold, except what was accepted.

    Costs a listing of each folder with held modules, and some bytes of their bytecode.
    """
    found: dict[NormalizedName, set[str]] = defaultdict(set)
    search = _Search(snapshot)
    for path, hold in search.found():
        found[hold].add(path)
    for name, manifest in vault.current().items():
        if name in found:
            with suppress(CopyDamaged):
                found[name] -= {file.path for file in vault.files(manifest)}
    return {name: tuple(sorted(paths)) for name, paths in found.items() if paths}


def with_strays(
    breaks: Mapping[NormalizedName, Break], snapshot: Snapshot, vault: Vault
) -> dict[NormalizedName, Break]:
    """The breaks, and those of holds that have nothing but strays."""
    found = dict(breaks)
    for name, paths in strays(snapshot, vault).items():
        installed = snapshot.installed.version(name)
        if installed is None:
            continue
        known = found.get(name)
        manifest = vault.current().get(name)
        if known is not None:
            found[name] = replace(known, added=paths)
        elif manifest is None or Version(manifest.version) == installed:
            found[name] = Break(name, installed, installed, added=paths, kept=manifest is not None)
    return found


class _Search:
    """Looks for strays in one environment."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._prefix = snapshot.interpreter.prefix
        self._layout = snapshot.interpreter.layout
        installed, holds = snapshot.installed, snapshot.holds
        tree = Tree(self._prefix, self._prefix, installed, holds)
        self._modules = HeldModules(tree.held_files, self._layout)
        self._listed = {
            path
            for name in holds.held
            for distribution in installed.copies(name)
            for path in recorded_paths(distribution, self._prefix)
        }

    def found(self) -> Iterator[tuple[str, NormalizedName]]:
        """Each stray and its hold."""
        for folder, modules in self._modules.by_folder.items():
            for site in self._layout.sites:
                yield from self._in_folder(f"{site}/{folder}" if folder else site, folder, modules)
        tops = self._modules.by_folder.get("", {})
        for name, is_folder in self._entries(self._layout.scripts):
            path = f"{self._layout.scripts}/{name}"
            if is_folder and name in tops:
                yield from self._packages(path, tops[name])
            elif not is_folder:
                yield from self._judged(path)

    def _in_folder(
        self, folder: str, inside: str, modules: Mapping[str, NormalizedName]
    ) -> Iterator[tuple[str, NormalizedName]]:
        for name, is_folder in self._entries(folder):
            path = f"{folder}/{name}"
            if not is_folder:
                yield from self._judged(path)
            elif name == BYTECODE:
                yield from self._unchecked(path)
            elif name in modules and f"{inside}/{name}".strip("/") not in self._modules.folders:
                yield from self._packages(path, modules[name])  # it comes before the module

    def _entries(self, folder: str) -> list[tuple[str, bool]]:
        try:
            with os.scandir(self._prefix / folder) as entries:
                return [(entry.name, entry.is_dir()) for entry in entries]
        except OSError:
            return []

    def _judged(self, path: str) -> Iterator[tuple[str, NormalizedName]]:
        if path in self._listed:
            return
        hold = self._modules.shadowed_by(path)
        if hold is not None and not self._is_namespace(path):
            yield path, hold
        elif hold is None and path.endswith(".pyc") and self._modules.closed(path):
            folder = self._layout.within(path) or ""
            yield path, self._modules.by_folder[""][folder.partition("/")[0]]

    def _is_namespace(self, path: str) -> bool:
        folder, _, name = (self._layout.within(path) or "").rpartition("/")
        says = self._modules.is_namespace(folder) and name == f"{PACKAGE}.py"
        return says and says_nothing(self._prefix / path)

    def _packages(self, folder: str, hold: NormalizedName) -> Iterator[tuple[str, NormalizedName]]:
        for name, is_folder in self._entries(folder):
            if not is_folder and self._layout.module_in(name) == PACKAGE:
                yield f"{folder}/{name}", hold

    def _unchecked(self, folder: str) -> Iterator[tuple[str, NormalizedName]]:
        for name, _ in self._entries(folder):
            path = f"{folder}/{name}"
            hold = None if path in self._listed else self._modules.shadowed_by(path)
            if hold is not None and _is_unchecked(self._prefix / path):
                yield path, hold


def _is_unchecked(bytecode: Path) -> bool:
    try:
        header = read_head(bytecode, _HEADER_BYTES)
    except OSError:
        return False
    return int.from_bytes(header[4:], "little") == _UNCHECKED
