"""One requirement that a project declares, and where. Pure."""

import re
from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.patterns import regex
from reconciler.state.markers import applies
from reconciler.state.sources import Source
from reconciler.status import Problem

_SPECIFIER = regex(
    r"\s*+[A-Za-z0-9._-]++\s*+(?:\[[^]]*+\])?+\s*+\(?+([^;@)]*+)\)?+\s*+(?:;.*)?", re.DOTALL
)


class Declared(msgspec.Struct, frozen=True):
    """One requirement that the project declares, and where.

    `specifier` is the version specifier as written, with its clauses in that order. `unusable`
    says why its source cannot be used: then it may come from nowhere, and stays as it is.
    """

    requirement: Requirement
    origin: str
    source: Source | None = None
    line: int | None = None
    specifier: str = ""
    unusable: Problem | None = None
    also: tuple[str, ...] = ()
    """Where else the same is declared."""
    hashes: tuple[str, ...] = ()
    """The files that it may be installed from, as `ALGORITHM:DIGEST`; empty means any."""

    @property
    def origins(self) -> tuple[str, ...]:
        """Everywhere it is declared."""
        return (self.origin, *self.also)

    @property
    def name(self) -> NormalizedName:
        """The required package, by PEP 503."""
        return canonicalize_name(self.requirement.name)

    @property
    def text(self) -> str:
        """The requirement as written, without its marker."""
        requirement = self.requirement
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        place = f" @ {requirement.url}" if requirement.url else self.specifier
        return f"{requirement.name}{extras}{place}"


def each_once(declared: Iterable[Declared], markers: Mapping[str, str]) -> tuple[Declared, ...]:
    """The same requirement in several places is one, with all its origins."""
    found: dict[tuple[object, ...], Declared] = {}
    also: dict[tuple[object, ...], list[str]] = {}
    for one in declared:
        requirement, source = one.requirement, one.source
        extras = frozenset(map(canonicalize_name, requirement.extras))
        excluded = None if applies(requirement.marker, markers) else str(requirement.marker)
        key = (
            one.name,
            extras,
            requirement.specifier,
            requirement.url,
            repr(source),
            excluded,
            one.unusable,
            one.hashes,
        )
        if found.setdefault(key, one) is not one:
            also.setdefault(key, []).append(one.origin)
    return tuple(
        replace(one, also=(*one.also, *also[key])) if key in also else one
        for key, one in found.items()
    )


def specifier_in(literal: str) -> str:
    """The specifier of a valid requirement, in its written order."""
    found = _SPECIFIER.fullmatch(literal)
    return re.sub(r"\s+", "", found[1]) if found else ""
