"""Imports what passes have installed for the first time, after it went live, and reports failures.

On a thread of its own, never twice at once. Nothing was there before that could break, so it stays
installed: what it lacks may be a system library, which no pass can install.
"""

import threading
from collections.abc import Sequence

from msgspec.structs import replace
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.config import Proof
from reconciler.daemon.knowledge import Knowledge
from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.log.logger import context, get_logger
from reconciler.planning.kept import confinement_of_imports
from reconciler.processes import Cancellation, Cancelled
from reconciler.proof.importable import modules_of
from reconciler.proof.trial import Budget, TrialPlace, try_imports
from reconciler.proof.verdict import Import, Trial
from reconciler.status import Change, FailedImport

log = get_logger(__name__)


class Newcomers:
    """The packages of one environment that are to be imported for the first time.

    Args:
        environment: Which.
        knowledge: Learns what fails.
        cancel: Ends the imports.
    """

    def __init__(
        self, environment: Environment, knowledge: Knowledge, cancel: Cancellation
    ) -> None:
        self._environment = environment
        self._knowledge = knowledge
        self._cancel = cancel
        self._lock = threading.Lock()
        self._waiting: set[NormalizedName] = set()
        self.busy = False
        """Whether imports are running."""

    def start(self, changes: Sequence[Change]) -> None:
        """After a pass: try what is new, and again what failed, without holding anything up."""
        environment = self._environment
        if not changes or environment.config.proof_in_effect is Proof.OFF or environment.insecure:
            return
        new = {canonicalize_name(c.name) for c in changes if c.action == "install"}
        failed = {canonicalize_name(one.package) for one in self._knowledge.known.unimportable}
        with self._lock:
            self._waiting |= new | failed
            if self.busy or not self._waiting:
                return
            self.busy = True
        name = f"newcomers-{environment.config.name}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        with context(environment=self._environment.config.name):
            try:
                while names := self._next():
                    self._prove(names)
            except Exception as error:
                with self._lock:
                    self.busy = False
                if isinstance(error, Cancelled):
                    return
                if not isinstance(error, OSError):
                    raise  # a defect, which the thread reports
                log.warning("proof.incomplete", reason=str(error))

    def _next(self) -> frozenset[NormalizedName]:
        with self._lock:
            names, self._waiting = frozenset(self._waiting), set()
            self.busy = bool(names)
        return names

    def _prove(self, names: frozenset[NormalizedName]) -> None:
        snapshot = self._knowledge.known.snapshot
        if snapshot is None:
            return
        trial = self._try(snapshot, names)
        now = self._knowledge.known.snapshot
        if now is None or now.installed is not snapshot.installed:
            with self._lock:  # another tree went live meanwhile: what failed may be due to that
                self._waiting |= {one.what.package for one in trial.failed}
        failed = tuple(
            FailedImport(package=one.what.package, module=one.what.module, error=str(one.error))
            for one in trial.failed
        )
        for one in failed:
            log.warning("proof.new-failed", package=one.package, module=one.module,
                        error=one.error)  # fmt: skip
        self._knowledge.update(
            lambda known: replace(known, unimportable=(
                *(one for one in known.unimportable if one.package not in names), *failed))
        )  # fmt: skip

    def _try(self, snapshot: Snapshot, names: frozenset[NormalizedName]) -> Trial:
        interpreter, config = snapshot.interpreter, self._environment.config
        found = snapshot.installed.distributions
        imports = [
            Import(name, module)
            for name in sorted(names & found.keys())
            for module in modules_of(found[name], interpreter.layout)
        ]
        confined = confinement_of_imports(interpreter.prefix)
        place = TrialPlace(interpreter.executable, self._environment.environ, confined)
        return try_imports(place, imports, Budget(config.proof_budget), self._cancel)
