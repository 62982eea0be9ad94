"""Which copies are restored together; also in an environment that is new and has held nothing.

The vault is shared, so copies that another environment made are as good. Only looks.
"""

from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.environment.snapshot import Snapshot
from reconciler.state.holds import matches, requires_of
from reconciler.state.installed import Distribution
from reconciler.vault.copies import Vault
from reconciler.vault.manifest import Manifest


def held_with(snapshot: Snapshot, vault: Vault, name: NormalizedName) -> list[Manifest]:
    """What was held here of a package, with what belongs to it; none if it was not held.

    Another hold that it requires comes with it if that is gone altogether: torch with torchvision.
    """
    wanted = vault.companions(name)
    names = {manifest.name for manifest in wanted}
    for manifest in wanted:  # which grows
        distribution = vault.distribution(manifest)
        for requirement in _required(distribution, snapshot, {}) if distribution else ():
            needed = canonicalize_name(requirement.name)
            if needed not in names and snapshot.installed.get(needed) is None:
                more = [one for one in vault.companions(needed) if one.name not in names]
                names |= {one.name for one in more}
                wanted += more
    return wanted


def offered_with(snapshot: Snapshot, vault: Vault, name: NormalizedName) -> list[Manifest]:
    """The newest copy of a package that fits, and of what was held with it; none if there is none.

    What it needs in turn is taken in the newest version that its metadata allows.
    """
    first = vault.best(name)
    if first is None:
        return []
    chosen = {name: first}
    extras: dict[NormalizedName, set[str]] = {}
    waiting = [name]
    while waiting:
        distribution = vault.distribution(chosen[waiting.pop()])
        if distribution is None:
            continue
        for requirement in _required(distribution, snapshot, extras):
            needed = canonicalize_name(requirement.name)
            asked = extras.setdefault(needed, set())
            more = {canonicalize_name(extra) for extra in requirement.extras} - asked
            asked |= more
            if needed not in chosen:
                copy = _member(vault, requirement, snapshot)
                if copy is None:
                    continue
                chosen[needed] = copy
                waiting.append(needed)
            elif more:
                waiting.append(needed)
    return list(chosen.values())


def _required(
    distribution: Distribution, snapshot: Snapshot, extras: dict[NormalizedName, set[str]]
) -> Iterator[Requirement]:
    yield from requires_of(
        distribution, snapshot.markers, sorted(extras.get(distribution.name, ()))
    )


def _member(vault: Vault, requirement: Requirement, snapshot: Snapshot) -> Manifest | None:
    """The copy of something that was held because of another hold, or is held here by name."""
    name = canonicalize_name(requirement.name)
    newest = [
        manifest
        for manifest, unfit in vault.offered(name)
        if unfit is None
        and requirement.specifier.contains(manifest.version, prereleases=True)
        and (manifest.pinned_by is not None or matches(name, snapshot.holds.patterns))
    ]
    return newest[0] if newest else None
