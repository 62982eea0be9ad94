"""Watching over the holds: into the vault when first seen whole, compared ever after.

Says how each hold stands. Restoring is another module's part; nothing live is changed here.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.config import Mode
from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.holds.standing import rows, words
from reconciler.log.logger import get_logger
from reconciler.state.holds import Held, HoldSet, companions_of, hold_set, matches
from reconciler.state.installed import Distribution, Installed, defect_of
from reconciler.status import ExpectedEnd, Hold, Reason
from reconciler.trees.workspace import Workspace
from reconciler.vault.breaks import Break, differs_from_record, find_breaks
from reconciler.vault.copies import Vault

log = get_logger(__name__)


class NothingToAccept(ExpectedEnd):
    """What is to be accepted is not installed, not whole, or not what the other holds pin."""

    reason = Reason.NOTHING_TO_ACCEPT

    def __init__(self, name: str, why: str, else_: str = "") -> None:
        super().__init__(
            f"{name} {why}, so there is nothing to accept. "
            f"`reconciler hold restore {name}` puts the held build back{else_}."
        )


@dataclass
class HoldMonitor:
    """Knows how the holds of one environment stand."""

    environment: Environment
    _compared: Installed | None = None
    _breaks: dict[NormalizedName, Break] = field(default_factory=dict)
    _as_recorded: dict[NormalizedName, Distribution] = field(default_factory=dict)
    """Holds without a copy that have been compared with their RECORD, and found equal."""
    _unkept: set[str] = field(default_factory=set)
    """Pins of holds that could not be copied: not tried again before the next audit."""
    _vault: Vault | None = None

    def vault(self, snapshot: Snapshot) -> Vault:
        """The environment's vault."""
        workspace = Workspace(snapshot.interpreter.prefix)
        if self._vault is None or self._vault.prefix != workspace.prefix:
            self._vault = Vault(workspace)
        return self._vault

    def keep(self, snapshot: Snapshot, *, compare: bool) -> tuple[Hold, ...]:
        """Bring the vault up to date, and say how each hold stands.

        Args:
            snapshot: The environment as it is.
            compare: Compare every file, even if no package has changed since the last time.

        Raises:
            OSError: A copy cannot be made.
        """
        vault = self.vault(snapshot)
        changing = self.environment.config.mode is Mode.APPLY
        if changing:
            self._release(snapshot, vault)
        if compare or self._compared is not snapshot.installed:
            before = self._breaks
            self._compare(snapshot, vault, anew=compare)
            accepted = self._accept_declared(snapshot, vault)
            self._tell(before, snapshot)
            self._unkept.clear()
        else:  # the project may declare by now what is there already
            accepted = self._accept_declared(snapshot, vault)
        if changing and not accepted:  # else `look` still has the holds of before
            for held in self._worth_keeping(snapshot, vault):
                self._put(held, vault)
            vault.prune(self.environment.config.keep_generations)
        return self.holds(snapshot)

    def _compare(self, snapshot: Snapshot, vault: Vault, *, anew: bool) -> None:
        """Find the holds that are not as they were, or were not right when first seen."""
        prefix = snapshot.interpreter.prefix
        known = vault.current()
        seen = {} if anew and self.environment.config.mode is Mode.APPLY else self._as_recorded
        unkept = [
            held
            for name, held in snapshot.holds.held.items()
            if name not in known and seen.get(name) is not held.distribution
        ]
        unlike = differs_from_record(unkept, prefix)
        self._as_recorded = seen | {h.name: h.distribution for h in unkept if h.name not in unlike}
        self._breaks = unlike | find_breaks(vault, snapshot.installed, prefix, list(known))
        self._compared = snapshot.installed

    def _put(self, held: Held, vault: Vault) -> None:
        """Take a copy; without one the hold is held all the same, and the pass goes on."""
        if held.pin in self._unkept:
            return
        try:
            manifest = vault.put(held)
        except (OSError, ValueError) as error:
            self._unkept.add(held.pin)
            log.warning("vault.failed", package=held.name, version=str(held.version),
                        error=str(error))  # fmt: skip
            return
        count = sum(len(names) for _, _, names in os.walk(vault.folder(manifest)))
        log.info("hold.vaulted", package=held.name, version=manifest.version, files=count)

    def accept(self, snapshot: Snapshot, name: NormalizedName) -> None:
        """Take what is installed now as the held build.

        Raises:
            NothingToAccept: It is not installed, or not whole.
            OSError: A copy cannot be made.
        """
        vault = self.vault(snapshot)
        fresh = hold_set(self.environment.config.hold, snapshot.installed, snapshot.markers)
        held = _acceptable(name, fresh, snapshot)
        for copy in vault.companions(name):
            if copy.name not in fresh.held:
                vault.forget(NormalizedName(copy.name))
        for one in (held, *companions_of(name, fresh.held.values())):
            if one.distribution.legacy:
                vault.forget(one.name)  # it has no RECORD, so there can be no copy
            elif defect_of(one.distribution, snapshot.installed) is None:
                vault.put(one, as_found=True)
        self._compared = None
        log.info("hold.accepted", package=name, version=str(held.version))

    def accept_what_is(self, snapshot: Snapshot) -> None:
        """After a roll-back: the held builds of that tree are the held ones again."""
        vault = self.vault(snapshot)
        breaks = find_breaks(
            vault, snapshot.installed, snapshot.interpreter.prefix, list(vault.current())
        )
        for name, broken in breaks.items():
            if broken.found is None or broken.found == broken.expected:
                continue  # what is damaged there is no build that was held
            with suppress(NothingToAccept):
                self.accept(snapshot, name)

    def _release(self, snapshot: Snapshot, vault: Vault) -> None:
        """Forget copies of what the configuration does not hold any more."""
        patterns = snapshot.holds.patterns
        for name, manifest in list(vault.current().items()):
            root = manifest.pinned_by or name
            if not matches(NormalizedName(root), patterns) and root not in snapshot.holds.held:
                vault.forget(name)

    def _accept_declared(self, snapshot: Snapshot, vault: Vault) -> bool:
        """A declared requirement that the new build meets and the old one did not accepts it."""
        accepted = False
        declared = snapshot.desired.requirements if snapshot.desired else ()
        for name, broken in list(self._breaks.items()):
            bounds = [d.requirement.specifier for d in declared if d.name == name]
            if broken.found is None or broken.found == broken.expected:
                continue
            if _all_admit(bounds, broken.found) and not _all_admit(bounds, broken.expected):
                with suppress(NothingToAccept):  # it is not whole (yet), so the hold is broken
                    self.accept(snapshot, name)
                    self._compare(snapshot, vault, anew=False)
                    accepted = True
        return accepted

    def _worth_keeping(self, snapshot: Snapshot, vault: Vault) -> list[Held]:
        """The held packages that are whole, and not in the vault yet."""
        known = vault.current()
        return [
            held
            for name, held in snapshot.holds.held.items()
            if name not in known
            and name not in self._breaks
            and not held.distribution.legacy  # no RECORD, so nobody knows its files
            and not self._belongs_to_broken(held)
            and defect_of(held.distribution, snapshot.installed) is None
        ]

    def _belongs_to_broken(self, held: Held) -> bool:
        """What an intruder pins is not held: it came with it."""
        broken = self._breaks.get(held.pinned_by) if held.pinned_by else None
        return broken is not None and broken.found != broken.expected

    def _tell(self, before: dict[NormalizedName, Break], snapshot: Snapshot) -> None:
        for name, broken in self._breaks.items():
            if name not in before or before[name] != broken:
                log.error("hold.broken", package=name, expected=str(broken.expected),
                          found=str(broken.found) if broken.found else None,
                          message=words(broken, snapshot, self.vault(snapshot)))  # fmt: skip

    def first_broken(self, snapshot: Snapshot) -> NormalizedName | None:
        """The broken hold to put back first: what it pins comes back with it."""
        known = self.vault(snapshot).current()
        kept = [name for name in self._breaks if name in known]
        return next((n for n in kept if known[n].pinned_by not in kept), None)

    def holds(self, snapshot: Snapshot) -> tuple[Hold, ...]:
        """How each hold stands, for the status."""
        return rows(snapshot, self.vault(snapshot), self._breaks)

    @property
    def breaks(self) -> dict[NormalizedName, Break]:
        """The holds that are not as they were."""
        return self._breaks


def _acceptable(name: NormalizedName, fresh: HoldSet, snapshot: Snapshot) -> Held:
    """What is installed of that name, if it can be the held build.

    Raises:
        NothingToAccept: It cannot.
    """
    found = snapshot.installed.get(name)
    if found is None:
        raise NothingToAccept(name, "is not installed", "; to do without it, take it out of `hold`")
    defect = defect_of(found, snapshot.installed)
    if defect is not None:
        raise NothingToAccept(name, f"{found.version} is not whole ({defect})")
    held = fresh.held.get(name)
    if held is None:
        before = snapshot.holds.held.get(name)
        holder = before.pinned_by if before else None
        why = f"{found.version} is not what {holder} pins" if holder else "is held no more"
        raise NothingToAccept(name, why, "; to hold it by itself, add it to `hold`")
    return held


def _all_admit(bounds: Iterable[SpecifierSet], version: Version) -> bool:
    return all(bound.contains(version, prereleases=True) for bound in bounds)
