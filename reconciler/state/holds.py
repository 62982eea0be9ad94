"""Which packages are held: the configured names, and what those pin exactly.

Pure: from the configured patterns and the installed state to the set of names that no
reconciliation may install, upgrade, reinstall or remove.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    NormalizedName,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from reconciler.state.installed import Distribution, Installed
from reconciler.state.markers import applies

_FULL_RELEASE = 3
"""With at least this many numbers, a version before `.*` may be a complete one."""


@dataclass(frozen=True, slots=True)
class Held:
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


@dataclass(frozen=True)
class HoldSet:
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
    held = {
        name: Held(distribution)
        for name, distribution in installed.distributions.items()
        if matches(name, patterns)
    }
    waiting = list(held)
    while waiting:
        holder = held[waiting.pop()]
        for requirement in requires_of(holder.distribution, markers, sorted(holder.extras)):
            pinned = installed.get(requirement.name)
            if pinned is None or not (pinned.name in held or _pins(requirement, pinned.version)):
                continue
            known = held.get(pinned.name)
            found = known or Held(pinned, pinned_by=holder.name)
            # torch requires `cuda-toolkit[cublas]==13.0.3`, which pins the library.
            extras = found.extras | {canonicalize_name(e) for e in requirement.extras}
            held[pinned.name] = replace(found, extras=extras)
            if held[pinned.name] != known:
                waiting.append(pinned.name)
    return HoldSet(tuple(patterns), held)


def version_at(url: str) -> Version | None:
    """The version in the file name of a URL; None for git, a folder, or any other file."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    try:
        if name.endswith(".whl"):
            return parse_wheel_filename(name)[1]
        return parse_sdist_filename(name)[1]
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None


def is_build_at(version: Version, url: str) -> bool:
    """Whether the held build may be the one at a URL: only its file name can tell."""
    there = version_at(url)
    return there is None or SpecifierSet(f"=={there}").contains(version, prereleases=True)


def companions_of(name: NormalizedName, holds: Iterable[Held]) -> list[Held]:
    """What is held because of one hold: what it pins, and what that pins in turn."""
    found: list[Held] = []
    waiting = [name]
    for holder in waiting:
        pinned = [h for h in holds if h.pinned_by == holder and h.name not in waiting]
        found += pinned
        waiting += [h.name for h in pinned]
    return found


def requires_of(
    distribution: Distribution, markers: Mapping[str, str], extras: Iterable[str] = ()
) -> list[Requirement]:
    """What a distribution requires on the target, with the given extras."""
    asked = ("", *extras)
    return [
        r
        for r in distribution.requires.with_extras(extras)
        if any(applies(r.marker, markers, extra=extra) for extra in asked)
    ]


def _pins(requirement: Requirement, version: Version) -> bool:
    """Whether `requirement` is an exact pin that `version` satisfies (PEP 440, `==` and `===`).

    `==13.1.1.3.*` is one for 13.1.1.3, as in NVIDIA's metadata; `==2.3.*` for 2.3.1 is not.
    """
    clauses = list(requirement.specifier)
    if len(clauses) != 1 or clauses[0].operator not in ("==", "==="):
        return False
    text = clauses[0].version
    try:
        pinned = Version(text.removesuffix(".*"))
    except InvalidVersion:
        return False
    if text.endswith(".*") and not (
        len(pinned.release) >= _FULL_RELEASE and pinned.release == version.release
    ):
        return False
    return clauses[0].contains(version, prereleases=True)
