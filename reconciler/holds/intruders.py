"""Packages that another installer put beside a held one, and which of them may go with it.

Pure: decides from values. An intruder claims files of a held package with other contents.
It goes if nothing that stays requires it; a held package never does.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.environment.snapshot import Snapshot
from reconciler.holds.lacking import CopyHere
from reconciler.state.adjustments import Adjustments
from reconciler.state.holds import HoldSet, hold_set
from reconciler.state.installed import Distribution, Installed
from reconciler.state.shared_files import claimants, claimed_paths, is_code
from reconciler.vault.copies import Vault
from reconciler.vault.manifest import Manifest

PROJECT = "the project declares it"


class Needs(msgspec.Struct, frozen=True):
    """What requires what, once the held builds are back.

    Args:
        installed: The environment as it will be.
        declared: What the project declares.
        markers: The target's PEP 508 environment.
        adjustments: What the user tells uv to see differently.
    """

    installed: Installed
    declared: tuple[Requirement, ...]
    markers: Mapping[str, str]
    adjustments: Adjustments = msgspec.field(default_factory=Adjustments)

    def without(self, going: Iterable[NormalizedName]) -> dict[NormalizedName, str]:
        """Every package that something other than `going` requires, and who does, in words."""
        found: dict[NormalizedName, str] = {}
        extras: dict[NormalizedName, set[NormalizedName]] = {}
        for requirement in self.adjustments.apply(self.declared, self.markers):
            _note(requirement, PROJECT, found, extras)
        staying = [d for n, d in self.installed.distributions.items() if n not in set(going)]
        before = None
        while before != extras:  # an extra that is asked for may ask for others
            before = {name: set(asked) for name, asked in extras.items()}
            for distribution in staying:
                asked = sorted(extras.get(distribution.name, ()))
                for requirement in self.adjustments.requires_of(distribution, self.markers, asked):
                    own = canonicalize_name(requirement.name) == distribution.name
                    who = None if own else f"{distribution.name} requires it"
                    _note(requirement, who, found, extras)
        return found


def _note(
    requirement: Requirement,
    who: str | None,
    found: dict[NormalizedName, str],
    extras: dict[NormalizedName, set[NormalizedName]],
) -> None:
    name = canonicalize_name(requirement.name)
    if who is not None:  # else a package asks for more of its own extras
        found.setdefault(name, who)
    extras.setdefault(name, set()).update(canonicalize_name(e) for e in requirement.extras)


class Intruders(msgspec.Struct, frozen=True):
    """What a restore does about the packages that came with an intruder."""

    leaving: tuple[Distribution, ...] = ()
    """They claim files of what is restored, and nothing requires them."""
    staying: Mapping[NormalizedName, str] = msgspec.field(default_factory=dict)
    """They claim such files too; with the reason why they stay."""
    rest: tuple[Distribution, ...] = ()
    """They came with an intruder and claim no such file; nothing requires them."""


def intruders(candidates: Iterable[NormalizedName], holds: HoldSet, needs: Needs) -> Intruders:
    """Which of the candidates go, and why the others stay.

    Args:
        candidates: The packages that claim files of a held one, with other contents.
        holds: What is held, and so never removed.
        needs: Who requires what.
    """
    staying = {name: "it is held, too" for name in candidates if holds.covers(name)}
    leaving = set(candidates) - staying.keys()
    while True:  # what stays may need others, which then stay too
        needed = needs.without(leaving)
        kept = {name: needed[name] for name in sorted(leaving) if name in needed}
        if not kept:
            break
        staying |= kept
        leaving -= kept.keys()
    known = needs.installed.distributions
    return Intruders(tuple(known[name] for name in sorted(leaving)), staying)


def needs_of(snapshot: Snapshot, restored: Mapping[NormalizedName, Distribution]) -> Needs:
    """What requires what in an environment, with some packages restored."""
    declared = snapshot.desired.requirements if snapshot.desired else ()
    return Needs(
        Installed({**snapshot.installed.distributions, **restored}),
        tuple(one.requirement for one in declared),
        snapshot.markers,
        Adjustments.of(snapshot.settings),
    )


def beside_restored(snapshot: Snapshot, vault: Vault, copies: Sequence[CopyHere]) -> Intruders:
    """The intruders beside what is about to be restored from the vault."""
    wanted = [copy.manifest for copy in copies]
    names = {NormalizedName(manifest.name) for manifest in wanted}
    prefix = snapshot.interpreter.prefix
    digests = {
        f"{prefix}/{file.path}": file.sha256
        for copy in copies
        for file in copy.files
        if is_code(f"{prefix}/{file.path}")
    }
    others = {n: d for n, d in snapshot.installed.distributions.items() if n not in names}
    told = {NormalizedName(m.name): vault.distribution(m) for m in wanted}
    restored = {name: copy for name, copy in told.items() if copy is not None}
    needs = needs_of(snapshot, restored)
    found = intruders(claimants(Installed(others), digests), snapshot.holds, needs)
    return replace(found, rest=_rest(found, snapshot, wanted, needs))


def _rest(
    found: Intruders, snapshot: Snapshot, wanted: list[Manifest], needs: Needs
) -> tuple[Distribution, ...]:
    """What else belongs to an intruder, and so came with it, if nothing requires it then."""
    leaving = {distribution.name for distribution in found.leaving}
    names: set[NormalizedName] = set()
    for manifest in wanted:
        if str(snapshot.installed.version(manifest.name)) != manifest.version:
            pins = hold_set(
                (manifest.name,), snapshot.installed, snapshot.markers, snapshot.holds.closure
            ).held
            names |= pins.keys() - {manifest.name}
    needed = needs.without(leaving | names)
    known = {*leaving, *found.staying, *snapshot.holds.held, *needed}
    return tuple(snapshot.installed.distributions[name] for name in sorted(names - known))


def words_of_rest(found: Intruders, snapshot: Snapshot) -> str | None:
    """What came with an intruder and stays, and what to do about it."""
    stays = [f"{n} {snapshot.installed.version(n)} ({why})" for n, why in found.staying.items()]
    sentences = []
    if stays:
        sentences.append(f"These claim files of what was restored, and stay: {', '.join(stays)}.")
    if found.rest:
        listed = ", ".join(f"{d.name} {d.version}" for d in found.rest)
        sentences.append(f"Nothing requires {listed} any more: {_how_to_remove(found, snapshot)}.")
    return " ".join(sentences) or None


def _how_to_remove(found: Intruders, snapshot: Snapshot) -> str:
    """Another tool also removes the files that a package shares with a held one."""
    held = {
        path
        for name in snapshot.holds.held
        for distribution in snapshot.installed.copies(name)
        for path in claimed_paths(distribution)
    }
    if all(held.isdisjoint(claimed_paths(distribution)) for distribution in found.rest):
        names = " ".join(distribution.name for distribution in found.rest)
        return f"`uv pip uninstall {names}` removes what you do not use"
    return "`prune = true` removes them, and leaves the files that they share with a held package"
