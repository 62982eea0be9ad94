"""How the holds of an environment stand, for people: each hold, intact or not, and why.

Only compares and words; the vault and the environment are as they were.
"""

from collections.abc import Mapping

from packaging.utils import NormalizedName

from reconciler.environment.snapshot import Snapshot
from reconciler.state.holds import Held, hold_set
from reconciler.status import Hold
from reconciler.trees.workspace import Workspace
from reconciler.vault.breaks import Break, differs_from_record, find_breaks
from reconciler.vault.copies import Vault

NEVER_INSTALLED = "is to be held, but has never been installed"
INSTALL_IT = "Install the build that you want by hand; it is held from then on."
"""What there is to say of a configured hold that is in no environment and in no vault."""

Breaks = Mapping[NormalizedName, Break]


def holds_found(snapshot: Snapshot) -> tuple[Hold, ...]:
    """How each hold stands, compared with the vault's copies file by file."""
    vault = Vault(Workspace(snapshot.interpreter.prefix))
    known = vault.current()
    prefix = snapshot.interpreter.prefix
    breaks = find_breaks(vault, snapshot.installed, prefix, list(known))
    unkept = [held for name, held in snapshot.holds.held.items() if name not in known]
    return rows(snapshot, vault, {**differs_from_record(unkept, prefix), **breaks})


def rows(snapshot: Snapshot, vault: Vault, breaks: Breaks) -> tuple[Hold, ...]:
    """One row for each hold: the configured ones first, then what they pin."""
    found = [_row(held, snapshot, vault, breaks) for held in snapshot.holds.held.values()]
    return tuple(sorted(found, key=lambda row: (row.pinned_by is not None, row.name)))


def _row(held: Held, snapshot: Snapshot, vault: Vault, breaks: Breaks) -> Hold:
    broken = breaks.get(held.name)
    defect = snapshot.broken.get(held.name)
    found = snapshot.installed.version(held.name)
    return Hold(
        name=held.name,
        version=str(held.version),
        intact=broken is None and defect is None,
        pinned_by=held.pinned_by,
        message=words(broken, snapshot, vault) if broken else _of_defect(held, defect, vault),
        vaulted=held.name in vault.current(),
        found=str(found) if found is not None and (broken or defect) else None,
    )


def _of_defect(held: Held, defect: str | None, vault: Vault) -> str | None:
    """What is wrong with a hold apart from what somebody did to it, and what to do."""
    if defect is None:
        return None
    if held.name in vault.current():
        return f"{defect}. `reconciler hold restore {held.name}` puts it back, offline."
    return f"{defect}. The vault has no copy of it: install that build by hand once more."


def words(broken: Break, snapshot: Snapshot, vault: Vault) -> str:
    """What happened to a hold, what came with it, and what to do."""
    brought = _brought_along(broken, snapshot, vault)
    also = f" It brought along {', '.join(brought)}." if brought else ""
    return broken.words + also


def _brought_along(broken: Break, snapshot: Snapshot, vault: Vault) -> list[str]:
    """What the intruder pins, and what was not there for the held build."""
    if broken.found is None or broken.found == broken.expected:
        return []
    known = vault.current()
    fresh = hold_set((broken.name,), snapshot.installed, snapshot.markers)
    return sorted(
        held.pin
        for name, held in fresh.held.items()
        if name != broken.name and (name not in known or known[name].version != str(held.version))
    )
