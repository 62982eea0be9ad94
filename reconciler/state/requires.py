"""What one distribution requires: its `Requires-Dist` lines (PEP 508). Pure.

Most of them belong to an extra that nobody requests, and parsing those was two thirds of the
work of reading an environment. They stay text until they are needed.
"""

import re
from collections.abc import Iterable, Iterator

import msgspec
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.state.lenient import requirement_of

_NAME = re.compile(r"\s*(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")
# A marker whose last clause, joined to the others by `and`, names exactly one extra.
_FOR_EXTRA = re.compile(
    r"[^;]*;\s*(?:(?:(?!\bor\b|[()]).)*\band\s+|\((?:(?![()]).)*\)\s*and\s+)?"
    r"extra\s*==\s*(?P<quote>[\"'])(?P<extra>[A-Za-z0-9._-]+)(?P=quote)\s*"
)


class Requires(msgspec.Struct, frozen=True):
    """The requirements of one distribution; iterating gives all of them.

    `always` are those without an extra, though a marker may exclude them. `for_extras` are the
    lines that apply only with the extra beside them.
    """

    always: tuple[Requirement, ...] = ()
    for_extras: tuple[tuple[NormalizedName, str], ...] = ()

    @classmethod
    def of(cls, lines: Iterable[str]) -> "Requires":
        """From lines of METADATA; a line that is not a requirement is left out."""
        always: list[Requirement] = []
        for_extras: list[tuple[NormalizedName, str]] = []
        for line in lines:
            matched = _FOR_EXTRA.fullmatch(line)
            if matched:
                for_extras.append((canonicalize_name(matched["extra"]), line))
            else:
                always.extend(_parsed([line]))
        return cls(tuple(always), tuple(for_extras))

    def with_extras(self, extras: Iterable[str]) -> Iterator[Requirement]:
        """Those that can apply with exactly these extras; markers still have to be evaluated."""
        yield from self.always
        asked = {canonicalize_name(extra) for extra in extras}
        yield from _parsed(line for extra, line in self.for_extras if extra in asked)

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


def _parsed(lines: Iterable[str]) -> Iterator[Requirement]:
    for line in lines:
        requirement = requirement_of(line)
        if requirement is not None:
            yield requirement
