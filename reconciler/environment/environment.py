"""One managed environment, and how to look at it: the first step of every pass.

Keeps what the next look needs (caches, the last good desired state). Changes nothing except
the copy of the last good project file in its own workspace.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from packaging.markers import default_environment
from packaging.utils import NormalizedName

from reconciler.config import EnvironmentConfig
from reconciler.environment.cautions import cautions_of
from reconciler.environment.deciding import (
    Deciding,
    decided_by_interpreter,
    decided_by_place,
    decided_by_project,
    trees_of,
)
from reconciler.environment.declaration import declared_by, identity_of
from reconciler.environment.elsewhere import declared_elsewhere
from reconciler.environment.holding import holds_in
from reconciler.environment.interpreter import Interpreter, InterpreterCache
from reconciler.environment.last_good import keep_good, last_good
from reconciler.environment.leads_out import refuse_packages_elsewhere
from reconciler.environment.local_sources import LocalSources
from reconciler.environment.secrets import register_effective, register_installed
from reconciler.environment.snapshot import Snapshot, vault_of
from reconciler.environment.steadiness import Moment, moment_of
from reconciler.files.deciding import noting
from reconciler.files.trust import Insecure, Safe, problems_of
from reconciler.log.redact import redact
from reconciler.processes import Cancellation
from reconciler.state.adjustments import Adjustments
from reconciler.state.build_stamp import LocalSource
from reconciler.state.desired import BadFile, Desired
from reconciler.state.drift import diff
from reconciler.state.installed import Installed, InstalledReader, MetadataCache, audit
from reconciler.state.rows import Drift
from reconciler.state.shared_files import SharedFiles, shared_files
from reconciler.state.stale_scripts import StaleScripts, stale_scripts
from reconciler.state.unseen import UnseenReader
from reconciler.status import Problem
from reconciler.trees.workspace import Workspace
from reconciler.uv.program import Uv
from reconciler.uv.settings import (
    environ_for_uv,
    settings_for,
    stamp_of,
    stamp_of_file,
    without_holds,
)
from reconciler.vault.whereabouts import VaultPlaces, store_for


class Environment:
    """One environment: its configuration, and what is known about it so far.

    Args:
        config: Its configuration.
        environ: The environment variables.
        uv: The configured uv; None means the one installed with this package.
        places: Where the vault may be; by default it is beside the environment.

    As root, nothing is started and nothing is read that someone else could change.
    """

    def __init__(
        self,
        config: EnvironmentConfig,
        environ: Mapping[str, str],
        uv: Path | None = None,
        places: VaultPlaces = VaultPlaces(),  # noqa: B008 -- a value that does not change
    ) -> None:
        self.config = config
        self.environ = environ
        self._places_of_vault = places
        self._store: Path | None = None
        redact.register_environment(environ)
        for_uv = environ_for_uv(environ)
        self.uv = Uv(uv, for_uv)
        self._trusted_uv = (uv,) if uv is not None else ()
        self.interpreters = InterpreterCache(config.python, self._refuse_insecure)
        self.metadata = MetadataCache()
        self._reader: InstalledReader | None = None
        self._unseen: UnseenReader | None = None
        self._places: tuple[tuple[Path, ...], ...] = ()
        self._desired: tuple[tuple[object, ...], Desired] | None = None
        self._settings: Mapping[str, Any] | None = None
        self._broken: dict[NormalizedName, str] = {}
        self._local = LocalSources(for_uv)
        self._stale = StaleScripts()
        self._shared: tuple[Installed, tuple[SharedFiles, ...]] | None = None
        self.audited_at: float | None = None
        self.in_place: str | None = None
        """Why this environment cannot be changed atomically, once that is known."""
        self._last: Snapshot | None = None
        self._last_key: tuple[object, ...] = ()
        self._interpreter_seen: Interpreter | None = None
        self._read_for_desired: frozenset[Path] = frozenset()
        self._read_for_settings: frozenset[Path] = frozenset()
        self._decided_by_project = Deciding()
        self._safe = Safe()
        self._moment: Moment = ()

    @property
    def key(self) -> str:
        """Its name in the journal: the environment's folder."""
        return str(self.config.python.parent.parent)

    @property
    def exists(self) -> bool:
        """Whether there is an interpreter to look at."""
        return os.path.lexists(self.config.python)

    @property
    def insecure(self) -> Problem | None:
        """As root: which of the files that decide what is installed and run others may write."""
        return self._first_problem(Deciding(), self._safe)

    def insecure_now(self) -> Problem | None:
        """The same, looking at every entry again: before a result goes live."""
        return self._first_problem(Deciding(), None)

    def _refuse_insecure(self) -> None:
        """Before the interpreter starts: it imports what is in its folders.

        Raises:
            Insecure: As root: others may write something that decides.
        """
        self._refuse(trees_of(self.config))

    def _refuse(self, more: Deciding) -> None:
        problem = self._first_problem(more, None)
        if problem is not None:
            raise Insecure(problem)

    def _first_problem(self, more: Deciding, safe: Safe | None) -> Problem | None:
        uid = os.geteuid()
        if uid != 0:
            return None
        known = self._interpreter_seen
        deciding = (
            Deciding((*self._trusted_uv, *self._read_for_desired, *self._read_for_settings))
            + Deciding((self.store,), (self.store,))
            + decided_by_place(self.config, self.environ)
            + (decided_by_interpreter(known) if known else Deciding())
            + self._decided_by_project
            + more
        )
        found = problems_of(
            deciding.paths, uid, folders=deciding.folders, trees=deciding.trees, known=safe
        )
        return next(found, None)

    @property
    def workspace(self) -> Workspace:
        """Its workspace; needs the interpreter.

        Raises:
            InterpreterError: There is no working interpreter.
        """
        return Workspace(self.interpreters.get().prefix)

    @property
    def place(self) -> Workspace:
        """The same, found by its path alone: a crash may have left no interpreter."""
        return Workspace(Path(os.path.realpath(self.config.root)))

    @property
    def store(self) -> Path:
        """The vault's folder; it stays the same once it was asked for."""
        if self._store is None:
            self._store = store_for(self.place.prefix, self._places_of_vault)
        return self._store

    @property
    def saved_revision(self) -> str | None:
        """The revision of the project's file as it is now; None if it cannot be used."""
        markers = {str(name): str(value) for name, value in default_environment().items()}
        try:
            return declared_by(self.config, markers, self.environ).revision
        except (BadFile, Insecure):
            return None

    @property
    def last_revision(self) -> str | None:
        """The revision that was in effect at the last look."""
        return self._last.revision if self._last else None

    def look(
        self,
        *,
        audit_files: bool = False,
        refresh: bool = False,
        cancel: Cancellation | None = None,
    ) -> Snapshot:
        """Look at everything again; unchanged parts cost only a few `stat`s.

        Args:
            audit_files: Also check that every recorded file is there, and what scripts start.
            refresh: Compare again even if nothing seems to have changed.
            cancel: Asked between the parts, and for each package.

        Raises:
            Cancelled: `cancel` asked it to end.
            InterpreterError: There is no working interpreter.
            LeadsOut: The environment's packages are behind a symbolic link.
            Insecure: As root: others may write something that decides.
            OSError: site-packages cannot be read.
        """
        check = (cancel or Cancellation()).check
        check()
        interpreter = self._interpreter_seen = self.interpreters.get()
        self._moment = moment_of(interpreter.site_directories)
        if interpreter.is_venv:  # of any other installation, a change is refused
            refuse_packages_elsewhere(interpreter)
        around = stamp_of(self.config.pyproject, self.environ)
        with noting() as read:
            desired, problem = self._read_desired(interpreter, around)
        self._read_for_desired = frozenset(read) or self._read_for_desired
        installed = self._read_installed(interpreter, check)
        if self._last is None or installed is not self._last.installed:
            self.metadata.keep(installed.all())
            register_installed(installed)
        if audit_files:
            self._audit(interpreter, installed, check)
        check()
        vaulted = vault_of(interpreter, self.store).stamp()
        local = self._local.read(installed)
        elsewhere = (dict(self._broken), self._stale, vaulted, around, local)
        key = (interpreter, desired, installed, elsewhere, problem)
        if self._last is None or refresh or not self._same(key):
            with noting() as read:
                snapshot = self._compare(interpreter, desired, problem, installed, local)
            self._read_for_settings = frozenset(read) or self._read_for_settings
            self._decided_by_project = decided_by_project(desired, snapshot.settings, self.environ)
            self._refuse(Deciding())
            self._last, self._last_key = snapshot, key
        return self._last

    def has_moved(self) -> bool:
        """Whether packages were put there or taken away since the last look began."""
        known = self._interpreter_seen
        return known is not None and moment_of(known.site_directories) != self._moment

    def forget_read(self) -> None:
        """Read every package again at the next look: what was read may never have been so."""
        self._reader, self._last = None, None
        self.metadata = MetadataCache()

    def _read_installed(self, interpreter: Interpreter, check: Callable[[], None]) -> Installed:
        own, base = interpreter.site_directories, interpreter.base_directories
        if self._reader is None or self._unseen is None or self._places != (own, base):
            self._places = own, base
            self._reader = InstalledReader(own, self.metadata)
            self._unseen = UnseenReader(own, base)
        found = self._reader.read(check)
        config = self.config
        return self._unseen.with_held(found, config.hold, interpreter.markers, config.hold_closure)

    def _same(self, key: tuple[object, ...]) -> bool:
        if len(self._last_key) != len(key):
            return False
        *identical, elsewhere, problem = key
        return (
            all(a is b for a, b in zip(identical, self._last_key, strict=False))
            and elsewhere == self._last_key[-2]
            and str(problem) == str(self._last_key[-1])
        )

    def _audit(
        self, interpreter: Interpreter, installed: Installed, check: Callable[[], None]
    ) -> None:
        self._refuse(trees_of(self.config))
        self._broken = audit(installed, vault_of(interpreter, self.store).omitted(installed), check)
        self._stale = stale_scripts(installed, interpreter.scripts, interpreter.prefix)
        self.audited_at = time.monotonic()

    def _compare(
        self,
        interpreter: Interpreter,
        desired: Desired | None,
        problem: Problem | None,
        installed: Installed,
        local: Mapping[NormalizedName, LocalSource],
    ) -> Snapshot:
        vault = vault_of(interpreter, self.store)
        holds = holds_in(self.config, installed, interpreter.markers, vault)
        defects = vault.defects(installed)
        doubled = dict.fromkeys(installed.duplicates, "it has a second dist-info folder")
        stale = {n: why for n, why in self._stale.broken.items() if not holds.covers(n)}
        broken = {**stale, **doubled, **defects, **self._broken}
        settings: Mapping[str, Any] = {}
        if desired is not None:
            try:
                settings = settings_for(*desired.configured, holds, self.environ)
            except BadFile as bad:
                problem = problem or bad.problem
                if self._settings is None:
                    desired = None  # packages would come from other places than the user's
                else:
                    settings = without_holds(self._settings, holds)
            else:
                self._settings = settings
        register_effective(desired, settings)
        drift = (
            diff(
                desired, installed, holds, broken, interpreter.markers, Adjustments.of(settings),
                local, vault.version_to_restore,
            )
            if desired
            else Drift(())
        )  # fmt: skip
        shared = self._shared_files(installed)
        cautions = tuple(cautions_of(desired, interpreter, self.environ)) if desired else ()
        return Snapshot(
            interpreter, desired, problem, installed, holds, broken, drift, settings, shared,
            store=self.store, local=local, cautions=cautions, stale=self._stale,
            elsewhere=declared_elsewhere(self.config, desired) if problem is None else None,
        )  # fmt: skip

    def _shared_files(self, installed: Installed) -> tuple[SharedFiles, ...]:
        """Which files two packages claim; read again only when a package has changed."""
        if self._shared is None or self._shared[0] is not installed:
            self._shared = installed, shared_files(installed)
        return self._shared[1]

    def _read_desired(
        self, interpreter: Interpreter, around: tuple[object, ...]
    ) -> tuple[Desired | None, Problem | None]:
        """The desired state in effect, and what is wrong with the file now, if anything.

        Args:
            interpreter: The target.
            around: What changes when a file above the project's changes.
        """
        file = self.config.pyproject
        known, last = self._desired or ((), None)
        try:
            identity = (*identity_of(file), id(interpreter), around)
            if last is not None and known == (*identity, _stamp_of_workspace(last)):
                return last, None
            desired = self._parse(None, interpreter)
        except BadFile as bad:
            return last or self._last_good(interpreter), bad.problem
        identity = (*identity, _stamp_of_workspace(desired))
        if last is not None and last.revision == desired.revision and _same_file(last, desired):
            desired = last  # touched, but not changed
        self._desired = (identity, desired)
        return desired, None

    def _parse(self, text: bytes | None, interpreter: Interpreter) -> Desired:
        return declared_by(self.config, interpreter.markers, self.environ, text)

    def _last_good(self, interpreter: Interpreter) -> Desired | None:
        """The last good state that an earlier process saved."""
        try:
            return self._parse(last_good(self.workspace), interpreter)
        except (OSError, BadFile):
            return None

    def forget_broken(self, names: Iterable[NormalizedName]) -> None:
        """These packages have just been reinstalled and checked."""
        gone = set(names)
        self._broken = {n: why for n, why in self._broken.items() if n not in gone}
        stale = {n: why for n, why in self._stale.broken.items() if n not in gone}
        self._stale = replace(self._stale, broken=stale)

    def remember_good(self, snapshot: Snapshot) -> None:
        """Keep a copy of the project's file, in case the file is bad at the next start."""
        keep_good(self.workspace, self.config.pyproject, snapshot)


def _stamp_of_workspace(desired: Desired) -> object:
    """What stays equal while the files of the workspace are unchanged.

    Nothing does while a source cannot be used: what it needs may appear anywhere.
    """
    if any(one.unusable for one in desired.requirements):
        return object()
    return tuple(map(stamp_of_file, desired.workspace.files)) if desired.workspace else ()


def _same_file(one: Desired, other: Desired) -> bool:
    return one.file == other.file and one.requirements == other.requirements
