"""What an environment looked like at one moment: the value that a pass decides on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.utils import NormalizedName

from reconciler.environment.interpreter import Interpreter
from reconciler.state.build_stamp import LocalSource
from reconciler.state.desired import Desired
from reconciler.state.holds import HoldSet
from reconciler.state.installed import Installed
from reconciler.state.notice import Notice
from reconciler.state.rows import Drift
from reconciler.state.shared_files import SharedFiles
from reconciler.state.stale_scripts import StaleScripts
from reconciler.status import Problem
from reconciler.vault.copies import Vault
from reconciler.vault.manifest import Target
from reconciler.vault.store import Store
from reconciler.vault.whereabouts import BESIDE


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Everything that one look found; equal only to itself.

    `problem` says what is wrong with the project's file now. `desired` is then its last good
    state, or None if it has never been good.
    """

    interpreter: Interpreter
    desired: Desired | None
    problem: Problem | None
    installed: Installed
    holds: HoldSet
    broken: Mapping[NormalizedName, str]
    drift: Drift
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    shared: tuple[SharedFiles, ...] = ()
    """Files that two installed packages claim, with different contents."""
    stale: StaleScripts = field(default_factory=StaleScripts)
    """Scripts that start a Python which is gone; those of packages without a hold are `broken`."""
    local: Mapping[NormalizedName, LocalSource] = field(default_factory=dict)
    """The folders and files that installed packages came from, as they are now."""
    cautions: tuple[Notice, ...] = ()
    """What the project or uv's settings say that does not count or does not fit."""
    elsewhere: Problem | None = None
    """Set if nothing is declared here but in another place: then there is nothing to judge by."""
    store: Path = Path(BESIDE)
    """The vault's folder."""

    @property
    def unclear(self) -> Problem | None:
        """Why nobody can say whether everything is as declared."""
        return self.problem or self.elsewhere

    @property
    def revision(self) -> str | None:
        """The revision of the desired state that is in effect."""
        return self.desired.revision if self.desired else None

    @property
    def markers(self) -> Mapping[str, str]:
        """The target's PEP 508 environment."""
        return self.interpreter.markers

    @property
    def vault(self) -> Vault:
        """The copies of its held packages."""
        return vault_of(self.interpreter, self.store)


def vault_of(interpreter: Interpreter, store: Path) -> Vault:
    """The copies that an environment holds, in a vault."""
    markers = interpreter.markers
    library = interpreter.purelib
    if library.is_relative_to(interpreter.prefix):
        library = library.relative_to(interpreter.prefix)
    target = Target(
        python=markers["python_version"], library=str(library),
        implementation=markers["implementation_name"], machine=markers["platform_machine"],
        platform=markers["sys_platform"],
    )  # fmt: skip
    return Vault(Store(store), interpreter.prefix, target)
