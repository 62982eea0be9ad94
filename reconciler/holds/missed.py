"""Holds that were there, and are neither installed nor recorded in the vault.

Only compares what the journal remembers with what is there now.
"""

from collections.abc import Collection, Iterator

from packaging.utils import NormalizedName

from reconciler.environment.snapshot import Snapshot
from reconciler.journal.history import HeldBefore
from reconciler.state.holds import matches
from reconciler.state.notice import Notice
from reconciler.status import Hold
from reconciler.vault.copies import Vault

Before = tuple[HeldBefore, ...]


def missed(before: Before, found: Collection[Hold], snapshot: Snapshot) -> tuple[Hold, ...]:
    """A row for each hold that is missed.

    Args:
        before: The holds when the last pass ended.
        found: The holds that are installed or in the vault.
        snapshot: The environment as it is.
    """
    there = {row.name for row in found}
    known = {one.name: one for one in before}
    gone = {
        one.name: one
        for one in before
        if one.name not in there
        and snapshot.installed.version(NormalizedName(one.name)) is None
        and matches(NormalizedName(_root_of(one, known)), snapshot.holds.patterns)
    }
    return tuple(
        _row(one, snapshot.vault)
        for one in gone.values()
        if one.pinned_by is None or one.pinned_by in gone
    )


def _root_of(one: HeldBefore, known: dict[str, HeldBefore]) -> str:
    """The hold that it was held for: itself, if the configuration names it."""
    seen = {one.name}
    while one.pinned_by is not None and one.pinned_by in known and one.pinned_by not in seen:
        one = known[one.pinned_by]
        seen.add(one.name)
    return one.pinned_by or one.name


def without(before: Before, name: str) -> Before:
    """The same without a hold, and without what was held because of it."""
    gone = {name}
    while more := {one.name for one in before if one.pinned_by in gone} - gone:
        gone |= more
    return tuple(one for one in before if one.name not in gone)


def _row(one: HeldBefore, vault: Vault) -> Hold:
    offered = vault.version_to_restore(NormalizedName(one.name))
    message = f"{one.name} {one.version} was held here and is gone"
    if offered is None:
        copy = (
            "its copy is no longer in the vault" if one.vaulted else "the vault has no copy of it"
        )
        message = f"{message}: {copy}"
        fix = "Install that build by hand again"
    else:
        message = f"{message}, and a copy of {offered} is in the vault"
        fix = f"`reconciler hold restore {one.name}` restores it, offline"
    if one.pinned_by:
        fix = f"It belongs to {one.pinned_by}. {fix}" if offered else f"{fix}, with {one.pinned_by}"
    else:
        fix = f"{fix}. To do without it: `reconciler hold accept {one.name}`"
    return Hold(
        name=one.name, version=one.version, intact=False, pinned_by=one.pinned_by,
        message=str(Notice(message, f"{fix}.")), vaulted=offered is not None,
    )  # fmt: skip


def to_remember(before: Before, rows: Collection[Hold]) -> Before:
    """What the journal is to remember after a pass.

    Args:
        before: What it remembered.
        rows: The holds as they are now, with those that are missed.
    """
    known = {one.name: one for one in before}
    return tuple(_remembered(rows, known))


def _remembered(rows: Collection[Hold], known: dict[str, HeldBefore]) -> Iterator[HeldBefore]:
    for row in rows:
        last = known.get(row.name)
        if last is not None and not row.intact and not row.vaulted and last.version == row.version:
            yield last  # with what was known of its copy
        elif row.version is not None:
            yield HeldBefore(
                name=row.name, version=row.version, pinned_by=row.pinned_by, vaulted=row.vaulted
            )
