"""A running pass: its environment, cancellation, listener, and log.

Does not know what the pass is for; `reconcile`, `restore` and `rollback` do.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.environment.environment import Environment
from reconciler.environment.leads_out import refuse_packages_elsewhere
from reconciler.environment.snapshot import Snapshot
from reconciler.environment.steadiness import installer_in
from reconciler.excerpts import Excerpt
from reconciler.files.trust import Insecure
from reconciler.holds.held_bytes import HeldBytes, HoldEdited
from reconciler.log.logger import get_logger
from reconciler.passes.outcome import Gate, KeepsChanging, Listener, LiveTreeChanged, Unready
from reconciler.processes import Cancellation
from reconciler.status import Change, PassProof
from reconciler.trees.durability import FileSystem
from reconciler.trees.stage import STAGE
from reconciler.trees.workspace import PassLock, Workspace

log = get_logger(__name__)

STARTS = 4
"""How often a pass starts over because the live tree changed."""
_PAUSE_SECONDS = 0.2


@dataclass
class Pass:
    """One pass over one environment.

    The caller holds the environment's pass lock. `log` and `steps` can be read even if the pass
    fails.
    """

    environment: Environment
    cancel: Cancellation
    listener: Listener
    gate: Gate | None = None
    """Decides when a change may go live; None: at any time."""
    lock: PassLock = field(default_factory=PassLock)
    """The pass lock, once the caller holds it; needed to write to the vault."""
    log: Excerpt = field(default_factory=Excerpt)
    steps: dict[str, float] = field(default_factory=dict)
    """Seconds spent in each step."""
    planned: tuple[Change, ...] = ()
    """The planned changes, even if the pass failed."""
    seen: Snapshot | None = None
    """What the last look found, even if the pass failed."""
    held: HeldBytes | None = None
    """The held files as they were when the pass began to change something."""
    proof: PassProof | None = None
    """What was imported so far, even if the pass failed; None: nothing."""
    untouched: bool = True
    """Whether the live tree is known to be unchanged. Only `publish` sets it to False."""
    _disk: FileSystem | None = None
    """The file system of the work folder, since before anything was written there."""

    def look(self, *, audit: bool) -> Snapshot:
        """The first step: the desired state, what is installed, the holds, and the drift.

        Args:
            audit: Whether to check that every recorded file exists.

        Raises:
            Unready: The project's file cannot be used and has never been good.
            InterpreterError: There is no working interpreter.
            KeepsChanging: Someone else changed packages during every look.
        """
        with self.step("look"):
            snapshot = self._steady_look(audit=audit)
        self.seen = snapshot
        if snapshot.desired is None and snapshot.problem is not None:
            raise Unready(snapshot.problem)
        return snapshot

    def _steady_look(self, *, audit: bool) -> Snapshot:
        """Look until what is wrong is not only someone's install that is under way."""
        where = "site-packages"
        for number in range(STARTS):
            if number:
                log.info("live-tree.changed", folder=where)
                self.environment.forget_read()
                self.cancel.sleep(_PAUSE_SECONDS * number)
            try:
                snapshot = self.environment.look(audit_files=audit, cancel=self.cancel)
            except FileNotFoundError as missing:
                vanished = vanished_from(self.environment.workspace, missing)
                if vanished is None:
                    raise
                where = vanished
                continue
            wrong = snapshot.broken or snapshot.drift.drifted
            if not wrong or not self.environment.has_moved():
                return snapshot
        raise KeepsChanging(where, installer_in(self.environment.workspace.prefix))

    def refuse_moved(self) -> None:
        """Check that nobody has put packages there, or taken any away, since the last look.

        Raises:
            LiveTreeChanged: Someone has.
        """
        if self.environment.has_moved():
            self.environment.forget_read()
            raise LiveTreeChanged("site-packages")

    def wait_until_open(self) -> None:
        """Return if a change may go live now.

        Raises:
            Postponed: It may not; says how long to wait.
        """
        if self.gate is not None:
            self.gate.wait_until_open(self.environment, self.cancel)

    def refuse_insecure(self, *, every_entry: bool = False) -> None:
        """As root, only act on files that nobody else can write (like sshd with keys).

        Args:
            every_entry: Also look at the entries of folders that have not been changed since they
                were found safe.

        Raises:
            Insecure: Someone else can.
        """
        environment = self.environment
        problem = environment.insecure_now() if every_entry else environment.insecure
        if problem is not None:
            log.error("environment.insecure", path=problem.file)
            raise Insecure(problem)

    @contextmanager
    def work_folder(self, snapshot: Snapshot) -> Iterator[Path]:
        """A private folder for this attempt, discarded afterwards.

        Raises:
            LeadsOut: The environment's packages are behind a symbolic link.
        """
        refuse_packages_elsewhere(snapshot.interpreter)
        workspace = Workspace(snapshot.interpreter.prefix)
        workspace.create()
        work = workspace.new_work()
        (work / STAGE).mkdir()  # before the first build starts, which may not write there
        try:
            with FileSystem(work) as self._disk:
                yield work
        finally:
            self._disk = None
            with suppress(OSError):  # then the next start removes it
                workspace.discard(work)

    def make_durable(self, folder: Path) -> None:
        """Write out what the pass has written so far, before it goes live.

        Args:
            folder: One on the same file system.

        Raises:
            OSError: Something may not be on the disk.
            Cancelled: The pass was asked to end.
        """
        with self.step("sync"):
            if self._disk is not None:
                self._disk.sync(self.cancel)
                return
            with FileSystem(folder) as disk:
                disk.sync(self.cancel)

    @contextmanager
    def holding(self, snapshot: Snapshot) -> Iterator[None]:
        """Notice what builds and verify commands do to held files, however this ends.

        Raises:
            HoldEdited: They edited one in place.
        """
        held = self.held = HeldBytes(snapshot)
        try:
            yield
        except Exception as error:
            edited = held.edited()
            if edited:
                raise HoldEdited(edited) from error
            raise
        else:
            if self.untouched:  # else `publish` has checked it
                held.refuse_edited()
        finally:
            self.held = None

    def refuse_edited(self) -> None:
        """Check that no held file was edited in place since `holding` began.

        Raises:
            HoldEdited: One was.
        """
        if self.held is not None:
            self.held.refuse_edited()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step of the pass: it is reported to the listener and timed."""
        self.cancel.check()
        self.listener.step(name)
        started = time.monotonic()
        try:
            yield
        finally:
            self.spent(name, time.monotonic() - started)

    def spent(self, name: str, seconds: float) -> None:
        """Add to the time of a step."""
        self.steps[name] = self.steps.get(name, 0.0) + seconds

    def line(self, text: str) -> None:
        """Add a line to the pass's log, and pass it to the listener."""
        self.log.add(text + "\n")
        self.listener.line(text)


def vanished_from(workspace: Workspace, missing: FileNotFoundError) -> str | None:
    """What was removed from the live tree while it was read, if that is what is missing."""
    path = Path(str(missing.filename))
    inside = path.is_relative_to(workspace.prefix) and not path.is_relative_to(workspace.root)
    return str(path.relative_to(workspace.prefix)) if inside else None
