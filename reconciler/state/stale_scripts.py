"""Scripts that start a Python which is gone, and environments that were moved or copied.

An installer writes the path of the environment's interpreter into each script. Nothing but a new
install changes it, so the scripts of a moved environment still point to its old place.
"""

import errno
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from packaging.utils import NormalizedName

from reconciler.files.bounded import read_text
from reconciler.patterns import regex
from reconciler.state.bounds import LONGEST_PATH
from reconciler.state.installed import Distribution, Installed, read_recorded_paths
from reconciler.state.scripts import STARTED_BY_SHELL, beginning_of, scripts_in

_ACTIVATED = regex(r"^[ \t]*(?:export )?VIRTUAL_ENV=(.*)$", re.MULTILINE)
_MOST_TEXT = 1024 * 1024
"""Bytes; an entry_points.txt or an `activate` with more is not read."""


class Moved(msgspec.Struct, frozen=True):
    """An environment that is not where it was created.

    Attributes:
        origin: Where that was.
        copied: Whether there still is something.
        scripts: How many of its scripts start the Python there.
        total: How many scripts it has.
    """

    origin: str
    copied: bool
    scripts: int
    total: int


class StaleScripts(msgspec.Struct, frozen=True):
    """The packages with a script whose interpreter does not exist, and why, in words.

    Without the scripts of a moved environment that point to its old place: it is `moved`.
    """

    broken: Mapping[NormalizedName, str] = msgspec.field(default_factory=dict)
    moved: Moved | None = None


def stale_scripts(installed: Installed, scripts: Path, prefix: Path) -> StaleScripts:
    """Find them; opens each script once, and a RECORD only if a script is stale.

    Args:
        installed: What is installed in the environment.
        scripts: Its folder of scripts.
        prefix: The environment, without symbolic links.
    """
    started = dict(scripts_in(scripts))
    dead = {name: python for name, python in started.items() if _is_gone(python)}
    owners = _owners(installed, scripts, dead) if dead else {}
    origin = _activated_elsewhere(scripts, prefix) or _most_point_to(started, dead, owners)
    moved = None
    if origin is not None:
        there = {name for name, python in started.items() if python.startswith(f"{origin}/bin/")}
        dead = {name: python for name, python in dead.items() if name not in there}
        moved = Moved(_shown(origin), os.path.lexists(origin), len(there), len(started))
    return StaleScripts(_broken(dead, owners, scripts), moved)


def _owners(installed: Installed, scripts: Path, names: Iterable[str]) -> dict[str, Distribution]:
    wanted = {f"{scripts}/{name}": name for name in names}
    return {
        wanted[path]: distribution
        for distribution in installed.distributions.values()
        for path in _recorded(distribution)
        if path in wanted
    }


def _recorded(distribution: Distribution) -> tuple[str, ...]:
    with suppress(OSError, ValueError):  # its defect is reported
        return () if distribution.legacy else read_recorded_paths(distribution.info)
    return ()


def _activated_elsewhere(scripts: Path, prefix: Path) -> str | None:
    """The environment that `bin/activate` activates, if it is not this one."""
    try:
        text = read_text(scripts / "activate", _MOST_TEXT, errors="surrogateescape")
    except OSError:
        return None
    for value in _ACTIVATED.findall(text):
        if len(value) > LONGEST_PATH:
            continue
        try:
            words = shlex.split(value)
        except ValueError:
            continue
        if len(words) == 1 and words[0].startswith("/"):
            return None if _is_same(words[0], prefix) else os.path.normpath(words[0])
    return None


def _is_same(folder: str, prefix: Path) -> bool:
    if _is_gone(folder):
        return False
    with suppress(OSError):
        return os.path.samefile(folder, prefix)  # noqa: PTH121
    return True  # who may not look there cannot tell


def _shown(path: str) -> str:
    """A path for people and JSON, even if it is not text."""
    return os.fsencode(path).decode("utf-8", "replace")


def _is_gone(path: str) -> bool:
    try:
        os.stat(path)  # noqa: PTH116 -- takes any text
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
    except ValueError:  # a null character
        return True
    return False


def _most_point_to(
    started: Mapping[str, str], dead: Mapping[str, str], owners: Mapping[str, Distribution]
) -> str | None:
    """The place that is gone and that most scripts point to, those of several packages."""
    places = Counter(os.path.dirname(os.path.dirname(python)) for python in dead.values())  # noqa: PTH120
    for place, count in places.most_common(1):
        packages = {d.name for n, d in owners.items() if dead[n].startswith(f"{place}/")}
        if 2 * count > len(started) and len(packages) > 1 and not os.path.lexists(place):
            return place
    return None


def _broken(
    dead: Mapping[str, str], owners: Mapping[str, Distribution], scripts: Path
) -> dict[NormalizedName, str]:
    """The packages that a reinstall repairs: it would not change a script that a wheel brings."""
    written = {name for name in dead if _is_written(name, dead[name], owners.get(name), scripts)}
    pythons = {dead[name] for name in written}
    broken: dict[NormalizedName, str] = {}
    for name, python in dead.items():
        if name in owners and python in pythons:
            why = f"its script {_shown(name)} starts {_shown(python)}, which does not exist"
            broken.setdefault(owners[name].name, why)
    return broken


def _is_written(name: str, python: str, owner: Distribution | None, scripts: Path) -> bool:
    """Whether an installer wrote this script's first line, as far as one can tell."""
    if owner is not None and name in _entry_points(owner):
        return True
    by_shell = beginning_of(scripts / name).startswith(STARTED_BY_SHELL)
    return by_shell or os.path.dirname(python) == str(scripts)  # noqa: PTH120


def _entry_points(distribution: Distribution) -> Iterator[str]:
    with suppress(OSError, ValueError):
        yield from entry_points_in(read_text(distribution.info / "entry_points.txt", _MOST_TEXT))


def entry_points_in(text: str) -> Iterator[str]:
    """The names of the entry points in an `entry_points.txt`, of any group."""
    for line in text.splitlines():
        name, equals, _ = line.partition("=")
        if equals and name.strip() and name.lstrip()[0] not in "[#;":
            yield name.strip()
