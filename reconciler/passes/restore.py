"""Restores a broken hold from the vault: offline, checked, and through `publish`.

Changes the hold and what it pins. A package that claims the same files goes if nothing
requires it; whatever else came with an intruder stays, and is named.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stat import S_ISREG

from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.environment.snapshot import Snapshot
from reconciler.holds.intruders import Intruders, beside_restored, words_of_rest
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
from reconciler.vault.copies import Vault, digest_of
from reconciler.vault.manifest import Manifest, VaultFile
from reconciler.vault.shelf import link_or_copy

log = get_logger(__name__)


class NothingToRestore(ExpectedEnd):
    """The vault has no copy of that package."""

    reason = Reason.NO_COPY

    def __init__(self, name: str, known: list[str]) -> None:
        listed = ", ".join(known) or "none"
        super().__init__(
            f"the vault has no copy of {name}; it has: {listed}. A copy is made when a held "
            "package is first seen complete; install that build by hand again."
        )
        self.name = name


class CannotRestore(ExpectedEnd):
    """A copy cannot be moved in: a link or a file of another package is in the way."""


def restore(running: Pass, name: NormalizedName) -> Outcome:
    """Restore the held build of a package, and of everything that it pins.

    Raises:
        NothingToRestore: The vault has no copy of it.
        CopyUnfit: Its copy is for another Python.
        CopyDamaged: The copy in the vault has changed.
        VerifyFailed: The changed tree failed a check.
        Exception: As for `publish`.
    """
    return until_unchanged(running, lambda: _attempt(running, name))


def _attempt(running: Pass, name: NormalizedName) -> Outcome:
    """Check the copy, stage it, and publish it: all based on one snapshot of the environment."""
    snapshot = running.look(audit=True)
    vault = snapshot.vault
    wanted = vault.companions(name)
    if name not in vault.current():
        raise NothingToRestore(name, sorted(vault.current()))
    for manifest in wanted:
        vault.refuse_unfit(manifest)
    running.wait_until_open()  # checked again in `publish`; here it saves the work
    with running.work_folder(snapshot) as work, ThreadPoolExecutor(1, "check") as pool:
        checking = [pool.submit(vault.check, manifest) for manifest in wanted]
        staging = clone_live(running, snapshot, work)
        with running.step("check"):
            for checked in checking:
                checked.result()
        found = beside_restored(snapshot, vault, wanted)
        added = strays(snapshot, vault)
        changed = [m for m in wanted if m.name in added or not _is_in_place(snapshot, vault, m)]
        if not changed and not found.leaving:
            changed = _whole_copies(vault, wanted)
        if not changed and not found.leaving:
            return observe(snapshot)
        incoming = work / "incoming"
        incoming.mkdir()
        for manifest in changed:
            _take_out(vault, manifest, incoming)
        going = {NormalizedName(m.name) for m in changed} | {gone.name for gone in found.leaving}
        others = _others(snapshot, changed)
        _refuse_obstacles(snapshot, incoming, frozenset(going))
        published = make_live(
            running,
            Replacement(snapshot, frozenset(going), incoming, others, added),
            staging,
            lambda tree, _: _prove(running, snapshot, tree, changed, found),
        )
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
        generation=published.generation,
        atomic=published.atomic,
        atomic_reason=published.reason,
        message=message,
        attempted=False,
    )


def _is_in_place(snapshot: Snapshot, vault: Vault, manifest: Manifest) -> bool:
    """Whether what would be restored is already there: the same files, and no other copy."""
    prefix = snapshot.interpreter.prefix
    copies = list(snapshot.installed.copies(NormalizedName(manifest.name)))
    try:
        same = all(
            _is_same(prefix / file.path, vault.content(manifest, file), file)
            for file in vault.files(manifest)
        )
        linked = all((prefix / path).readlink() == Path(to) for path, to in manifest.links.items())
    except OSError:  # a file is missing, or is not a link
        return False
    return len(copies) == 1 and same and linked


def _is_same(path: Path, content: Path, file: VaultFile) -> bool:
    """Whether a file is that of the vault, or another one with the same bytes.

    Raises:
        OSError: There is none.
    """
    found = path.lstat()
    if not S_ISREG(found.st_mode) or found.st_size != file.size:
        return False
    return os.path.samestat(found, content.lstat()) or digest_of(path) == file.sha256


def _whole_copies(vault: Vault, wanted: list[Manifest]) -> list[Manifest]:
    """The copies with all files of what was accepted without some of them, checked.

    Raises:
        CopyDamaged: One has changed.
    """
    copies = [vault.whole(manifest) for manifest in wanted if manifest.slim]
    found = [copy for copy in copies if copy is not None]
    for copy in found:
        vault.check(copy)
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


def _take_out(vault: Vault, manifest: Manifest, incoming: Path) -> None:
    """Hard-link a copy into the folder of incoming packages."""
    folders: set[str] = set()
    for file in vault.files(manifest):
        _make_folder(incoming, file.path, folders)
        link_or_copy(vault.content(manifest, file), incoming / file.path)
    for path, target in manifest.links.items():
        _make_folder(incoming, path, folders)
        (incoming / path).symlink_to(target)


def _make_folder(incoming: Path, path: str, known: set[str]) -> None:
    folder = path.rpartition("/")[0]
    if folder not in known:
        (incoming / folder).mkdir(parents=True, exist_ok=True)
        known.add(folder)


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
