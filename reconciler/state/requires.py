"""What one distribution requires: its `Requires-Dist` lines (PEP 508). Pure.

Most of them belong to an extra that nobody requests, and parsing those was two thirds of the
work of reading an environment. They stay text until they are needed.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.patterns import regex
from reconciler.state.bounds import LONGEST_REQUIREMENT
from reconciler.state.lenient import requirement_of
from reconciler.state.markers import applies

_NAME = regex(r"\s*(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")
# A marker whose last clause, joined to the others by `and`, names exactly one extra.
_FOR_EXTRA = regex(
    r"[^;]*+;\s*+(?:(?:(?!\bor\b|[()]).)*\band\s++|\((?:(?![()]).)*+\)\s*+and\s++)?"
    r"extra\s*+==\s*+(?P<quote>[\"'])(?P<extra>[A-Za-z0-9._-]+)(?P=quote)\s*+"
)
_WORD = regex(r"[A-Za-z0-9._-]+")
_OTHER_OPERATOR = regex(r"!=|~=|[<>]| in ")
_MOST_UNNAMED = 10
"""Requirements of one distribution with a marker like `extra != "x"`; nobody has even one."""


@dataclass(frozen=True, slots=True)
class Requires:
    """The requirements of one distribution; iterating gives all of them.

    `always` are those without an extra, though a marker may exclude them. `for_extras` are the
    lines that apply only with the extra beside them.
    """

    always: tuple[Requirement, ...] = ()
    for_extras: tuple[tuple[NormalizedName, str], ...] = ()
    _indexed: "list[_Index]" = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, lines: Iterable[str]) -> "Requires":
        """From lines of METADATA; a line that is not a requirement is left out."""
        always: list[Requirement] = []
        for_extras: list[tuple[NormalizedName, str]] = []
        for line in lines:
            matched = _FOR_EXTRA.fullmatch(line) if len(line) <= LONGEST_REQUIREMENT else None
            if matched:
                for_extras.append((canonicalize_name(matched["extra"]), line))
            else:
                always.extend(_parsed([line]))
        return cls(tuple(always), tuple(for_extras))

    def with_extras(self, extras: Iterable[str]) -> Iterator[Requirement]:
        """Those that can apply with exactly these extras; markers still have to be evaluated."""
        yield from self.always
        yield from self.only_with(extras)

    def only_with(self, extras: Iterable[str]) -> Iterator[Requirement]:
        """Those of `with_extras` that are for one of these extras."""
        asked = {canonicalize_name(extra) for extra in extras}
        lines = self._index().lines if asked else {}
        numbers = sorted(number for extra in asked for number in lines.get(extra, ()))
        yield from _parsed(self.for_extras[number][1] for number in numbers)

    def applying(
        self, markers: Mapping[str, str], extras: Iterable[str], *, first: bool = True
    ) -> list[Requirement]:
        """Those that apply on the target with these extras, in their order.

        Each marker is evaluated only with the extras that it names: there may be thousands.

        Args:
            markers: The target's PEP 508 environment.
            extras: The extras that are requested.
            first: Whether to give also those that apply without any extra.
        """
        asked = sorted({canonicalize_name(extra) for extra in extras})
        found: set[int] = set()
        if first:
            found.update(n for n, r in enumerate(self.always) if applies(r.marker, markers))
        index = self._index() if asked else _NO_INDEX
        # What `extra != "x"` says of one other extra, it says of all.
        named = [(extra, index.named.get(extra, ())) for extra in asked]
        for extra, numbers in (*named, *((extra, index.unnamed) for extra in asked[:1])):
            found.update(n for n in numbers if applies(self.always[n].marker, markers, extra=extra))
        applying = [self.always[n] for n in sorted(found)]
        by_line = {n: extra for extra in asked for n in index.lines.get(extra, ())}
        for number in sorted(by_line):
            applying += (
                requirement for requirement in _parsed([self.for_extras[number][1]])
                if applies(requirement.marker, markers, extra=by_line[number])
            )  # fmt: skip
        return applying

    def of_any_extra(
        self, names: Container[NormalizedName], markers: Mapping[str, str]
    ) -> Iterator[Requirement]:
        """What its extras may bring on the target, of the packages with these names only."""
        for extra, line in self.for_extras:
            matched = _NAME.match(line)
            if matched and canonicalize_name(matched["name"]) in names:
                for requirement in _parsed([line]):
                    if applies(requirement.marker, markers, extra=extra):
                        yield requirement
        for extra, numbers in self._index().named.items():
            for requirement in (self.always[number] for number in numbers):
                if (
                    canonicalize_name(requirement.name) in names
                    and not applies(requirement.marker, markers)
                    and applies(requirement.marker, markers, extra=extra)
                ):
                    yield requirement

    def _index(self) -> "_Index":
        """Built when an extra is requested for the first time."""
        if not self._indexed:
            self._indexed.append(_Index.of(self))
        return self._indexed[0]

    def names(self) -> Iterator[NormalizedName]:
        """Every package that is named, with any extra."""
        for requirement in self.always:
            yield canonicalize_name(requirement.name)
        for _, line in self.for_extras:
            matched = _NAME.match(line)
            if matched:
                yield canonicalize_name(matched["name"])

    def __iter__(self) -> Iterator[Requirement]:
        yield from self.always
        yield from _parsed(line for _, line in self.for_extras)


NOTHING = Requires()


class _Index(msgspec.Struct, frozen=True):
    """Where the requirements are that an extra may bring: positions by extra."""

    lines: dict[NormalizedName, list[int]] = msgspec.field(default_factory=dict)
    named: dict[NormalizedName, list[int]] = msgspec.field(default_factory=dict)
    """Those among `always` whose marker names the extra, in whatever way."""
    unnamed: list[int] = msgspec.field(default_factory=list)
    """Those among `always` whose marker may be true with an extra that it does not name."""

    @classmethod
    def of(cls, requires: Requires) -> "_Index":
        found = cls()
        for number, (extra, _) in enumerate(requires.for_extras):
            found.lines.setdefault(extra, []).append(number)
        for number, requirement in enumerate(requires.always):
            marker = str(requirement.marker or "")
            if "extra" not in marker:
                continue
            for word in {canonicalize_name(word) for word in _WORD.findall(marker)}:
                found.named.setdefault(word, []).append(number)
            if len(found.unnamed) < _MOST_UNNAMED and _OTHER_OPERATOR.search(marker):
                found.unnamed.append(number)
        return found


_NO_INDEX = _Index()


def _parsed(lines: Iterable[str]) -> Iterator[Requirement]:
    for line in lines:
        requirement = requirement_of(line)
        if requirement is not None:
            yield requirement
