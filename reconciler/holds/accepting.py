"""What counts as held from now on: whatever someone has made of a held package on purpose.

Only the vault changes: the environment stays as it is.
"""

from collections.abc import Iterator

import msgspec
from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.environment.snapshot import Snapshot
from reconciler.holds.standing import INSTALL_IT
from reconciler.holds.strays import strays
from reconciler.holds.unrecorded import files_without_record
from reconciler.state.holds import Held, HoldSet, companions_of, hold_set
from reconciler.state.installed import (
    Distribution,
    defect_of,
    deleted_files,
    is_unrecorded,
    record_of,
)
from reconciler.status import ExpectedEnd, Reason
from reconciler.vault.breaks import find_breaks
from reconciler.vault.copies import Vault
from reconciler.vault.manifest import Manifest
from reconciler.vault.writer import Unkept, VaultWriter

_SHOWN = 5


class NothingToAccept(ExpectedEnd):
    """What should be accepted is not whole, or is part of another hold that would not work."""

    reason = Reason.NOTHING_TO_ACCEPT

    def __init__(self, name: str, why: str, fix: str) -> None:
        super().__init__(f"{name} {why}, so there is nothing to accept. {fix}.")


class NowHeld(msgspec.Struct, frozen=True):
    """What was accepted."""

    name: NormalizedName
    version: Version | None
    """None: that it is not installed."""
    without: int = 0
    """The number of files that its RECORD lists and that it is without."""
    recorded: bool = True
    """Whether it has a RECORD."""
    copied: bool = True
    """Whether the vault has a copy of it."""
    beside: tuple[Held, ...] = ()
    """What is held with it."""

    @property
    def names(self) -> tuple[NormalizedName, ...]:
        """The packages that were accepted."""
        return (self.name, *(held.name for held in self.beside))

    def __str__(self) -> str:
        if self.version is None:
            return (
                f"{self.name} is gone on purpose. Since it is in `hold`, it is never installed for "
                "you; a build that you install by hand is held again."
            )
        held = f"{self.name} {self.version} is the held build from now on{self._beside()}"
        if not self.copied:
            return f"{held}. It has no list of its files, so the vault has no copy of it."
        if not self.recorded:
            return f"{held}, as it is: without a RECORD."
        if self.without:
            files = "a file" if self.without == 1 else f"{self.without} files"
            return f"{held}, as it is: without {files} that its RECORD lists."
        return f"{held}."

    def _beside(self) -> str:
        shown = ", ".join(f"{held.name} {held.version}" for held in self.beside[:_SHOWN])
        more = f" and {len(self.beside) - _SHOWN} more" if len(self.beside) > _SHOWN else ""
        return f", with {shown}{more}" if shown else ""


