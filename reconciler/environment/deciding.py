"""What decides, besides the files that are read, what is installed and run in an environment.

Python and uv read some of it without us: the interpreter and what it imports at its start, the
cache, folders of wheels, projects that are built. Looks at names only; starts nothing.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from packaging.requirements import InvalidRequirement

from reconciler.config import EnvironmentConfig
from reconciler.environment.interpreter import Interpreter
from reconciler.files.bounded import read_text
from reconciler.files.deciding import read_deciding_text
from reconciler.files.trust import Insecure
from reconciler.state.bounds import requirement_in
from reconciler.state.desired import Desired
from reconciler.state.locations import local_path
from reconciler.uv.cached import cache_folder

_SYSTEM = "include-system-site-packages"
_PACKAGES = ("site-packages", "dist-packages")
_INDEXES = ("index-url", "extra-index-url", "find-links")
_INDEX_VARIABLES = (
    "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS",
)  # fmt: skip
_REQUIREMENTS = (
    "constraint-dependencies",
    "override-dependencies",
    "build-constraint-dependencies",
)
_MOST_PTH_BYTES = 1024 * 1024


class Deciding(msgspec.Struct, frozen=True):
    """Paths that decide; of `folders` every entry does, of `trees` everything at any depth."""

    paths: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    trees: tuple[Path, ...] = ()

    def __add__(self, other: "Deciding") -> "Deciding":
        return Deciding(
            self.paths + other.paths, self.folders + other.folders, self.trees + other.trees
        )


def environment_paths(pyproject: Path, root: Path, python: Path) -> tuple[Path, ...]:
    """The files and folders of an environment that decide what runs in it.

    Args:
        pyproject: the project file.
        root: the environment's folder.
        python: its interpreter, which may be a symbolic link to somewhere else.
    """
    config, shadowing = root / "pyvenv.cfg", root / "bin" / "pyvenv.cfg"
    # Python looks for pyvenv.cfg beside itself first.
    inside = [config, shadowing, root / "bin", python, root / "lib", *_libraries(root)]
    return (pyproject, root, *inside, root / ".reconciler", *_base(config), *_base(shadowing))


def decided_by_place(
    config: EnvironmentConfig, environ: Mapping[str, str], imported: Iterable[Path] = ()
) -> Deciding:
    """What is known without starting anything.

    Args:
        config: The environment's.
        environ: The environment variables; they say where the configured commands are.
        imported: What the interpreter imports from, once it has said so (`folders_of`).
    """
    root = config.root
    paths = environment_paths(config.pyproject, root, config.python)
    sites = [*_sites(root)]
    if _with_system(root / "pyvenv.cfg"):
        sites += [s for base in _bases(root / "pyvenv.cfg") for s in _sites(base)]
    sites = [*dict.fromkeys([*sites, *imported])]
    commands = tuple(commands_of(config, environ))
    return Deciding((*paths, *_imported(sites), *commands), (*sites, root / ".reconciler"))


def trees_of(config: EnvironmentConfig) -> Deciding:
    """Everything that the interpreter may import at its start."""
    return Deciding(trees=tuple(_sites(config.root)))


def folders_of(interpreter: Interpreter) -> tuple[Path, ...]:
    """The folders that the interpreter imports packages from, as it says itself."""
    return (*interpreter.site_directories, *interpreter.base_directories)


def decided_by_project(
    desired: Desired | None, settings: Mapping[str, Any], environ: Mapping[str, str]
) -> Deciding:
    """The local places that packages come from: projects, wheels, indexes, and uv's cache.

    Args:
        desired: What is declared; None if nothing is known.
        settings: The settings of uv that are in effect.
        environ: The environment variables.
    """
    urls = [*_declared(desired), *_required(settings), *_indexes(settings, environ)]
    places = [place for place in map(_local, urls) if place is not None]
    cache = cache_folder(environ, settings)
    caches = (cache.absolute(),) if cache else ()
    return Deciding((), (*dict.fromkeys(places), *caches))


def commands_of(config: EnvironmentConfig, environ: Mapping[str, str]) -> Iterator[Path]:
    """The programs that the configured commands start, as far as they can be found."""
    commands = [*config.verify, *(it.command for it in config.notify if it.command)]
    for command in commands:
        name = command[0]
        if os.sep in name:
            yield Path(name) if name.startswith(os.sep) else config.root / name
        elif not (config.root / "bin" / name).exists():  # else it is among the environment's own
            import shutil  # noqa: PLC0415 -- slow to import, and few configurations need it

            found = shutil.which(name, path=environ.get("PATH"))
            if found is not None:
                yield Path(found).absolute()


def _libraries(root: Path) -> list[Path]:
    folders = _versions(root)
    return [*folders, *(folder / name for folder in folders for name in _PACKAGES)]


def _versions(root: Path) -> list[Path]:
    """`lib/python3.11`, by each of its names."""
    return [
        path
        for library in (root / "lib", root / "lib64")
        for path in _named(library, lambda name: name.startswith("python"))
    ]


def _named(folder: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """The entries with such a name; a pattern of pathlib's would cost ten times as much."""
    try:
        names = [name for name in os.listdir(folder) if wanted(name)]  # noqa: PTH208
    except OSError:  # it does not exist, or is not a folder
        return []
    return [folder / name for name in sorted(names)]


