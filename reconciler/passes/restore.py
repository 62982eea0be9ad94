"""Restores a hold from the vault: offline, checked, and through `publish`.

Changes the hold and what is held with it, and of these only what differs. A package that claims
the same files goes if nothing requires it; whatever else came with an intruder stays, and is named.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.environment.snapshot import Snapshot
from reconciler.holds.intruders import Intruders, beside_restored, words_of_rest
from reconciler.holds.lacking import CopyHere, check, copy_of, take_out
from reconciler.holds.offers import held_with, offered_with
from reconciler.holds.strays import strays
from reconciler.log.logger import get_logger
from reconciler.passes.outcome import Outcome
from reconciler.passes.prove import VerifyFailed, read_folders, read_tree
from reconciler.passes.publish import until_unchanged
from reconciler.passes.reconcile import observe
from reconciler.passes.running import Pass
from reconciler.passes.staging import Replacement, clone_live, make_live
from reconciler.state.holds import HoldSet
from reconciler.state.installed import Installed, defect_of
from reconciler.status import Change, ExpectedEnd, Reason, Result
from reconciler.trees.arrivals import Arrivals, CannotMoveIn
from reconciler.trees.tree import Tree
from reconciler.vault.copies import Vault
from reconciler.vault.manifest import Manifest

log = get_logger(__name__)


class NothingToRestore(ExpectedEnd):
    """The vault has no copy of that package that fits here."""

    reason = Reason.NO_COPY

    def __init__(self, name: str, unfit: str | None, known: list[str]) -> None:
        if unfit is None:
            why = f"the vault has no copy of {name}; it has: {', '.join(known) or 'none'}"
        else:
            why = unfit
        super().__init__(
            f"{why}. Install the build that you want by hand: it is copied when it is first seen "
            f"complete. If another one was held before, `reconciler hold accept {name}` accepts it."
        )
        self.name = name


class CannotRestore(ExpectedEnd):
    """A copy cannot be moved in: a link or a file of another package is in the way."""


def restore(running: Pass, name: NormalizedName) -> Outcome:
    """Restore the held build of a package, and of everything that is held with it.

    Raises:
        NothingToRestore: The vault has no copy of it that fits this environment.
        CopyUnfit: A copy of what is held with it is for another Python.
        CopyDamaged: The copy in the vault has changed.
        VerifyFailed: The changed tree failed a check.
        Exception: As for `publish`.
    """
    return until_unchanged(running, lambda: _attempt(running, name))


def _attempt(running: Pass, name: NormalizedName) -> Outcome:
    """Check the copy, stage it, and publish it: all based on one snapshot of the environment."""
    snapshot = running.look(audit=True)
    vault = snapshot.vault
    copies = [copy_of(vault, manifest, snapshot) for manifest in _wanted(snapshot, vault, name)]
    running.wait_until_open()  # checked again in `publish`; here it saves the work
    with (
        running.work_folder(snapshot) as work,
        vault.store.in_use(running.cancel),
        ThreadPoolExecutor(1, "check") as pool,
    ):
        checking = pool.submit(check, vault, copies)
        staging = clone_live(running, snapshot, work)
        with running.step("check"):
            checking.result()
        found = beside_restored(snapshot, vault, copies)
        added = strays(snapshot, vault)
        changed = [one for one in copies if one.manifest.name in added or not one.in_place]
        if not changed and not found.leaving:
            changed = _whole_copies(snapshot, vault, copies)
        if not changed and not found.leaving:
            return observe(snapshot)
        incoming = work / "incoming"
        incoming.mkdir()
        for one in changed:
            take_out(vault, one, snapshot.interpreter.prefix, incoming)
        manifests = [one.manifest for one in changed]
        going = {NormalizedName(m.name) for m in manifests} | {gone.name for gone in found.leaving}
        others = _others(snapshot, manifests)
        _refuse_obstacles(snapshot, incoming, frozenset(going))
        published = make_live(
            running,
            Replacement(snapshot, frozenset(going), incoming, others, added),
            staging,
            lambda tree, _: _prove(running, snapshot, tree, manifests, found),
        )
    restored = tuple(_change(m, snapshot.installed) for m in manifests)
    for change in restored:
        log.info("hold.restored", package=change.name, version=change.to, found=change.from_)
    message = words_of_rest(found, snapshot)
    if message:
        log.warning("intruder.stays", message=message)
    running.environment.forget_broken(NormalizedName(one.manifest.name) for one in copies)
    return Outcome(
        result=Result.CHANGED,
        snapshot=running.environment.look(audit_files=True),
        changes=(*restored, *_removals(found)),
        generation=published.generation,
        atomic=published.atomic,
        atomic_reason=published.reason,
        message=message,
        attempted=False,
    )


def _wanted(snapshot: Snapshot, vault: Vault, name: NormalizedName) -> list[Manifest]:
    """What is to be there: the hold and what it needs, as held here before, or as in the vault.

    Raises:
        NothingToRestore: There is no copy that fits this environment.
    """
    held = vault.current().get(name)
    unfit = vault.unfit(held) if held is not None else None
    # Without a record of the hold itself, what belongs to it would come back alone.
    wanted = held_with(snapshot, vault, name) if held is not None and unfit is None else []
    wanted = wanted or offered_with(snapshot, vault, name)
    if not wanted:
        unfit = unfit or next((why for _, why in vault.offered(name) if why), None)
        raise NothingToRestore(name, unfit, sorted(vault.store.names()))
    for manifest in wanted:
        vault.refuse_unfit(manifest)
    return wanted


def _whole_copies(snapshot: Snapshot, vault: Vault, copies: list[CopyHere]) -> list[CopyHere]:
    """The copies with all files of what was accepted without some of them, checked.

    Raises:
        CopyDamaged: One has changed.
    """
    older = [vault.whole(copy.manifest) for copy in copies if copy.manifest.slim]
    found = [copy_of(vault, manifest, snapshot) for manifest in older if manifest is not None]
    check(vault, found)
    return found


def _change(manifest: Manifest, installed: Installed) -> Change:
    found = installed.version(manifest.name)
    return Change(
        name=manifest.name, action="restore", from_=str(found) if found else None,
        to=manifest.version,
    )  # fmt: skip


def _removals(found: Intruders) -> tuple[Change, ...]:
    removed = tuple(
        Change(name=gone.name, action="remove", from_=str(gone.version)) for gone in found.leaving
    )
    for change in removed:
        log.info("package.changed", package=change.name, action=change.action,
                 **{"from": change.from_, "to": None})  # fmt: skip
    return removed


def _refuse_obstacles(snapshot: Snapshot, incoming: Path, going: frozenset[NormalizedName]) -> None:
    """Check that nothing is in the way that belongs to other packages.

    Raises:
        CannotRestore: Something is.
    """
    prefix = snapshot.interpreter.prefix
    live = Tree(prefix, prefix, snapshot.installed, HoldSet((), {}))
    packages = tuple(read_folders(snapshot, incoming).all())
    try:
        Arrivals(incoming, packages, live, going, restored=True).check()
    except CannotMoveIn as error:
        first = error.refused[0]
        raise CannotRestore(first.message, reason=first.reason) from error


def _others(snapshot: Snapshot, wanted: list[Manifest]) -> HoldSet:
    """The holds that are not restored: their files must stay unchanged."""
    names = {m.name for m in wanted}
    held = {
        n: h
        for n, h in snapshot.holds.held.items()
        if n not in names and snapshot.installed.get(n) is h.distribution
    }
    return HoldSet(snapshot.holds.patterns, held)


def _prove(
    running: Pass, snapshot: Snapshot, tree: Tree, wanted: list[Manifest], intruders: Intruders
) -> Installed:
    """Check that every copy is restored completely, and that removed intruders are gone."""
    found = read_tree(snapshot, tree.folder, running.environment.metadata)
    omitted = snapshot.vault.omitted(found, tree.folder)
    for gone in intruders.leaving:
        if found.get(gone.name) is not None:
            message = f"{gone.name} is still in the new tree. Try again."
            raise VerifyFailed(Reason.INCOMPLETE_STAGE, message)
    for manifest in wanted:
        restored = found.get(manifest.name)
        without = omitted.get(NormalizedName(manifest.name), ()) if manifest.slim else ()
        defect = defect_of(restored, found, without) if restored else "it is missing"
        if restored is None or defect or restored.version != Version(manifest.version):
            raise VerifyFailed(
                Reason.INCOMPLETE_STAGE,
                f"{manifest.name} {manifest.version} could not be restored completely ({defect}). "
                "Nothing has changed; install that build by hand.",
            )
    return found
