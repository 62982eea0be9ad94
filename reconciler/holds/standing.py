"""The state of an environment's holds, for people: each hold, intact or not, and why.

Only compares and words; the vault and the environment stay as they are.
"""

from collections.abc import Mapping

from packaging.utils import NormalizedName

from reconciler.environment.snapshot import Snapshot
from reconciler.environment.uv_lock import HOW_TO_STOP_UV, installed_by_uv, uv_lock_of
from reconciler.holds.strays import with_strays
from reconciler.state.holds import Held, hold_set
from reconciler.state.notice import Notice
from reconciler.state.words import if_on_purpose
from reconciler.status import Hold
from reconciler.vault.breaks import Break, differs_from_record, find_breaks
from reconciler.vault.copies import Vault

NEVER_INSTALLED = "is to be held, but has never been installed"
INSTALL_IT = "Install the build that you want by hand; it is held from then on."
"""The answer for a configured hold that is in no environment and in no vault."""

Breaks = Mapping[NormalizedName, Break]


def holds_found(snapshot: Snapshot) -> tuple[Hold, ...]:
    """The state of each hold, compared file by file with the vault's copies."""
    return holds_and_notices(snapshot)[0]


def holds_and_notices(snapshot: Snapshot) -> tuple[tuple[Hold, ...], tuple[Notice, ...]]:
    """The same, and what is wrong with each that is not intact, with what to do."""
    vault = snapshot.vault
    breaks = _breaks_found(snapshot, vault)
    found = (_notice(held, snapshot, vault, breaks) for held in snapshot.holds.held.values())
    notices = tuple(notice for notice in found if notice is not None)
    return rows(snapshot, vault, breaks), notices


def _breaks_found(snapshot: Snapshot, vault: Vault) -> Breaks:
    known = vault.current()
    prefix = snapshot.interpreter.prefix
    breaks = find_breaks(vault, snapshot.installed, prefix, kept_of(snapshot, vault))
    unkept = [held for name, held in snapshot.holds.held.items() if name not in known]
    return with_strays({**differs_from_record(unkept, prefix), **breaks}, snapshot, vault)


def kept_of(snapshot: Snapshot, vault: Vault) -> list[NormalizedName]:
    """The packages of which the vault has a copy that counts.

    The copy of what once belonged to a hold, and does not any more, does not count: the hold is of
    another build, or `hold_closure` is another one.
    """
    held = snapshot.holds.held
    return [
        name
        for name, manifest in vault.current().items()
        if name in held or manifest.pinned_by is None or manifest.pinned_by not in held
    ]


def rows(snapshot: Snapshot, vault: Vault, breaks: Breaks) -> tuple[Hold, ...]:
    """One row for each hold: the configured ones first, then what belongs to them."""
    found = [_row(held, snapshot, vault, breaks) for held in snapshot.holds.held.values()]
    return tuple(sorted(found, key=lambda row: (row.pinned_by is not None, row.name)))


def _row(held: Held, snapshot: Snapshot, vault: Vault, breaks: Breaks) -> Hold:
    notice = _notice(held, snapshot, vault, breaks)
    found = snapshot.installed.version(held.name)
    return Hold(
        name=held.name,
        version=str(held.version),
        intact=notice is None,
        pinned_by=held.pinned_by,
        because=held.because,
        message=str(notice) if notice else None,
        vaulted=held.name in vault.current(),
        found=str(found) if found is not None and notice else None,
    )


def _notice(held: Held, snapshot: Snapshot, vault: Vault, breaks: Breaks) -> Notice | None:
    """What is wrong with a hold, or None if it is intact."""
    broken = breaks.get(held.name)
    if broken is not None:
        return notice_of(broken, snapshot, vault)
    defect = snapshot.broken.get(held.name)
    if defect is None:
        return None
    message = f"{held.name} {held.version} is broken: {defect}"
    if held.name in vault.current():
        fix = f"`reconciler hold restore {held.name}` restores it, offline"
    else:
        fix = "The vault has no copy of it: install that build by hand again"
    return Notice(message, f"{fix}{if_on_purpose(held.name, defect)}.")


def notice_of(broken: Break, snapshot: Snapshot, vault: Vault) -> Notice:
    """What happened to a hold, what came with it, and what to do."""
    brought = _brought_along(broken, snapshot, vault)
    also = f". It brought along {', '.join(brought)}" if brought else ""
    fix = _fix(broken, snapshot)
    if not _is_from_lock(broken, snapshot):
        return Notice(broken.what + also, fix)
    locked = f"uv.lock has {broken.name} {broken.found}"
    probably = f". {locked}, so this was probably `uv sync` or `uv run`"
    return Notice(broken.what + also + probably, f"{fix.removesuffix('.')}. {HOW_TO_STOP_UV}.")


def _fix(broken: Break, snapshot: Snapshot) -> str:
    """What to do; another release of what belongs to a hold is only accepted if it still does."""
    held = snapshot.holds.held.get(broken.name)
    if held is None or held.why is None or broken.found == broken.expected:
        return broken.fix
    holds = snapshot.holds
    fresh = hold_set(holds.patterns, snapshot.installed, snapshot.markers, holds.closure)
    restore = f"`reconciler hold restore {broken.name}` restores {broken.expected}, offline"
    if _holder_is_replaced(held, snapshot):
        return f"{restore}. It is held because {held.why}."
    if broken.name in fresh.held:
        accept = f"`reconciler hold accept {broken.name}` holds what is installed as it is"
        return f"{restore}; {accept}."
    return f"{restore}. It is held because {held.why}."


def _holder_is_replaced(held: Held, snapshot: Snapshot) -> bool:
    """Whether another build of what it belongs to is there: then they can only go together."""
    known, seen = snapshot.holds.held, {held.name}
    while held.pinned_by is not None and held.pinned_by in known and held.pinned_by not in seen:
        held = known[held.pinned_by]
        seen.add(held.name)
        if snapshot.installed.version(held.name) != held.version:
            return True
    return False


def _is_from_lock(broken: Break, snapshot: Snapshot) -> bool:
    """Whether it looks as if uv made the environment equal to its lock; nothing records that."""
    if broken.found is None or broken.found == broken.expected:
        return False
    lock = uv_lock_of(snapshot) if installed_by_uv(snapshot, broken.name) else None
    return lock is not None and lock.has(broken.name, broken.found)


def _brought_along(broken: Break, snapshot: Snapshot, vault: Vault) -> list[str]:
    """What the intruder needs to run, and what was not there for the held build."""
    if broken.found is None or broken.found == broken.expected:
        return []
    known = vault.current()
    fresh = hold_set((broken.name,), snapshot.installed, snapshot.markers, snapshot.holds.closure)
    return sorted(
        held.pin
        for name, held in fresh.held.items()
        if name != broken.name and (name not in known or known[name].version != str(held.version))
    )
