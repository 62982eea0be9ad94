"""Restores a broken hold from the vault: offline, checked, through stage and exchange.

Changes the hold and what it pins. A package that claims the same files goes if nothing
requires it; whatever else came with an intruder stays, and is named.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.environment.snapshot import Snapshot
from reconciler.holds.intruders import Intruders, beside_restored, words_of_rest
from reconciler.log.logger import get_logger
from reconciler.passes.outcome import KeepsChanging, LiveTreeChanged, Outcome, Refused
from reconciler.passes.prove import VerifyFailed, check_holds, read_tree
from reconciler.passes.reconcile import STARTS, Pass
from reconciler.state.holds import HoldSet
from reconciler.state.installed import Installed, defect_of
from reconciler.status import Change, Result
from reconciler.trees import generations
from reconciler.trees.stage import Census, StagingImpossible
from reconciler.trees.tree import Tree, fingerprints
from reconciler.trees.workspace import Workspace
from reconciler.vault.copies import Vault
from reconciler.vault.manifest import Manifest

log = get_logger(__name__)


class NothingToRestore(Refused):
    """The vault has no copy of that package."""

    reason = "NoCopy"

    def __init__(self, name: str, known: list[str]) -> None:
        listed = ", ".join(known) or "none"
        super().__init__(
            f"the vault has no copy of {name}; it has: {listed}. A copy is taken when a held "
            "package is first seen whole; install that build by hand once more."
        )
        self.name = name


def restore(running: Pass, name: NormalizedName) -> Outcome:
    """Put the held build of a package back, and of everything that it pins.

    Raises:
        NothingToRestore: There is no copy of it.
        Damaged: The copy is not what was put into the vault.
        VerifyFailed: The stage is not as it should be.
        OSError, Cancelled, KeepsChanging, Postponed: As `Pass.reconcile`.
    """
    where = ""
    for _ in range(STARTS):
        try:
            return _attempt(running, name)
        except LiveTreeChanged as changed:
            where = changed.where
            log.info("live-tree.changed", folder=where)
    raise KeepsChanging(where)


def _attempt(running: Pass, name: NormalizedName) -> Outcome:
    """Check the copy, stage it, and make it live: all of it on one view of the environment."""
    snapshot = running.look(audit=True)
    vault = Vault(Workspace(snapshot.interpreter.prefix))
    wanted = vault.companions(name)
    if not wanted:
        raise NothingToRestore(name, sorted(vault.current()))
    if running.gate is not None:  # nobody asked for it: it waits as every change does
        running.gate.wait_until_open(running.environment, running.cancel)
    with running.workspace(snapshot) as work, ThreadPoolExecutor(1, "check") as pool:
        checking = [pool.submit(vault.check, manifest) for manifest in wanted]
        staged = running.clone(snapshot, work)
        with running.step("check"):
            for checked in checking:
                checked.result()
        found = beside_restored(snapshot, vault, wanted)
        changed = [m for m in wanted if not _is_in_place(snapshot, vault, m)]
        if not changed and not found.leaving:
            number = generations.live(Workspace(snapshot.interpreter.prefix)).number
            return Outcome(Result.UNCHANGED, snapshot, generation=number, attempted=False)
        reason: str | None
        if isinstance(staged, StagingImpossible):
            number = _restore_in_place(running, snapshot, vault, changed, found)
            reason = str(staged)
        else:
            number = _restore_staged(running, snapshot, vault, changed, found, *staged)
            reason = running.two_renames
    restored = tuple(_change(m, snapshot.installed) for m in changed)
    for change in restored:
        log.info("hold.restored", package=change.name, version=change.to, found=change.from_)
    message = words_of_rest(found, snapshot)
    if message:
        log.warning("intruder.stays", message=message)
    running.environment.forget_broken(NormalizedName(m.name) for m in wanted)
    return Outcome(
        result=Result.CHANGED,
        snapshot=running.environment.look(audit_files=True),
        changes=(*restored, *_removals(found)),
        generation=number,
        atomic=reason is None,
        atomic_reason=reason,
        message=message,
        attempted=False,
    )


def _is_in_place(snapshot: Snapshot, vault: Vault, manifest: Manifest) -> bool:
    """Whether what would be put back is there already: the very same files, and no other copy."""
    prefix, source = snapshot.interpreter.prefix, vault.folder(manifest)
    copies = list(snapshot.installed.copies(NormalizedName(manifest.name)))
    try:
        same = all(
            os.path.samestat((prefix / file.path).lstat(), (source / file.path).lstat())
            for file in vault.files(manifest)
        )
        linked = all((prefix / path).readlink() == Path(to) for path, to in manifest.links.items())
    except OSError:  # one is missing, or is no link
        return False
    return len(copies) == 1 and same and linked


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


def _restore_staged(
    running: Pass,
    snapshot: Snapshot,
    vault: Vault,
    wanted: list[Manifest],
    found: Intruders,
    stage: Path,
    census: Census,
) -> int:
    prefix = snapshot.interpreter.prefix
    tree = Tree(stage, prefix, snapshot.installed, _others(snapshot, wanted))
    before = fingerprints(tree.held_files, prefix)
    _put_back(snapshot, vault, wanted, found, tree)
    with running.step("verify"):
        staged = read_tree(snapshot, stage, running.environment.metadata)
        _check(staged, wanted, found)
        check_holds(tree.held_files, before, stage)
    with running.step("exchange"):
        return running.exchange(snapshot, stage, census, sorted(tree.touched), staged)


def _restore_in_place(
    running: Pass, snapshot: Snapshot, vault: Vault, wanted: list[Manifest], found: Intruders
) -> int:
    prefix = snapshot.interpreter.prefix
    workspace = Workspace(prefix)
    tree = Tree(prefix, prefix, snapshot.installed, _others(snapshot, wanted))
    with running.step("exchange"), workspace.uv_lock(running.cancel, None):
        _put_back(snapshot, vault, wanted, found, tree)
    _check(running.environment.look().installed, wanted, found)
    return generations.live(workspace).number


def _others(snapshot: Snapshot, wanted: list[Manifest]) -> HoldSet:
    """The holds that are not restored: their files must stay the very same."""
    names = {m.name for m in wanted}
    held = {
        n: h
        for n, h in snapshot.holds.held.items()
        if n not in names and snapshot.installed.get(n) is h.distribution
    }
    return HoldSet(snapshot.holds.patterns, held)


def _put_back(
    snapshot: Snapshot, vault: Vault, wanted: list[Manifest], found: Intruders, tree: Tree
) -> None:
    restored = {NormalizedName(m.name) for m in wanted}
    going = frozenset(restored | {intruder.name for intruder in found.leaving})
    for name in going:
        for distribution in snapshot.installed.copies(name):
            tree.remove(distribution, going)
    for manifest in wanted:
        source = vault.folder(manifest)
        for file in vault.files(manifest):
            tree.link(source / file.path, file.path)
        for path, target in manifest.links.items():
            tree.symlink(target, path)


def _check(staged: Installed, wanted: list[Manifest], intruders: Intruders) -> None:
    for gone in intruders.leaving:
        if staged.get(gone.name) is not None:
            raise VerifyFailed("IncompleteStage", f"{gone.name} is still in the stage. Try again.")
    for manifest in wanted:
        found = staged.get(manifest.name)
        defect = defect_of(found, staged) if found else "it is missing"
        if found is None or defect or found.version != Version(manifest.version):
            raise VerifyFailed(
                "IncompleteStage",
                f"{manifest.name} {manifest.version} could not be put back whole ({defect}). "
                "Nothing has changed; install that build by hand.",
            )
