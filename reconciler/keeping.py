"""Watching over the holds: into the vault when first seen whole, compared ever after.

Says how each hold stands. Restoring is another module's part; nothing live is changed here.
"""

import os
from contextlib import suppress
from dataclasses import dataclass, field

from packaging.utils import NormalizedName

from reconciler.config import Mode
from reconciler.environment import Environment, Look
from reconciler.log import get_logger
from reconciler.standing import rows, words
from reconciler.state.holds import Held, hold_set, matches
from reconciler.state.installed import Installed, defect_of
from reconciler.status import Hold
from reconciler.vault import Break, Vault, find_breaks
from reconciler.workspace import Workspace

log = get_logger(__name__)


class NothingToAccept(Exception):
    """What is to be accepted is not installed, or not whole."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is not installed, or not whole, so there is nothing to accept. "
            f"`reconciler hold restore {name}` puts the held build back."
        )


@dataclass
class Keeper:
    """Knows how the holds of one environment stand."""

    environment: Environment
    _compared: Installed | None = None
    _breaks: dict[NormalizedName, Break] = field(default_factory=dict)
    _vault: Vault | None = None

    def vault(self, look: Look) -> Vault:
        """The environment's vault."""
        workspace = Workspace(look.interpreter.prefix)
        if self._vault is None or self._vault.prefix != workspace.prefix:
            self._vault = Vault(workspace)
        return self._vault

    def keep(self, look: Look, *, compare: bool) -> tuple[Hold, ...]:
        """Bring the vault up to date, and say how each hold stands.

        Args:
            look: The environment as it is.
            compare: Compare every file, even if no package has changed since the last time.

        Raises:
            OSError: A copy cannot be made.
        """
        vault = self.vault(look)
        self._release(look, vault)
        if compare or self._compared is not look.installed:
            before = self._breaks
            prefix = look.interpreter.prefix
            self._breaks = find_breaks(vault, look.installed, prefix, list(vault.current()))
            self._compared = look.installed
            self._accept_declared(look, vault)
            self._tell(before, look)
        elif self._breaks:  # the project may declare by now what is there already
            self._accept_declared(look, vault)
        changing = self.environment.config.mode is Mode.APPLY
        for held in self._worth_keeping(look, vault) if changing else ():
            manifest = vault.put(held)
            count = sum(len(names) for _, _, names in os.walk(vault.folder(manifest)))
            log.info("hold.vaulted", package=held.name, version=manifest.version, files=count)
        vault.prune(self.environment.config.keep_generations)
        return self.holds(look)

    def accept(self, look: Look, name: NormalizedName) -> None:
        """Take what is installed now as the held build.

        Raises:
            NothingToAccept: It is not installed, or not whole.
            OSError: A copy cannot be made.
        """
        vault = self.vault(look)
        fresh = hold_set(self.environment.config.hold, look.installed, look.markers)
        held = fresh.held.get(name)
        if held is None or defect_of(held.distribution, look.installed) is not None:
            raise NothingToAccept(name)
        for copy in vault.companions(name):
            if copy.name not in fresh.held:
                vault.forget(NormalizedName(copy.name))
        if held.distribution.legacy:
            vault.forget(name)
        else:
            vault.put(held)
        for companion in [h for h in fresh.held.values() if h.pinned_by == name]:
            vault.put(companion)
        self._compared = None
        log.info("hold.accepted", package=name, version=str(held.version))

    def accept_what_is(self, look: Look) -> None:
        """After a roll-back: the held builds of that tree are the held ones again."""
        vault = self.vault(look)
        breaks = find_breaks(vault, look.installed, look.interpreter.prefix, list(vault.current()))
        for name, broken in breaks.items():
            with suppress(NothingToAccept):
                if broken.found is not None:
                    self.accept(look, name)

    def _release(self, look: Look, vault: Vault) -> None:
        """Forget copies of what the configuration does not hold any more."""
        patterns = look.holds.patterns
        for name, manifest in list(vault.current().items()):
            root = manifest.pinned_by or name
            if not matches(NormalizedName(root), patterns) and root not in look.holds.held:
                vault.forget(name)

    def _accept_declared(self, look: Look, vault: Vault) -> None:
        """A declared requirement that the new build meets and the old one did not accepts it."""
        declared = {
            d.name: d.requirement for d in (look.desired.requirements if look.desired else ())
        }
        for name, broken in list(self._breaks.items()):
            requirement = declared.get(name)
            if requirement is None or broken.found is None or broken.found == broken.expected:
                continue
            admits = requirement.specifier.contains
            if admits(broken.found, prereleases=True) and not admits(
                broken.expected, prereleases=True
            ):
                self.accept(look, name)
                prefix = look.interpreter.prefix
                names = list(vault.current())
                self._breaks = find_breaks(vault, look.installed, prefix, names)
                self._compared = look.installed

    def _worth_keeping(self, look: Look, vault: Vault) -> list[Held]:
        """The held packages that are whole, and not in the vault yet."""
        known = vault.current()
        return [
            held
            for name, held in look.holds.held.items()
            if name not in known
            and not held.distribution.legacy  # nobody knows its files, so it could not come back
            and not self._belongs_to_broken(held)
            and defect_of(held.distribution, look.installed) is None
        ]

    def _belongs_to_broken(self, held: Held) -> bool:
        """What an intruder pins is not held: it came with it."""
        return held.pinned_by is not None and held.pinned_by in self._breaks

    def _tell(self, before: dict[NormalizedName, Break], look: Look) -> None:
        for name, broken in self._breaks.items():
            if name not in before or before[name] != broken:
                log.error("hold.broken", package=name, expected=str(broken.expected),
                          found=str(broken.found) if broken.found else None,
                          message=words(broken, look, self.vault(look)))  # fmt: skip

    def first_broken(self, look: Look) -> NormalizedName | None:
        """The broken hold to put back first: what it pins comes back with it."""
        known = self.vault(look).current()
        return next((n for n in self._breaks if known[n].pinned_by not in self._breaks), None)

    def holds(self, look: Look) -> tuple[Hold, ...]:
        """How each hold stands, for the status."""
        return rows(look, self.vault(look), self._breaks)

    @property
    def breaks(self) -> dict[NormalizedName, Break]:
        """The holds that are not as they were."""
        return self._breaks