class Acceptance(msgspec.Struct, frozen=True):
    """Accepts what is installed.

    Args:
        snapshot: The environment as it is.
        vault: Its copies.
        writer: Makes others.
        slimmed: Whether files may be missing, since someone says that they deleted them.
        remembered: What was held here before, though neither it nor a copy may be left.
    """

    snapshot: Snapshot
    vault: Vault
    writer: VaultWriter
    slimmed: bool
    remembered: frozenset[str] = frozenset()

    def accept(self, name: NormalizedName) -> NowHeld:
        """Hold what is installed of a package, and of what is held with it.

        Raises:
            NothingToAccept: It cannot be.
            OSError: A copy cannot be made.
        """
        snapshot = self.snapshot
        before = snapshot.holds
        fresh = hold_set(before.patterns, snapshot.installed, snapshot.markers, before.closure)
        if snapshot.installed.get(name) is None:
            return self._accept_gone(name, fresh)
        held = self._acceptable(name, fresh)
        with self.writer.alone():
            copied = list(self._copies(held, fresh))
            self._forget_all(self.vault.companions(name), fresh)
            self.writer.keep(copied)
        omitted = self._omitted(held.distribution)
        return NowHeld(
            name,
            held.version,
            without=len(omitted),
            recorded=not is_unrecorded(held.distribution),
            copied=not held.distribution.legacy,
            beside=tuple(companions_of(name, fresh.held.values())),
        )

    def _accept_gone(self, name: NormalizedName, fresh: HoldSet) -> NowHeld:
        known = self.vault.current()
        if name not in known and name not in self.remembered:
            raise NothingToAccept(name, "has never been held here", INSTALL_IT.rstrip("."))
        holder = known[name].pinned_by if name in known else None
        if holder is not None:
            needs = fresh.held.get(NormalizedName(holder))
            why = f"is not installed, and {holder} {needs.version if needs else ''}".rstrip()
            raise NothingToAccept(name, f"{why} needs it", self._restore(name))
        self._forget_all(self.vault.companions(name), fresh)
        return NowHeld(name, None)

    def _copies(self, held: Held, fresh: HoldSet) -> Iterator[Unkept]:
        added = strays(self.snapshot, self.vault)
        for one in (held, *companions_of(held.name, fresh.held.values())):
            if one is not held and one.name not in added and self._is_kept(one):
                continue
            if one.distribution.legacy:
                self.writer.forget(one.name)  # it has no RECORD, so there can be no copy
            elif one is held or self._defect(one.distribution) is None:
                files = (*added.get(one.name, ()), *self._unrecorded(one.distribution))
                yield self.writer.copy(one, as_found=True, added=files)

    def _is_kept(self, held: Held) -> bool:
        """Whether it is just as its copy: then there is no need to read it all again."""
        manifest = self.vault.current().get(held.name)
        if manifest is None or manifest.pinned_by != held.pinned_by:
            return False
        prefix, installed = self.snapshot.interpreter.prefix, self.snapshot.installed
        return not find_breaks(self.vault, installed, prefix, [held.name])

    def _forget_all(self, copies: list[Manifest], fresh: HoldSet) -> None:
        for copy in copies:
            if copy.name not in fresh.held:
                self.writer.forget(NormalizedName(copy.name))

    def _acceptable(self, name: NormalizedName, fresh: HoldSet) -> Held:
        found = self.snapshot.installed.distributions[name]
        defect = self._defect(found)
        if defect is None and is_unrecorded(found) and not self._unrecorded(found):
            defect = "it has no RECORD, and which files are its own cannot be told"
        if defect is not None:
            again = "Install that build by hand again"
            raise NothingToAccept(
                name,
                f"{found.version} is not whole ({defect})",
                f"{self._restore(name)}, or {again.lower()}" if self._has(name) else again,
            )
        self._refuse_part_of_another(found)
        held = fresh.held.get(name)
        if held is None:
            before = self.snapshot.holds.held.get(name)
            holder = before.pinned_by if before else None
            why = (
                f"{found.version} is not what {holder} requires" if holder else "is no longer held"
            )
            alone = "To hold it by itself, add it to `hold`"
            raise NothingToAccept(
                name, why, f"{self._restore(name)}. {alone}" if self._has(name) else alone
            )
        return held

    def _refuse_part_of_another(self, found: Distribution) -> None:
        """What came with another build of its holder belongs to that build."""
        known, installed = self.vault.current(), self.snapshot.installed
        manifest = known.get(found.name)
        if manifest is None or Version(manifest.version) == found.version:
            return
        replaced = None
        while manifest is not None and manifest.pinned_by is not None:
            manifest = known.get(NormalizedName(manifest.pinned_by))
            if manifest and installed.version(manifest.name) != Version(manifest.version):
                replaced = manifest
        if replaced is not None:
            now = installed.version(replaced.name)
            raise NothingToAccept(
                found.name,
                f"{found.version} belongs to {replaced.name} {now}, which is not the held build"
                if now is not None
                else f"is held for {replaced.name}, which is not installed",
                f"`reconciler hold accept {replaced.name}` accepts both, "
                f"`reconciler hold restore {replaced.name}` restores both",
            )

    def _defect(self, distribution: Distribution) -> str | None:
        return defect_of(distribution, self.snapshot.installed, self._omitted(distribution))

    def _omitted(self, distribution: Distribution) -> frozenset[str]:
        if not self.slimmed:
            return frozenset()
        if is_unrecorded(distribution):
            return frozenset((record_of(distribution),))
        return deleted_files(distribution)

    def _unrecorded(self, distribution: Distribution) -> tuple[str, ...]:
        """The files of a package without a RECORD: those of its copy, or what bears its name."""
        if not is_unrecorded(distribution):
            return ()
        manifest = self.vault.current().get(distribution.name)
        prefix = self.snapshot.interpreter.prefix
        if manifest is not None and Version(manifest.version) == distribution.version:
            return tuple(file.path for file in self.vault.files(manifest))
        return files_without_record(distribution, self.snapshot.installed, prefix)

    def _has(self, name: NormalizedName) -> bool:
        return name in self.vault.current()

    def _restore(self, name: NormalizedName) -> str:
        return f"`reconciler hold restore {name}` restores the held build"
