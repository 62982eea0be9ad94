"""Which modules held packages provide, and what else Python could import in their place.

Pure: from the paths of held files. It goes by how the target's Python imports: in each folder,
a package before extension modules, these before source, and source before bytecode.
"""

from collections import defaultdict
from collections.abc import Container, Mapping
from functools import cached_property

import msgspec
from packaging.utils import NormalizedName

PACKAGE = "__init__"
BYTECODE = "__pycache__"
_SUFFIXES = (".so", ".py", ".pyc")


class ImportLayout(msgspec.Struct, frozen=True):
    """Where a Python imports from, relative to its environment, and the endings of modules.

    Attributes:
        sites: The site-packages folders.
        scripts: The folder of scripts: the first that Python searches for a script in it.
        suffixes: The endings of what it imports, as `.cpython-311-x86_64-linux-gnu.so`.
    """

    sites: tuple[str, ...]
    scripts: str
    suffixes: tuple[str, ...] = _SUFFIXES

    def within(self, path: str) -> str | None:
        """A path relative to the folder that Python would import it from; None if to none."""
        for folder in (*self.sites, self.scripts):
            if path.startswith(f"{folder}/"):
                return path[len(folder) + 1 :]
        return None

    def leads_to_imports(self, folder: str) -> bool:
        """Whether a folder is one that Python imports from, or one above it."""
        return any(f"{one}/".startswith(f"{folder}/") for one in (*self.sites, self.scripts))

    def module_in(self, name: str) -> str | None:
        """The module that a file of that name is, or None."""
        found = [suffix for suffix in self.suffixes if name.endswith(suffix)]
        return name[: -max(map(len, found))] or None if found else None


class HeldModules(msgspec.Struct, frozen=True, dict=True):
    """The modules of held packages.

    Attributes:
        files: The hold of each held file, by path relative to the environment.
        layout: Where Python imports from.
    """

    files: Mapping[str, NormalizedName]
    layout: ImportLayout

    @cached_property
    def by_folder(self) -> Mapping[str, Mapping[str, NormalizedName]]:
        """For each folder, relative to what Python imports from, the modules and packages in it."""
        found: dict[str, dict[str, NormalizedName]] = defaultdict(dict)
        for path, hold in self.files.items():
            inside = self._site_path(path)
            if inside is None:
                continue
            folder, _, name = inside.rpartition("/")
            module = self.layout.module_in(name)
            if module is not None:
                found[folder].setdefault(module, hold)
            while folder:  # a folder is a package, or a part of a namespace
                folder, _, module = folder.rpartition("/")
                if module in found[folder]:
                    break
                found[folder][module] = hold
        return found

    @cached_property
    def folders(self) -> frozenset[str]:
        """Every folder with a held file below it, relative to what Python imports from."""
        found: set[str] = set()
        for path in self.files:
            folder = (self._site_path(path) or "").rpartition("/")[0]
            while folder and folder not in found:
                found.add(folder)
                folder = folder.rpartition("/")[0]
        return frozenset(found)

    def _site_path(self, path: str) -> str | None:
        is_script = path.startswith(f"{self.layout.scripts}/")
        return None if is_script else self.layout.within(path)

    def shadowed_by(self, path: str) -> NormalizedName | None:
        """The hold of which Python might import this file instead of a module."""
        inside = self.layout.within(path)
        if inside is None or path in self.files:
            return None
        folder, _, name = inside.rpartition("/")
        above, _, last = folder.rpartition("/")
        if last == BYTECODE:
            return self._of(above, name.partition(".")[0] if name.endswith(".pyc") else None)
        module = self.layout.module_in(name)
        if module == PACKAGE:  # it makes the folder what the folder above imports by that name
            return self._of(folder, module) or self._of(above, last)
        return self._of(folder, module)

    def _of(self, folder: str, module: str | None) -> NormalizedName | None:
        return self.by_folder.get(folder, {}).get(module) if module else None

    def is_namespace(self, folder: str) -> bool:
        """Whether held files are in a folder that has no `__init__` of a hold."""
        return folder in self.folders and PACKAGE not in self.by_folder.get(folder, {})

    def closed(self, path: str, shared: Container[str] = ()) -> str | None:
        """The outermost folder around a path that is not a namespace of several packages.

        Args:
            path: A file, relative to the environment.
            shared: The top-level folders whose `__init__` has no code: packages share such a
                folder as well.

        Returns:
            The folder, relative to what Python imports from; None if there is no such one.
        """
        parts = (self._site_path(path) or "").split("/")[:-1]
        for count in range(1, len(parts) + 1):
            folder = "/".join(parts[:count])
            if folder not in self.folders:
                return None
            if count == 1 and not folder.isidentifier():
                return folder  # libraries or metadata, which no namespace has
            if not self.is_namespace(folder) and (count > 1 or folder not in shared):
                return folder
        return None
