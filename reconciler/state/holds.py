"""Which packages are held: the configured names, and what those pin exactly.

Pure: from the configured patterns and the installed state to the set of names that no
reconciliation may install, upgrade, reinstall or remove.
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from urllib.parse import unquote

import msgspec
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import (
    NormalizedName,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from reconciler.state.bounds import version_in
from reconciler.state.installed import Distribution, Installed
from reconciler.state.locations import parts_of

_FULL_RELEASE = 3
"""With at least this many numbers, a version before `.*` may be a complete one."""


class Held(msgspec.Struct, frozen=True):
    """An installed package that is held.

    `pinned_by` is the hold that needs just this version; `extras` are those of its extras
    that other holds ask for.
    """

    distribution: Distribution
    pinned_by: NormalizedName | None = None
    extras: frozenset[NormalizedName] = frozenset()

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


class HoldSet(msgspec.Struct, frozen=True):
    """Everything that is held in one environment.

    `patterns` are the configured names and globs. A name that matches one is held even if
    nothing of that name is installed: it is never installed either.
    """

    patterns: tuple[str, ...]
    held: Mapping[NormalizedName, Held]

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


def hold_set(patterns: Sequence[str], installed: Installed, markers: Mapping[str, str]) -> HoldSet:
    """The hold set: what `patterns` match and, transitively, what held packages pin exactly.

    Args:
        patterns: Names and globs, already normalized by PEP 503.
        installed: The environment.
        markers: The target's PEP 508 environment.
    """
    names = [name for name in installed.distributions if matches(name, patterns)]
    pinned_by: dict[NormalizedName, NormalizedName | None] = dict.fromkeys(names)
    extras: dict[NormalizedName, set[NormalizedName]] = {name: set() for name in names}
    asked: dict[NormalizedName, set[NormalizedName]] = {}
    waiting = names
    while waiting:
        holder = installed.distributions[waiting.pop()]
        first = holder.name not in asked
        fresh = extras[holder.name] - asked.setdefault(holder.name, set())
        if not first and not fresh:
            continue
        asked[holder.name] |= fresh
        for requirement in requires_of(holder, markers, sorted(fresh), first=first):
            pinned = installed.get(requirement.name)
            if pinned is None:
                continue
            if pinned.name not in pinned_by:
                if not _pins(requirement, pinned.version):
                    continue
                pinned_by[pinned.name] = holder.name
                waiting.append(pinned.name)
            # torch requires `cuda-toolkit[cublas]==13.0.3`, which pins the library.
            more = {canonicalize_name(e) for e in requirement.extras}
            known = extras.setdefault(pinned.name, set())
            if not more <= known:
                known |= more
                waiting.append(pinned.name)
    held = {
        name: Held(installed.distributions[name], by, frozenset(extras[name]))
        for name, by in pinned_by.items()
    }
    return HoldSet(tuple(patterns), held)


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
    """What is held because of one hold: what it pins, and what that pins in turn."""
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


def _pins(requirement: Requirement, version: Version) -> bool:
    """Whether `requirement` is an exact pin that `version` satisfies (PEP 440, `==` and `===`).

    `==13.1.1.3.*` is one for 13.1.1.3, as in NVIDIA's metadata; `==2.3.*` for 2.3.1 is not.
    """
    clauses = list(requirement.specifier)
    if len(clauses) != 1 or clauses[0].operator not in ("==", "==="):
        return False
    text = clauses[0].version
    pinned = version_in(text.removesuffix(".*"))
    if pinned is None:
        return False
    if text.endswith(".*") and not (
        len(pinned.release) >= _FULL_RELEASE and pinned.release == version.release
    ):
        return False
    return clauses[0].contains(version, prereleases=True)
