"""Which modules of an installed package should be importable: what it offers to others.

Goes by its metadata (PEP 794), its RECORD, or what setuptools left in `top_level.txt`. What is
private, a test, or a program of its own is not among them.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import msgspec

from reconciler.files.bounded import read_bytes, read_text
from reconciler.state.held_modules import BYTECODE, PACKAGE, ImportLayout
from reconciler.state.installed import Distribution, read_recorded_paths
from reconciler.state.metadata_headers import headers_of

MOST_MODULES = 20
"""Of one package."""
_EMPTY_BYTES = 200
"""An `__init__` of at most this size imports next to nothing, so what is beside it is tried."""
_MOST_BYTES = 1024 * 1024
_DEEPEST = 4
_NOT_OFFERED = frozenset({
    "test", "tests", "testing", "conftest", "setup", "doc", "docs", "example", "examples",
    "benchmark", "benchmarks", "script", "scripts", "bin", "noxfile", "tasks",
})  # fmt: skip


def modules_of(distribution: Distribution, layout: ImportLayout) -> tuple[str, ...]:
    """The names of its modules, as `import` takes them; at most `MOST_MODULES`.

    Args:
        distribution: The package, in any tree.
        layout: How the target's Python names modules.
    """
    if distribution.unseen is not None:
        return ()
    recorded = _recorded(distribution, layout)
    stated = _stated(distribution)
    if stated is not None:
        there = recorded.has if recorded else _is_offered
        found = tuple(name for name in stated if _is_offered(name) and there(name))
    elif recorded:
        found = tuple(recorded.offered(f"{distribution.info.parent}/"))
    else:
        found = _top_level(distribution)
    return found[:MOST_MODULES]


def _stated(distribution: Distribution) -> tuple[str, ...] | None:
    """What its metadata says (PEP 794); None if nothing."""
    try:
        head = read_bytes(distribution.info / "METADATA", _MOST_BYTES).partition(b"\n\n")[0]
    except OSError:
        return None
    if b"\nimport-name" not in head.lower():
        return None
    stated = [line.partition(";") for line in headers_of(head)["import-name"]]
    return tuple(name.strip() for name, _, kind in stated if kind.strip() != "private")


def _top_level(distribution: Distribution) -> tuple[str, ...]:
    """What setuptools wrote: of a project that is installed as a link, or long ago."""
    try:
        text = read_text(distribution.info / "top_level.txt", _MOST_BYTES)
    except (OSError, UnicodeDecodeError):
        return ()
    names = (line.strip().replace("/", ".") for line in text.splitlines())
    return tuple(filter(_is_offered, names))


def _recorded(distribution: Distribution, layout: ImportLayout) -> "_Folder | None":
    """The modules in its RECORD; None if it has none, as a project that is installed as a link."""
    try:
        paths = () if distribution.legacy else read_recorded_paths(distribution.info)
    except (OSError, ValueError):
        return None
    site = f"{distribution.info.parent}/"
    inside = (path[len(site) :].split("/") for path in paths if path.startswith(site))
    folder = _Folder.of(inside, layout)
    return folder if folder.modules or folder.folders else None


class _Folder(msgspec.Struct):
    """The modules and folders in a folder, by name."""

    modules: set[str] = msgspec.field(default_factory=set)
    folders: "dict[str, _Folder]" = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, paths: Iterable[Sequence[str]], layout: ImportLayout) -> "_Folder":
        """The folder with these files; without what is too deep, or in no package."""
        root = cls()
        for *folders, name in paths:
            module = layout.module_in(name)
            if module is None or len(folders) > _DEEPEST or not all(map(_is_part, folders)):
                continue
            there = root
            for folder in folders:
                there = there.folders.setdefault(folder, cls())
            there.modules.add(module)
        return root

    def has(self, dotted: str) -> bool:
        """Whether there is a module, a package or a namespace of that name."""
        name, _, rest = dotted.partition(".")
        inside = self.folders.get(name)
        if rest:
            return inside is not None and inside.has(rest)
        return inside is not None or name in self.modules

    def offered(self, path: str, dotted: str = "") -> Iterator[str]:
        """The modules in it; of a folder that is not a package itself, those in that one.

        Args:
            path: Where it is, ending in a slash.
            dotted: The name of this folder for `import`, ending in a dot.
        """
        yield from (dotted + name for name in sorted(self.modules) if _is_offered(name))
        for name, folder in sorted(self.folders.items()):
            if not _is_offered(name):
                continue
            if PACKAGE not in folder.modules:
                yield from folder.offered(f"{path}{name}/", f"{dotted}{name}.")
                continue
            yield dotted + name
            if _imports_nothing(f"{path}{name}/__init__.py"):
                yield from (f"{dotted}{name}.{module}" for module in folder.beside_it())

    def beside_it(self) -> Iterator[str]:
        """The modules and packages directly in a package."""
        packages = (name for name, one in self.folders.items() if PACKAGE in one.modules)
        yield from sorted(filter(_is_offered, {*self.modules, *packages}))


def _is_part(folder: str) -> bool:
    return folder.isidentifier() and folder != BYTECODE


def _is_offered(name: str) -> bool:
    """Whether a module of that name is for others."""
    parts = name.split(".")
    return all(map(str.isidentifier, parts)) and not any(
        part.startswith(("_", "test_"))
        or part.endswith(("_test", "_tests"))
        or part in _NOT_OFFERED
        for part in parts
    )


def _imports_nothing(path: str) -> bool:
    with suppress(OSError):
        return os.stat(path).st_size <= _EMPTY_BYTES  # noqa: PTH116
    return False
