"""Which packages are held: the configured names, and what those need to run.

Pure: from the configured patterns and the installed state to the set of names that no
reconciliation may install, upgrade, reinstall or remove.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from urllib.parse import unquote

import msgspec
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import (
    NormalizedName,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from reconciler.state.closure import Closure, closure_of, closure_of_pins
from reconciler.state.installed import Distribution, Installed
from reconciler.state.locations import parts_of
from reconciler.status import Because

_WHY = {
    Because.PINNED: "requires just this release of it",
    Because.COMPATIBLE: "requires this line of releases of it",
    Because.LINKED: "has a library that loads one of it",
    Because.DEVICE: "has its code for the GPU in it",
}


class HoldClosure(StrEnum):
    """How much is held with a hold: what it needs to run, or only what it pins exactly."""

    RUNTIME = "runtime"
    PINS = "pins"


class Held(msgspec.Struct, frozen=True):
    """An installed package that is held.

    `pinned_by` is the held package through which it is reached, and `because` is why it belongs
    to that one: both are None for a package that the configuration names. `extras` are those of
    its extras that other holds ask for.
    """

    distribution: Distribution
    pinned_by: NormalizedName | None = None
    extras: frozenset[NormalizedName] = frozenset()
    because: Because | None = None

    @property
    def name(self) -> NormalizedName:
        """Its name, by PEP 503."""
        return self.distribution.name

    @property
    def version(self) -> Version:
        """Its installed version."""
        return self.distribution.version

    @property
    def pin(self) -> str:
        """The requirement that only this version satisfies."""
        return f"{self.name}=={self.version}"

    @property
    def why(self) -> str | None:
        """Why it is held, if the configuration does not name it: `torch requires ...`."""
        return f"{self.pinned_by} {_WHY[self.because]}" if self.because else None


class HoldSet(msgspec.Struct, frozen=True):
    """Everything that is held in one environment.

    `patterns` are the configured names and globs. A name that matches one is held even if
    nothing of that name is installed: it is never installed either.
    """

    patterns: tuple[str, ...]
    held: Mapping[NormalizedName, Held]
    closure: HoldClosure = HoldClosure.RUNTIME

    def covers(self, name: NormalizedName) -> bool:
        """Whether the package of that name must not be changed."""
        return name in self.held or matches(name, self.patterns)

    def missing(self, names: Iterable[NormalizedName]) -> frozenset[NormalizedName]:
        """Those of `names`, and of the plain configured names, that are held but not installed."""
        plain = {NormalizedName(p) for p in self.patterns if not _is_glob(p)}
        return frozenset(n for n in plain | set(names) if n not in self.held and self.covers(n))


def _is_glob(pattern: str) -> bool:
    return any(c in pattern for c in "*?[")


def matches(name: NormalizedName, patterns: Iterable[str]) -> bool:
    """Whether a normalized name is one of the configured names or globs."""
    return any(name == p or (_is_glob(p) and fnmatchcase(name, p)) for p in patterns)


def hold_set(
    patterns: Sequence[str],
    installed: Installed,
    markers: Mapping[str, str],
    closure: HoldClosure = HoldClosure.RUNTIME,
    settled: Mapping[NormalizedName, NormalizedName] | None = None,
) -> HoldSet:
    """The hold set: what `patterns` match and, transitively, what belongs to that.

    Args:
        patterns: Names and globs, already normalized by PEP 503.
        installed: The environment.
        markers: The target's PEP 508 environment.
        closure: How much belongs to a hold.
        settled: What is known to belong to which hold, so that no library is read for it.
    """
    names = [name for name in installed.distributions if matches(name, patterns)]
    if closure is HoldClosure.RUNTIME:
        found = closure_of(names, installed, markers, settled or {})
    else:
        found = closure_of_pins(names, installed, markers)
    held = {name: _held(name, found, installed) for name in (*names, *found.members)}
    return HoldSet(tuple(patterns), held, closure)


def _held(name: NormalizedName, closure: Closure, installed: Installed) -> Held:
    member = closure.members.get(name)
    return Held(
        installed.distributions[name],
        member.through if member else None,
        closure.extras.get(name, frozenset()),
        member.because if member else None,
    )


def version_at(url: str) -> Version | None:
    """The version in the file name of a URL; None for git, a folder, or any other file."""
    name = unquote(parts_of(url).path).rpartition("/")[2]
    try:
        if name.endswith(".whl"):
            return parse_wheel_filename(name)[1]
        return parse_sdist_filename(name)[1]
    except ValueError:  # or a number with too many digits
        return None


def is_build_at(version: Version, url: str) -> bool:
    """Whether the held build may be the one at a URL: only its file name can tell."""
    there = version_at(url)
    return there is None or SpecifierSet(f"=={there}").contains(version, prereleases=True)


def companions_of(name: NormalizedName, holds: Iterable[Held]) -> list[Held]:
    """What is held because of one hold: what belongs to it, and what belongs to that in turn."""
    by_holder: dict[NormalizedName | None, list[Held]] = {}
    for hold in holds:
        by_holder.setdefault(hold.pinned_by, []).append(hold)
    found: list[Held] = []
    seen = {name}
    waiting = [name]
    for holder in waiting:
        pinned = [h for h in by_holder.get(holder, ()) if h.name not in seen]
        found += pinned
        seen.update(h.name for h in pinned)
        waiting += [h.name for h in pinned]
    return found


def requires_of(
    distribution: Distribution,
    markers: Mapping[str, str],
    extras: Iterable[str] = (),
    *,
    first: bool = True,
) -> list[Requirement]:
    """What a distribution requires on the target, with the given extras.

    Args:
        distribution: The distribution.
        markers: The target's PEP 508 environment.
        extras: The extras that are requested.
        first: Whether to give also what it requires without any extra. Without it, a caller that
            comes to know the extras one by one is not given the same requirements each time.
    """
    return distribution.requires.applying(markers, extras, first=first)
