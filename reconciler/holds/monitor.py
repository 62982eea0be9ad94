"""Monitors the holds: copies each to the vault when first seen whole, then compares it.

Reports the state of each hold. Restoring is another module's job; nothing live changes here.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.config import Mode
from reconciler.environment.environment import Environment
from reconciler.environment.interpreter import InterpreterError
from reconciler.environment.snapshot import Snapshot, vault_of
from reconciler.files.trust import Insecure
from reconciler.holds.accepting import Acceptance, NothingToAccept, NowHeld
from reconciler.holds.missed import Before, missed, without
from reconciler.holds.sampling import Sampling
from reconciler.holds.standing import kept_of, notice_of, rows
from reconciler.holds.strays import with_strays
from reconciler.log.logger import get_logger
from reconciler.processes import Cancellation, Cancelled
from reconciler.state.holds import Held, matches
from reconciler.state.installed import Distribution, Installed, defect_of
from reconciler.status import Hold
from reconciler.trees.workspace import Busy, PassLock
from reconciler.vault.breaks import Break, differs_from_record, find_breaks
from reconciler.vault.copies import Vault
from reconciler.vault.former import take_over
from reconciler.vault.moving import adopt, remember_home
from reconciler.vault.writer import Unkept, VaultWriter

log = get_logger(__name__)


@dataclass
class HoldMonitor:
    """Knows the state of one environment's holds.

    What changes the vault asks for the pass lock, and so happens during a pass only.
    """

    environment: Environment
    before: Before = ()
    """The holds when the last pass ended, maybe that of another process."""
    _told: frozenset[str] = frozenset()
    """The holds that are missed and that were logged."""
    _compared: Installed | None = None
    _breaks: dict[NormalizedName, Break] = field(default_factory=dict)
    _as_recorded: dict[NormalizedName, Distribution] = field(default_factory=dict)
    """Holds without a copy that matched their RECORD when they were last compared."""
    _unkept: set[str] = field(default_factory=set)
    """Pins of holds that could not be copied: not tried again until the next audit."""
    _vault: Vault | None = None
    _sampling: Sampling = field(default_factory=Sampling)

    def vault(self, snapshot: Snapshot) -> Vault:
        """The environment's vault."""
        vault = snapshot.vault
        known = self._vault
        if known is None or (known.records, known.target) != (vault.records, vault.target):
            self._vault = known = vault
        return known

    def take_over(self, lock: PassLock) -> None:
        """Take over what was held at another path, and copies that an earlier version made.

        Those were in the environment. If this does not work, the next pass tries again.
        """
        former = self.environment.place.former_vault
        with suppress(InterpreterError, Insecure):  # the look reports it
            vault = vault_of(self.environment.interpreters.get(), self.environment.store)
            writer = VaultWriter(vault, lock)
            try:
                moved = adopt(vault, self.environment.config.pyproject, writer)
                if moved is not None:
                    log.info("vault.adopted", path=str(moved))
                if former.is_dir():
                    take_over(former, vault, writer)
            except (OSError, Busy) as error:
                log.warning("vault.failed", package="*", version=None, error=str(error))

    def keep(
        self,
        snapshot: Snapshot,
        lock: PassLock,
        *,
        compare: bool,
        refuse_moved: Callable[[], None] = lambda: None,
    ) -> tuple[Hold, ...]:
        """Bring the vault up to date, and report the state of each hold.

        Args:
            snapshot: The environment as it is.
            lock: The pass lock, which is held.
            compare: Compare every file, even if no package has changed since the last time.
            refuse_moved: Called before a hold counts as broken; raises if the environment is not
                the one of the snapshot any more.

        Raises:
            OSError: The vault cannot be read, or old copies cannot be removed.
            CopyDamaged: A copy's list of files cannot be read.
        """
        vault = self.vault(snapshot)
        writer = VaultWriter(vault, lock)
        changing = self.environment.config.mode is Mode.APPLY
        if changing:
            with suppress(Cancelled):
                self._release(snapshot, vault, writer)
        compared = compare or self._compared is not snapshot.installed
        if compared:
            before = self._breaks
            self._compare(snapshot, vault, again=compare)
            if self._breaks != before:
                try:
                    refuse_moved()
                except Exception:
                    self._breaks = before
                    self.doubt()
                    raise
            accepted = self._accept_declared(snapshot, vault, lock)
            self._tell(before, snapshot)
            self._unkept.clear()
        else:  # by now the project may declare what is already there
            accepted = self._accept_declared(snapshot, vault, lock)
        if changing and not accepted:  # else the snapshot still has the previous holds
            self._put(self._worth_keeping(snapshot, vault, compared=compared), writer)
            with suppress(Cancelled):  # the next pass does it; what this one has done is done
                writer.prune(self.environment.config.keep_generations)
            remember_home(vault, self.environment.config.pyproject)
        found = rows(snapshot, vault, self._breaks)
        gone = missed(self.before, found, snapshot)
        self._tell_missed(gone)
        return (*found, *gone)

    def sample(self, snapshot: Snapshot, cancel: Cancellation) -> None:
        """Read some of the held files again; the next comparison reports those that differ.

        Raises:
            Cancelled: The pass was asked to end.
        """
        if self._sampling.take(snapshot, cancel):
            self.doubt()

    def doubt(self) -> None:
        """Compare every file the next time: someone has edited one in place."""
        self._compared = None

    def _compare(self, snapshot: Snapshot, vault: Vault, *, again: bool) -> None:
        """Find the holds that have changed, or were not right when first seen."""
        prefix = snapshot.interpreter.prefix
        known = vault.current()
        seen = {} if again and self.environment.config.mode is Mode.APPLY else self._as_recorded
        unkept = [
            held
            for name, held in snapshot.holds.held.items()
            if name not in known and seen.get(name) is not held.distribution
        ]
        unlike = differs_from_record(unkept, prefix)
        self._as_recorded = seen | {h.name: h.distribution for h in unkept if h.name not in unlike}
        breaks = find_breaks(vault, snapshot.installed, prefix, kept_of(snapshot, vault))
        self._breaks = with_strays(unlike | breaks, snapshot, vault)
        self._compared = snapshot.installed

    def _put(self, held: Iterable[Held], writer: VaultWriter) -> None:
        """Make copies; without one a package is held anyway, and the pass goes on."""
        wanted = [one for one in held if one.pin not in self._unkept]
        if not wanted:
            return
        try:
            with writer.alone():
                copies = [copy for one in wanted if (copy := self._copy(one, writer)) is not None]
                writer.keep(copies)
        except (OSError, Busy) as error:
            for one in wanted:
                self._tell_unkept(one.name, str(one.version), error)
            return
        except Cancelled:  # the next pass makes them; what this one has done is done
            return
        for copy in copies:
            log.info("hold.vaulted", package=copy.copy.name, version=copy.copy.version,
                     files=len(copy.copy.files))  # fmt: skip

    def _copy(self, held: Held, writer: VaultWriter) -> Unkept | None:
        try:
            return writer.copy(held)
        except (OSError, ValueError) as error:
            self._tell_unkept(held.name, str(held.version), error)
            return None

    def _tell_unkept(self, name: str, version: str, error: Exception) -> None:
        self._unkept.add(f"{name}=={version}")
        log.warning("vault.failed", package=name, version=version, error=str(error))

    def accept(self, snapshot: Snapshot, name: NormalizedName, lock: PassLock) -> NowHeld:
        """Hold what is installed now, from now on, without the files it is without.

        Args:
            snapshot: The environment as it is.
            name: The package.
            lock: The pass lock, which is held.

        Raises:
            NothingToAccept: It is damaged, or part of a hold that it does not fit.
            OSError: A copy cannot be made.
        """
        accepted = self._accept(snapshot, name, lock, slimmed=True)
        self.before = without(self.before, name) if accepted.version is None else self.before
        self.environment.forget_broken(accepted.names)
        return accepted

    def _accept(
        self, snapshot: Snapshot, name: NormalizedName, lock: PassLock, *, slimmed: bool = False
    ) -> NowHeld:
        """The same; files may only be missing if it was `slimmed` on purpose."""
        vault = self.vault(snapshot)
        remembered = frozenset(one.name for one in self.before)
        acceptance = Acceptance(snapshot, vault, VaultWriter(vault, lock), slimmed, remembered)
        accepted = acceptance.accept(name)
        self._compared = None
        version = str(accepted.version) if accepted.version else None
        log.info("hold.accepted", package=name, version=version)
        return accepted

    def accept_what_is(self, snapshot: Snapshot, lock: PassLock) -> None:
        """After a rollback: the builds in that tree are the held ones again.

        Args:
            snapshot: The environment after the rollback.
            lock: The pass lock, which is held.

        Raises:
            OSError: A copy cannot be made.
        """
        vault = self.vault(snapshot)
        breaks = find_breaks(
            vault, snapshot.installed, snapshot.interpreter.prefix, list(vault.current())
        )
        for name, broken in breaks.items():
            if broken.found is None or broken.found == broken.expected:
                continue  # a damaged package there is not a build that was held
            with suppress(NothingToAccept):
                self._accept(snapshot, name, lock)

    def _release(self, snapshot: Snapshot, vault: Vault, writer: VaultWriter) -> None:
        """Forget the copies of what the configuration no longer holds."""
        patterns = snapshot.holds.patterns
        counting = kept_of(snapshot, vault)
        for name, manifest in list(vault.current().items()):
            root = manifest.pinned_by or name
            covered = matches(NormalizedName(root), patterns) or root in snapshot.holds.held
            if name not in counting or not covered:
                writer.forget(name)

    def _accept_declared(self, snapshot: Snapshot, vault: Vault, lock: PassLock) -> bool:
        """Accept a new build that meets what is declared, if the held one does not."""
        accepted = False
        declared = snapshot.desired.requirements if snapshot.desired else ()
        for name, broken in list(self._breaks.items()):
            bounds = [d.requirement.specifier for d in declared if d.name == name]
            if broken.found is None or broken.found == broken.expected:
                continue
            if _all_admit(bounds, broken.found) and not _all_admit(bounds, broken.expected):
                with suppress(NothingToAccept):  # it is not whole (yet), so the hold is broken
                    self._accept(snapshot, name, lock)
                    self._compare(snapshot, vault, again=False)
                    accepted = True
        return accepted

    def _worth_keeping(self, snapshot: Snapshot, vault: Vault, *, compared: bool) -> list[Held]:
        """The held packages that are whole and not yet so in the vault."""
        slim = {n for n, m in vault.current().items() if m.slim and compared}
        known = vault.current().keys() - slim
        return [
            held
            for name, held in snapshot.holds.held.items()
            if name not in known
            and name not in self._breaks
            and not held.distribution.legacy  # no RECORD, so its files are not known
            and not self._belongs_to_broken(held)
            and defect_of(held.distribution, snapshot.installed) is None
        ]

    def _belongs_to_broken(self, held: Held) -> bool:
        """What belongs to an intruder is not held: it came with the intruder."""
        broken = self._breaks.get(held.pinned_by) if held.pinned_by else None
        return broken is not None and broken.found != broken.expected

    def _tell(self, before: dict[NormalizedName, Break], snapshot: Snapshot) -> None:
        for name, broken in self._breaks.items():
            if name not in before or before[name] != broken:
                told = notice_of(broken, snapshot, self.vault(snapshot))
                log.error("hold.broken", package=name, expected=str(broken.expected),
                          found=str(broken.found) if broken.found else None,
                          message=str(told))  # fmt: skip

    def _tell_missed(self, gone: tuple[Hold, ...]) -> None:
        for row in gone:
            if row.name not in self._told:
                log.error("hold.missing", package=row.name, version=row.version,
                          message=row.message)  # fmt: skip
        self._told = frozenset(row.name for row in gone)

    def first_broken(self, snapshot: Snapshot) -> NormalizedName | None:
        """The broken hold to restore first: what belongs to it is restored with it."""
        known = self.vault(snapshot).current()
        kept = [n for n, broken in self._breaks.items() if n in known and broken.restorable]
        return next((n for n in kept if known[n].pinned_by not in kept), None)

    def holds(self, snapshot: Snapshot) -> tuple[Hold, ...]:
        """The state of each hold, for the status."""
        found = rows(snapshot, self.vault(snapshot), self._breaks)
        return (*found, *missed(self.before, found, snapshot))

    @property
    def breaks(self) -> dict[NormalizedName, Break]:
        """The holds that have changed."""
        return self._breaks


def _all_admit(bounds: Iterable[SpecifierSet], version: Version) -> bool:
    return all(bound.contains(version, prereleases=True) for bound in bounds)
