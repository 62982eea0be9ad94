"""The one worker of one environment: a thread that sleeps until there is a reason to look.

Level-triggered: whatever woke it up, it looks at everything anew. Triggers that arrive
during a pass make one more pass after it; none is lost, and no two passes run at once.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from packaging.utils import NormalizedName

from reconciler.config import Mode, Occasion, OnHoldBroken
from reconciler.daemon import memory
from reconciler.daemon.claim import Claim
from reconciler.daemon.inbox import Inbox, Order
from reconciler.daemon.knowledge import Knowledge, Publish
from reconciler.daemon.notifications import Notices
from reconciler.daemon.progress import PackageStep, Progress
from reconciler.daemon.view import Known
from reconciler.environment.environment import Environment
from reconciler.environment.gpu import probe
from reconciler.environment.interpreter import InterpreterError
from reconciler.environment.snapshot import Snapshot
from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal, State, iso
from reconciler.log.logger import context, get_logger
from reconciler.passes.gates import Gates
from reconciler.passes.outcome import Outcome
from reconciler.passes.reconcile import observe, plan, reconcile
from reconciler.passes.restore import restore
from reconciler.passes.runner import PassRunner, Recorded, Trouble, is_worth_telling
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation, Cancelled
from reconciler.status import PassDetail, PassStatus, Reason, Trigger
from reconciler.trees import generations

log = get_logger(__name__)

GPU_SECONDS = 60.0
_SHORT_SECONDS = 0.1
"""A pass that takes longer has read files or run uv, and leaves freed memory behind."""
_AT_ONCE = frozenset({Trigger.MANUAL, Trigger.RETRY, Trigger.RESUME, Trigger.START})
"""What makes a pass try again though the last one for the same files has just failed."""
_NOT_ABOUT_FILES = frozenset({Reason.BAD_FILE, Reason.INTERPRETER_UNUSABLE, Reason.BUSY})
"""Why a pass could not even begin: it does as soon as that is over."""

OnRecorded = Callable[[str, PassDetail, Reason | None], None]
Emit = Callable[[str, dict[str, object]], None]


class Worker:
    """Looks after one environment, on a thread of its own."""

    def __init__(
        self,
        environment: Environment,
        journal: Journal,
        claim: Claim,
        publish: Publish,
        emit: Emit,
    ) -> None:
        self.environment = environment
        self.journal = journal
        self.inbox = Inbox(environment.config.debounce)
        self.knowledge = Knowledge(environment, journal, publish)
        self.monitor = HoldMonitor(environment)
        self.on_recorded: OnRecorded = lambda _name, _detail, _reason: None
        self._claim = claim
        self._emit = emit
        self._gate = Gates(suspension=lambda: self.known.state.suspension)
        self._notices = Notices(environment.config.name, environment.config.notify)
        self._cancel = Cancellation()
        self._thread = threading.Thread(target=self._run, name=f"worker-{self.name}", daemon=True)
        self._gpu_lock = threading.Lock()
        self._gpu_again = False
        self._gpu_asked_of: object = None
        self._told_broken: dict[str, str | None] = {}
        self._planned_for: tuple[str | None, object] | None = None
        self._audit_due = True
        self._unsettled = True
        """Whether passes of an earlier process may still look as if they ran."""
        self.beat = time.monotonic()
        """When the worker last made progress (monotonic seconds)."""
        self.busy = False

    @property
    def name(self) -> str:
        """The environment's name."""
        return self.environment.config.name

    @property
    def known(self) -> Known:
        """What it knows now: an immutable value."""
        return self.knowledge.known

    def start(self) -> None:
        """Begin to look after the environment."""
        self.knowledge.learn()
        self.inbox.wake(Trigger.START)
        self._thread.start()

    def order(self, order: Order) -> int:
        """Ask for a pass; its id. Like orders that wait already share one pass.

        Writes to the journal, so never on the event loop.

        Raises:
            Emptied: The worker has ended; ask its successor.
        """
        waiting = self.inbox.like(order)
        if waiting is not None and waiting.pass_id is not None:
            return waiting.pass_id
        order.pass_id = self.journal.begin(self.environment.key, order.trigger, time.time())
        try:
            self.inbox.put(order)
        except BaseException:
            self.journal.discard(order.pass_id)
            raise
        with context(environment=self.name, pass_id=order.pass_id):
            log.info("pass.requested", trigger=str(order.trigger))
        return order.pass_id

    def succeed(self, before: "Worker") -> None:
        """Before its start: do what was asked of a worker that has ended, and go on from there."""
        self.inbox.fill(before.inbox.empty())
        if before.environment.config.python == self.environment.config.python:
            self.knowledge.inherit(before.knowledge)

    def stop(self, timeout: float, *, finish: bool = False) -> bool:
        """End the worker; whether it has ended.

        Args:
            timeout: Seconds to wait.
            finish: Let a running pass come to its end first.
        """
        self.inbox.close()
        if not finish:
            self._cancel.cancel()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def is_alive(self, now: float, silence: float) -> bool:
        """Whether the thread runs and has not been silent for too long in its own work.

        Whoever waits for uv, or for the lock that another uv has, is not silent.
        """
        if not self._thread.is_alive():
            return self.inbox.closed
        heard = max(self.beat, self._cancel.checked_at)
        return not self.busy or self._cancel.has_children or now - heard < silence

    # The worker's own thread, from here on.

    def _run(self) -> None:
        with context(environment=self.name):
            self._guarded(self._remember)
            while not self.inbox.closed:
                self._guarded(self._next_pass)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except sqlite3.Error as error:  # a full disk, say: nothing can be recorded
            self._tell_unrecorded(error)
            self.inbox.wait_closed(5.0)
            self.inbox.wake(Trigger.INTERVAL)  # whatever was to be done is still to be done
        except Exception:  # the second place that keeps the service alive
            log.exception("worker.failed")
            self.inbox.wait_closed(5.0)

    def _tell_unrecorded(self, error: sqlite3.Error) -> None:
        log.error("journal.failed", path=str(self.journal.path), reason=str(error))
        message = (
            f"the history {self.journal.path} cannot be written ({error}), and without it no pass "
            "begins. Free some space, or let the service's user write it; it is tried again."
        )
        trouble = Trouble(Reason.JOURNAL_FAILED, message)
        self.knowledge.learn(trouble=trouble, current=None, step="")

    def _remember(self) -> None:
        last = next(iter(self.journal.history(self.environment.key, 1)), None)
        self.knowledge.recall(last_pass=last)

    def _next_pass(self) -> None:
        order = self.inbox.take(self._due)
        if order is None:
            return
        awake = self.beat = time.monotonic()
        self.busy = True
        began = time.time()
        try:
            self._end_suspension()
            self._pass(order)
        except Exception:  # else it is known with what came of the pass
            at = self._next_check(self.known.state, began)
            self.knowledge.learn(next_check_at=at, current=None, step="")
            raise
        finally:
            self.busy = False
            if time.monotonic() - awake > _SHORT_SECONDS:
                memory.let_go()

    def _due(self) -> tuple[float, Trigger]:
        """When to look again if nothing happens (seconds since the epoch), and as what."""
        self.beat = time.monotonic()
        at = self.known.next_check_at or time.time()
        retry = self.known.state.retry_at
        return at, Trigger.RETRY if retry and retry <= at else Trigger.INTERVAL

    def _next_check(self, state: State, began: float) -> float:
        """When to look again (seconds since the epoch), after a pass that began then."""
        now = time.time()
        times = [now + self.environment.config.interval]
        # A retry that was due when the pass began has had its turn, even if that only looked.
        if state.retry_at is not None and state.suspension is None and state.retry_at > began:
            times.append(state.retry_at)
        if state.suspended_until is not None:
            times.append(state.suspended_until)
        return max(now + 0.2, min(times))

    def _end_suspension(self) -> None:
        self.knowledge.settle(None)

    def _pass(self, order: Order) -> None:
        by_hand = order.forced or order.work is not None
        gate = None if by_hand else self._gate
        recorder = PassRunner(self.environment, self.journal, self.monitor, gate)
        started = time.time()
        number = order.pass_id or self.journal.begin(self.environment.key, order.trigger, started)
        current = PassStatus(id=number, trigger=order.trigger, result=None, started_at=iso(started))
        self._audit_due |= order.audit
        recorded = recorder.run(
            lambda running: self._work(running, order),
            trigger=order.trigger,
            pass_id=number,
            cancel=self._cancel,
            listener=_Follower(self, current),
            keep_unchanged=order.pass_id is not None,
            may_create=self._may_create(order),
        )
        self._record(recorded, order, started)

    def _may_create(self, order: Order) -> bool:
        """Whether to make the environment if there is none: a change like any other."""
        if order.work is not None:
            return False
        if not self.environment.exists:  # nothing to look at, but an edit ends a rollback
            self._lift_rollback(self.environment.saved_revision)
        return order.forced or self._may_apply

    def _work(self, running: Pass, order: Order) -> Outcome:
        """What a pass may do now: what it was asked for, reconcile, or only look."""
        self._claim.take()
        if self._unsettled:
            self.journal.close_interrupted(self.environment.key)
            self._unsettled = False
        if order.work is not None:
            self.inbox.wake(Trigger.INTERVAL)  # what else there is to do shows afterwards
            return order.work(self.monitor, self.knowledge, running)
        audit = self._is_audit_due()
        snapshot = running.look(audit=audit)
        self._audit_due = False
        self._lift_rollback(snapshot.revision)
        holds = self.monitor.keep(snapshot, running.lock, compare=audit)
        self.knowledge.learn(snapshot=snapshot, holds=holds)
        broken = self._to_restore(snapshot, order)
        if broken is not None:
            self.inbox.wake(Trigger.ENVIRONMENT)
            return restore(running, broken)
        if order.forced or self._may_change(snapshot, order.trigger):
            return reconcile(running, audit=False)
        return self._only_look(running, snapshot)

    def _only_look(self, running: Pass, snapshot: Snapshot) -> Outcome:
        """Report the drift; and the plan, once for each revision and set of packages."""
        seen = (snapshot.revision, snapshot.installed)
        if snapshot.drift.in_sync or self._planned_for == seen or self._waits(snapshot):
            return observe(snapshot)
        outcome = plan(running, audit=False)
        self._planned_for = seen
        self.knowledge.learn(planned=outcome.plan)
        return outcome

    def _to_restore(self, snapshot: Snapshot, order: Order) -> NormalizedName | None:
        """The broken hold that is to be put back without being asked, if any."""
        wanted = self.environment.config.on_hold_broken is OnHoldBroken.RESTORE
        if not wanted or not self._may_change(snapshot, order.trigger):
            return None
        return self.monitor.first_broken(snapshot)

    def _is_audit_due(self) -> bool:
        last = self.environment.audited_at
        interval = self.environment.config.audit_interval
        return self._audit_due or last is None or time.monotonic() - last >= interval

    def _lift_rollback(self, revision: str | None) -> None:
        """After a roll-back the environment is left alone until the files change."""
        self.knowledge.settle(revision)

    def _may_change(self, snapshot: Snapshot, trigger: Trigger) -> bool:
        if not self._may_apply:
            return False
        return trigger in _AT_ONCE or not self._waits(snapshot)

    @property
    def _may_apply(self) -> bool:
        suspended = self.known.state.suspension is not None
        return not suspended and self.environment.config.mode is Mode.APPLY

    def _waits(self, snapshot: Snapshot) -> bool:
        """Whether the last pass for these files failed, and it is not yet time to try again."""
        state, trouble = self.known.state, self.known.trouble
        if trouble is not None and trouble.reason in _NOT_ABOUT_FILES:
            return False
        waiting = state.retry_at is not None and state.retry_at > time.time()
        return waiting and state.last_attempted_revision == snapshot.revision

    def _record(self, recorded: Recorded, order: Order, began: float) -> None:
        outcome, detail = recorded.outcome, recorded.detail
        changes: dict[str, object] = {"trouble": self._trouble_after(recorded)}
        if outcome is not None:
            changes |= {
                "snapshot": outcome.snapshot,
                "failed": outcome.failed or self._still(outcome),
            }
            if outcome.snapshot.drift.in_sync or outcome.changes:
                changes["planned"] = ()
            if outcome.changes:
                self._gate.went_live()
                changes |= {"atomic": outcome.atomic, "atomic_reason": outcome.atomic_reason}
            if recorded.holds is not None:
                changes["holds"] = recorded.holds
        elif not self.environment.exists:
            changes |= {"snapshot": None, "holds": ()}
        if order.pass_id is not None or is_worth_telling(detail, recorded.trouble):
            changes["last_pass"] = _shown(detail)
        # With what came of it, so that nobody sees a failure without its retry.
        changes["next_check_at"] = self._next_check(recorded.state, began)
        self.knowledge.recall(**changes, generations=self._generations(), current=None, step="")
        reason = recorded.trouble.reason if recorded.trouble else None
        self.on_recorded(self.name, detail, reason)
        self._tell_others(detail, recorded)
        # Others may have put another torch there: that is when somebody needs the answer most.
        asked_of = self._torch()
        if self.environment.exists and (detail.changes or asked_of != self._gpu_asked_of):
            self._gpu_asked_of = asked_of
            self.check_gpu()

    def _torch(self) -> tuple[object, ...]:
        """What torch's answer rests on, as far as a look shows it."""
        snapshot = self.known.snapshot
        torch = snapshot.installed.get(NormalizedName("torch")) if snapshot else None
        broken = tuple(hold.name for hold in self.known.holds if not hold.intact)
        return (torch.version if torch else None, torch.info if torch else None, broken)

    def _trouble_after(self, recorded: Recorded) -> Trouble | None:
        """What stands in the way now; a mere look does not end what is to be tried again."""
        outcome = recorded.outcome
        if outcome is None or outcome.attempted or recorded.trouble is not None:
            return recorded.trouble
        stays = not outcome.snapshot.drift.in_sync and self._waits(outcome.snapshot)
        return self.known.trouble if stays else None

    def _still(self, outcome: Outcome) -> tuple[object, ...]:
        """After a mere look: the failures of the last pass that still show."""
        if outcome.attempted:
            return ()
        drifted = {row.name for row in outcome.snapshot.drift.drifted}
        return tuple(f for f in self.known.failed if f.name in drifted)

    def _tell_others(self, detail: PassDetail, recorded: Recorded) -> None:
        """Commands and webhooks hear of changes, failures and broken holds."""
        told = {"pass": msgspec.to_builtins(_shown(detail))}
        postponed = recorded.trouble is not None and recorded.trouble.retry_after is not None
        if detail.changes:
            self._notices.tell(Occasion.CHANGED, told)
        if (detail.failed or recorded.trouble) and not postponed:
            self._notices.tell(Occasion.FAILED, told)
        broken = {hold.name: hold.message for hold in self.known.holds if not hold.intact}
        if broken and broken != self._told_broken:
            self._notices.tell(Occasion.HOLD_BROKEN, {"holds": broken})
        self._told_broken = broken

    def _generations(self) -> tuple[object, ...]:
        try:
            return generations.listed(self.environment.workspace)
        except (InterpreterError, OSError):  # what is wrong with it, the pass has said
            return ()

    def check_gpu(self) -> None:
        """Ask torch what it sees, without holding anything up. From any thread."""
        if not self.environment.exists or self.environment.insecure:
            return
        self._gpu_again = True  # for the running one, which may have begun before there was news
        if not self._gpu_lock.acquire(blocking=False):
            return
        self._gpu_again = False
        threading.Thread(target=self._probe_gpu, name=f"gpu-{self.name}", daemon=True).start()

    def _probe_gpu(self) -> None:
        try:
            config = self.environment.config
            found = probe(config.python, self.environment.environ, GPU_SECONDS, self._cancel)
        except Cancelled:
            return
        finally:
            self._gpu_lock.release()
        if self._gpu_again:
            self.check_gpu()
        with context(environment=self.name):
            log.info("gpu.checked", available=found.available, name=found.name, error=found.error)
        self.knowledge.learn(gpu=found)

    def follow(self, current: PassStatus, step: str) -> None:
        """The running pass has come to another step."""
        self.beat = time.monotonic()
        if step == "look":
            return  # a mere look is over in milliseconds; showing it would only flicker
        self.knowledge.learn(current=current, step=step)

    def said(self, pass_id: int, line: str, step: PackageStep | None) -> None:
        """uv said something, which may be the progress of one package."""
        self.beat = time.monotonic()
        about = {"environment": self.name, "pass": pass_id}
        self._emit("log", {**about, "line": line})
        if step is not None:
            told = {"package": step.package, "step": step.step, "done": step.done}
            self._emit("progress", {**about, **told, "total": step.total})


@dataclass
class _Follower:
    """Passes on what a pass says of itself."""

    worker: Worker
    current: PassStatus

    progress: Progress = field(default_factory=Progress)

    def step(self, name: str) -> None:
        self.progress.held = frozenset(hold.name for hold in self.worker.known.holds)
        self.progress.enter(name)
        self.worker.follow(self.current, name)

    def line(self, text: str) -> None:
        self.worker.said(self.current.id, text, self.progress.read(text))


def _shown(detail: PassDetail) -> PassStatus:
    """A pass without its log, as the status shows it."""
    fields = {name: getattr(detail, name) for name in PassStatus.__struct_fields__}
    return PassStatus(**fields)
