"""The closure of a hold: what it needs to run on the accelerator, and why each part belongs to it.

Pure, except that it reads lists of files, and a few libraries where only those can tell. Goes by
metadata and files; there is no list of names. What is not part of it may move within the bounds
that the hold declares: numpy, sympy, jinja2.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from posixpath import join, normpath

import msgspec
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from reconciler.files.shared_objects import SharedObject, read_shared_object
from reconciler.state.bounds import version_in
from reconciler.state.distribution import Distribution
from reconciler.state.installed import Installed
from reconciler.state.payload import payload_of
from reconciler.status import Because

_FULL_RELEASE = 3
"""With at least this many numbers, a version before `.*` may be a complete one."""
_ORIGIN = ("$ORIGIN", "${ORIGIN}")


class HeldWith(msgspec.Struct, frozen=True):
    """A package that is held because of a hold."""

    through: NormalizedName
    """The hold or the member that requires it."""
    because: Because


class Closure(msgspec.Struct, frozen=True):
    """The members, in the order in which they were found, and the extras that are asked for."""

    members: Mapping[NormalizedName, HeldWith]
    extras: Mapping[NormalizedName, frozenset[NormalizedName]]


class _Edge(msgspec.Struct, frozen=True):
    """A requirement of a held package on an installed one."""

    holder: NormalizedName
    requirement: Requirement
    target: Distribution
    optional: bool
    """Whether it is that of an extra that no held package asks for."""


def closure_of(
    roots: Iterable[NormalizedName],
    installed: Installed,
    markers: Mapping[str, str],
    settled: Mapping[NormalizedName, NormalizedName],
) -> Closure:
    """What the roots need to run.

    Args:
        roots: The installed packages that the configuration holds.
        installed: The environment.
        markers: The target's PEP 508 environment.
        settled: Packages of which it is known that a library of a hold loads theirs, and the hold.
    """
    return _Runtime(list(roots), installed, markers, settled).found()


def closure_of_pins(
    roots: Iterable[NormalizedName], installed: Installed, markers: Mapping[str, str]
) -> Closure:
    """Only what the roots pin exactly, and what that pins in turn; arguments as above."""
    return _Pins(list(roots), installed, markers).found()


class _Search:
    """Follows the requirements of what is held; the subclasses say what belongs to it."""

    def __init__(
        self, roots: list[NormalizedName], installed: Installed, markers: Mapping[str, str]
    ) -> None:
        self._roots = dict.fromkeys(roots)
        self._installed = installed
        self._markers = markers
        self.members: dict[NormalizedName, HeldWith] = {}
        self.extras: dict[NormalizedName, set[NormalizedName]] = {}
        self._asked: dict[NormalizedName, set[NormalizedName]] = {}
        self._open: dict[NormalizedName, list[_Edge]] = {}
        """What is required and not held so far: a library of it may be needed."""
        self._waiting = deque(roots)

    def found(self) -> Closure:
        while self._waiting:
            while self._waiting:
                name = self._waiting.popleft()
                for edge in self._edges(self._installed.distributions[name]):
                    self._follow(edge)
            self._add_linked()
        extras = {name: frozenset(asked) for name, asked in self.extras.items() if asked}
        return Closure(self.members, extras)

    def _reason(self, edge: _Edge) -> Because | None:
        """Why the metadata says that the target belongs to what is held, or None."""
        raise NotImplementedError

    def _add_linked(self) -> None:
        """Add what metadata alone does not show."""

    def _edges(self, holder: Distribution) -> Iterator[_Edge]:
        """What a held package requires, with the extras that have come to be asked for."""
        extras = self.extras.get(holder.name, set())
        first = holder.name not in self._asked
        fresh = extras - self._asked.setdefault(holder.name, set())
        self._asked[holder.name] |= fresh
        if not first and not fresh:
            return
        for requirement in holder.requires.applying(self._markers, sorted(fresh), first=first):
            target = self._installed.get(requirement.name)
            if target is not None:
                yield _Edge(holder.name, requirement, target, optional=False)
        if first:
            known = self._installed.distributions
            for requirement in holder.requires.of_any_extra(known, self._markers):
                target = known[canonicalize_name(requirement.name)]
                yield _Edge(holder.name, requirement, target, optional=True)

    def _follow(self, edge: _Edge) -> None:
        name = edge.target.name
        if name not in self._roots and name not in self.members:
            if not edge.requirement.specifier.contains(edge.target.version, prereleases=True):
                return
            because = self._reason(edge)
            if because is None:
                self._open.setdefault(name, []).append(edge)
                return
            self._add(name, edge.holder, because)
        if not edge.optional:  # torch requires `cuda-toolkit[cublas]==13.0.3`
            self._ask(name, _extras_of(edge.requirement))

    def _add(self, name: NormalizedName, through: NormalizedName, because: Because) -> None:
        self.members[name] = HeldWith(through, because)
        self._waiting.append(name)
        for edge in self._open.pop(name, ()):
            if not edge.optional:
                self._ask(name, _extras_of(edge.requirement))

    def _ask(self, name: NormalizedName, extras: frozenset[NormalizedName]) -> None:
        known = self.extras.setdefault(name, set())
        if not extras <= known:
            known |= extras
            self._waiting.append(name)


class _Pins(_Search):
    def _reason(self, edge: _Edge) -> Because | None:
        clauses = list(edge.requirement.specifier)
        if edge.optional or len(clauses) != 1:
            return None
        exact = is_exact(clauses[0].operator, clauses[0].version, edge.target.version)
        return Because.PINNED if exact else None


class _Runtime(_Search):
    def __init__(
        self,
        roots: list[NormalizedName],
        installed: Installed,
        markers: Mapping[str, str],
        settled: Mapping[NormalizedName, NormalizedName],
    ) -> None:
        super().__init__(roots, installed, markers)
        self._settled = settled

    def _reason(self, edge: _Edge) -> Because | None:
        because = bound_of(edge.requirement.specifier, edge.target.version)
        if because is None:
            return None
        payload = payload_of(edge.target)
        if edge.optional and because is not Because.PINNED and not payload.for_others:
            return None  # `cython<3.2` for an extra with tests
        whole = payload.native or not payload.modules  # the latter is a metapackage, or a licence
        if not whole and not self._is_metapackage(edge.target, _extras_of(edge.requirement)):
            return None
        holder = self.members.get(edge.holder)
        for_devices = (
            payload.for_devices
            or (edge.optional and edge.holder in self._roots)
            or (holder is not None and holder.because is Because.DEVICE)
        )
        return Because.DEVICE if for_devices else because

    def _is_metapackage(
        self, distribution: Distribution, extras: frozenset[NormalizedName]
    ) -> bool:
        """Whether it has no compiled code, but requires such as closely as a hold does."""
        waiting = [(distribution, extras)]
        seen = {(distribution.name, extras)}
        for one, asked in waiting:
            for requirement in one.requires.applying(self._markers, sorted(asked)):
                found = self._installed.get(requirement.name)
                if (
                    found is None
                    or found.name in self._roots
                    or bound_of(requirement.specifier, found.version) is None
                ):
                    continue
                if payload_of(found).native:
                    return True
                key = (found.name, _extras_of(requirement))
                if key not in seen:
                    seen.add(key)
                    waiting.append((found, key[1]))
        return False

    def _add_linked(self) -> None:
        for name, edges in list(self._open.items()):
            public = payload_of(edges[0].target).public
            if not public or name in self.members:
                continue
            holders = dict.fromkeys((*(edge.holder for edge in edges), *self._held()))
            known = self._settled.get(name)
            for holder in [known] if known in holders else holders:
                if holder == known or self._needs(holder, public):
                    self._add(name, holder, Because.LINKED)
                    break

    def _held(self) -> Iterator[NormalizedName]:
        yield from self._roots
        yield from self.members

    def _needs(self, holder: NormalizedName, public: frozenset[str]) -> bool:
        """Whether a library of the holder leads to one of these (uv-facts 36)."""
        distribution = self._installed.distributions[holder]
        site = distribution.info.parent
        for path in payload_of(distribution).shared:
            library = read_shared_object(f"{site}/{path}")
            if library is not None and not public.isdisjoint(_leads_to(library, path)):
                return True
        return False


def _extras_of(requirement: Requirement) -> frozenset[NormalizedName]:
    return frozenset(canonicalize_name(extra) for extra in requirement.extras)


def _leads_to(library: SharedObject, path: str) -> Iterator[str]:
    """Where the dynamic linker would look for what a library needs, relative to site-packages."""
    folder = path.rpartition("/")[0]
    for entry in library.search:
        for origin in _ORIGIN:
            if entry == origin or entry.startswith(f"{origin}/"):
                there = normpath(join(folder, entry.removeprefix(origin).lstrip("/")))
                yield from (normpath(join(there, name)) for name in library.needed)


def bound_of(specifier: SpecifierSet, version: Version) -> Because | None:
    """How closely a requirement that `version` satisfies is bound: PINNED, COMPATIBLE, or None.

    COMPATIBLE is one line of releases: `~=3.8.0`, `==13.*`, `<14,>=13.0.3`. A range over several
    major versions (`numpy<3,>=1.17`) says only what was tried.
    """
    if not specifier.contains(version, prereleases=True):
        return None
    lowest: list[int] = []
    highest: list[int] = []
    for clause in specifier:
        if is_exact(clause.operator, clause.version, version):
            return Because.PINNED
        _note(clause.operator, clause.version, lowest, highest)
    if lowest and highest and max(lowest) == min(highest):
        return Because.COMPATIBLE
    return None


def _note(operator: str, text: str, lowest: list[int], highest: list[int]) -> None:
    """The major versions from which and up to which a clause lets a version be."""
    bound = version_in(text.removesuffix(".*"))
    if bound is None:
        return
    if operator in ("~=", "=="):
        lowest.append(bound.major)
        highest.append(bound.major)
    elif operator in (">=", ">"):
        lowest.append(bound.major)
    elif operator == "<=":
        highest.append(bound.major)
    elif operator == "<":
        highest.append(bound.major if any(bound.release[1:]) else bound.major - 1)


def is_exact(operator: str, text: str, version: Version) -> bool:
    """Whether a clause that `version` satisfies allows no other release (PEP 440).

    `==13.1.1.3.*` is one for 13.1.1.3, as in NVIDIA's metadata; `==2.3.*` for 2.3.1 is not.
    """
    if operator not in ("==", "==="):
        return False
    pinned = version_in(text.removesuffix(".*"))
    if pinned is None:
        return False
    return not text.endswith(".*") or (
        len(pinned.release) >= _FULL_RELEASE and pinned.release == version.release
    )