def _sites(root: Path) -> Iterator[Path]:
    """Where an environment, or a base installation, may have its packages."""
    roots = [root, root / "local"] if root.name == "usr" else [root]
    for folder in roots:
        for library in _versions(folder):
            yield from (library / n for n in _PACKAGES if (library / n).is_dir())


def _base(config: Path) -> Iterator[Path]:
    """The Python that an environment was made from: `home =` decides its standard library."""
    for base in _bases(config):
        yield base
        yield from _versions(base)


def _bases(config: Path) -> Iterator[Path]:
    home = _value(config, "home")
    if home and home.startswith("/"):
        yield Path(home)
        yield Path(os.path.normpath(home)).parent


def _with_system(config: Path) -> bool:
    return _value(config, _SYSTEM).lower() == "true"


def _value(config: Path, key: str) -> str:
    try:
        text = read_deciding_text(config, errors="replace")
    except (OSError, Insecure):  # the file itself is among what is checked
        return ""
    found = re.search(rf"^\s*{key}\s*=[ \t]*(.*?)\s*$", text, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


def _imported(sites: Iterable[Path]) -> Iterator[Path]:
    """The folders that .pth files add to what Python imports."""
    for site in {os.path.realpath(site): site for site in sites}.values():  # lib64 is lib
        for file in _named(site, lambda name: name.endswith(".pth")):
            try:
                lines = read_text(file, _MOST_PTH_BYTES, errors="replace").splitlines()
            except OSError:
                continue
            for line in map(str.strip, lines):
                if line and not line.startswith(("#", "import ", "import\t")) and "\0" not in line:
                    yield site / line


def _declared(desired: Desired | None) -> Iterator[str]:
    for one in desired.requirements if desired else ():
        url = one.requirement.url or (one.source.url if one.source else None)
        if url is not None:
            yield url
        if one.source is not None and one.source.index is not None:
            yield str(one.source.index.get("url", ""))


def _required(settings: Mapping[str, Any]) -> Iterator[str]:
    for key in _REQUIREMENTS:
        entries = settings.get(key)
        for entry in entries if isinstance(entries, list) else ():
            try:
                url = requirement_in(entry).url if isinstance(entry, str) else None
            except InvalidRequirement:
                continue
            if url is not None:
                yield url


def _indexes(settings: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[str]:
    for key in _INDEXES:
        value = settings.get(key)
        yield from (str(each) for each in (value if isinstance(value, list) else [value]) if each)
    tables = settings.get("index")
    for table in tables if isinstance(tables, list) else ():
        if isinstance(table, dict):
            yield str(table.get("url", ""))
    for name in _INDEX_VARIABLES:
        for word in re.split(r"[\s,]+", environ.get(name, "")):
            before, _, after = word.partition("=")
            yield after if after and "/" not in before else word


def _local(url: str) -> Path | None:
    """The absolute path that an address means; a relative one starts where uv is started."""
    url = url.removeprefix("git+").partition("#")[0]
    if url.startswith("file:"):
        path = local_path(url)
        # A revision of a repository follows its path.
        return path if path is None or path.exists() else Path(str(path).rpartition("@")[0] or path)
    return Path(os.path.normpath(url)) if url.startswith("/") else None
