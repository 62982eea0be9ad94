"""The one worker of one environment: a thread that sleeps until there is a reason to look.

Level-triggered: whatever woke it up, it looks at everything anew. Triggers that arrive
during a pass make one more pass after it; none is lost, and no two passes run at once.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
from packaging.utils import NormalizedName

from reconciler import generations
from reconciler.config import Mode, Occasion, OnHoldBroken
from reconciler.daemon.progress import Progress, Step
from reconciler.daemon.view import Known, environment_status
from reconciler.environment import Environment, Look
from reconciler.gates import Gates
from reconciler.gpu import probe
from reconciler.interpreter import InterpreterError
from reconciler.journal import Journal, iso
from reconciler.keeping import Keeper
from reconciler.log import context, get_logger
from reconciler.notices import Notices
from reconciler.processes import Cancellation, Cancelled
from reconciler.reconcile import Outcome, Pass
from reconciler.recording import Recorded, Recorder, Work
from reconciler.restore import restore
from reconciler.state.installed import Distribution
from reconciler.status import Environment as EnvironmentStatus
from reconciler.status import Pass as PassStatus
from reconciler.status import PassDetail, Suspension, Trigger

log = get_logger(__name__)

GPU_SECONDS = 60.0
_LONGEST_DEBOUNCE = 20
"""How many times the debounce a stream of events can put a pass off."""
_SETTLES = frozenset({Trigger.FILE, Trigger.ENVIRONMENT})
"""Triggers that come in bursts."""

Publish = Callable[[EnvironmentStatus], None]
OnRecorded = Callable[[str, PassDetail, str | None], None]
Emit = Callable[[str, dict[str, object]], None]


@dataclass
class Order:
    """What somebody asked for: one pass with an id of its own."""

    trigger: Trigger
    pass_id: int | None = None
    work: Work | None = None
    forced: bool = False
    """Whether it applies changes even where the environment is suspended or only observed."""


@dataclass
class _Inbox:
    """Orders and events that wait, under one lock."""

    condition: threading.Condition = field(default_factory=threading.Condition)
    orders: list[Order] = field(default_factory=list)
    triggers: set[Trigger] = field(default_factory=set)
    last_event: float = 0.0
    first_event: float = 0.0
    stopping: bool = False


class Worker:
    """Looks after one environment, on a thread of its own."""

    def __init__(
        self,
        environment: Environment,
        journal: Journal,
        publish: Publish,
        emit: Emit,
    ) -> None:
        self.environment = environment
        self.journal = journal
        self._publish = publish
        self._emit = emit
        self._gate = Gates()
        self._notices = Notices(environment.config.name, environment.config.notify)
        self.keeper = Keeper(environment)
        self.on_recorded: OnRecorded = lambda _name, _detail, _reason: None
        self._inbox = _Inbox()
        self._cancel = Cancellation()
        self._thread = threading.Thread(target=self._run, name=f"worker-{self.name}", daemon=True)
        self._known = Known(environment.config)
        self._published: EnvironmentStatus | None = None
        self._telling = threading.Lock()
        self._gpu_lock = threading.Lock()
        self._finished = threading.Condition()
        self._done: dict[int, PassDetail] = {}
        self._told_broken: dict[str, str | None] = {}
        self._torch: Distribution | None = None
        self._planned_for: tuple[str | None, object] | None = None
        self._audit_due = True
        self._lock: object | None = None
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
        return self._known

    def start(self) -> None:
        """Begin to look after the environment."""
        self._known = self._known.update(
            state=self.journal.state(self.environment.key),
            last_pass=next(iter(self.journal.history(self.environment.key, 1)), None),
        )
        self.journal.close_interrupted(self.environment.key)
        self._inbox.triggers.add(Trigger.START)
        self._tell()
        self._thread.start()

    def wake(self, trigger: Trigger) -> None:
        """Something may have changed: look soon. From any thread."""
        with self._inbox.condition:
            now = time.monotonic()
            if not self._inbox.triggers & _SETTLES:
                self._inbox.first_event = now
            self._inbox.last_event = now
            self._inbox.triggers.add(trigger)
            self._inbox.condition.notify_all()

    def order(self, order: Order) -> int:
        """Ask for a pass; its id. Like orders that wait already share one pass."""
        with self._inbox.condition:
            for waiting in self._inbox.orders:
                if order.work is None and waiting.work is None and waiting.forced == order.forced:
                    return waiting.pass_id or 0
            order.pass_id = self.journal.begin(self.environment.key, order.trigger, time.time())
            self._inbox.orders.append(order)
            self._inbox.condition.notify_all()
            return order.pass_id

    def hand_over(self, successor: "Worker") -> None:
        """After its end: let another do what was asked of this one, and know what it did."""
        successor.adopt(self._inbox.orders, self._done)
        self._inbox.orders = []

    def adopt(self, orders: Iterable[Order], done: Mapping[int, PassDetail]) -> None:
        """Before its start: see `hand_over`."""
        self._inbox.orders += orders
        self._done.update(done)

    def suspend(self, suspension: Suspension, until: float | None) -> None:
        """Leave the environment alone from now on; a running pass is finished."""
        self._save(suspension=suspension, suspended_until=until)
        log.info("environment.paused", reason=suspension.reason, until=suspension.until)

    def resume(self) -> None:
        """Look after it again."""
        self._save(suspension=None, suspended_until=None, rolled_back_revision=None)
        log.info("environment.resumed")

    def rolled_back(self, outcome: Outcome, reason: str | None) -> None:
        """Leave the environment as it is now until the files change, or someone resumes."""
        revision = outcome.look.revision
        because = f": {reason}" if reason else ""
        self._save(
            suspension=Suspension(
                reason=f"rolled back to generation {outcome.generation}{because}",
                since=iso(time.time()),
                revision=revision,
            ),
            suspended_until=None,
            rolled_back_revision=revision,
        )
        self.keeper.accept_what_is(outcome.look)

    def _save(self, **changes: object) -> None:
        state = msgspec.structs.replace(self.journal.state(self.environment.key), **changes)
        self.journal.save_state(self.environment.key, state)
        self._learn(state=state)

    def stop(self, timeout: float, *, finish: bool = False) -> bool:
        """End the worker; whether it has ended.

        Args:
            timeout: Seconds to wait.
            finish: Let a running pass come to its end first.
        """
        with self._inbox.condition:
            self._inbox.stopping = True
            self._inbox.condition.notify_all()
        if not finish:
            self._cancel.cancel()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def wait_for_pass(self, pass_id: int, timeout: float) -> PassDetail | None:
        """The outcome of a pass, once it is over; None after `timeout` seconds."""
        with self._finished:
            self._finished.wait_for(lambda: pass_id in self._done, timeout)
            return self._done.get(pass_id)

    # The worker's own thread, from here on.

    def _run(self) -> None:
        with context(environment=self.name):
            while not self._inbox.stopping:
                try:
                    order = self._next()
                    if order is not None:
                        self._handle(order)
                except Exception:  # the second place that keeps the service alive
                    log.exception("worker.failed")
                    self._cancel_wait(5.0)

    def _cancel_wait(self, seconds: float) -> None:
        with self._inbox.condition:
            self._inbox.condition.wait_for(lambda: self._inbox.stopping, seconds)

    def _next(self) -> Order | None:
        """Sleep until there is a reason to look; None if the worker is to end."""
        inbox = self._inbox
        with inbox.condition:
            while not inbox.stopping:
                self.beat = time.monotonic()
                if inbox.orders:
                    return inbox.orders.pop(0)
                wait = self._seconds_to_wait()
                if wait <= 0:
                    return Order(self._take_trigger())
                inbox.condition.wait(wait)
        return None

    def _seconds_to_wait(self) -> float:
        inbox, config = self._inbox, self.environment.config
        now = time.monotonic()
        if inbox.triggers - _SETTLES:
            return 0.0
        if inbox.triggers:
            quiet = inbox.last_event + config.debounce
            latest = inbox.first_event + _LONGEST_DEBOUNCE * config.debounce
            return min(quiet, latest) - now
        return self._next_check() - time.time()

    def _take_trigger(self) -> Trigger:
        """The reason for the next pass; of several, the one that says most."""
        triggers = self._inbox.triggers
        self._inbox.triggers = set()
        for trigger in (Trigger.START, Trigger.RELOAD, Trigger.FILE, Trigger.ENVIRONMENT):
            if trigger in triggers:
                self._audit_due |= trigger is not Trigger.FILE
                return trigger
        if triggers:
            return next(iter(triggers))
        retry = self._known.state.retry_at
        return Trigger.RETRY if retry and retry <= time.time() else Trigger.INTERVAL

    def _next_check(self) -> float:
        """When to look again if nothing happens (seconds since the epoch)."""
        return self._known.next_check_at or time.time()

    def _plan_next_check(self) -> None:
        now = time.time()
        state = self._known.state
        times = [now + self.environment.config.interval]
        if state.retry_at is not None and state.suspension is None:
            times.append(state.retry_at)
        if state.suspended_until is not None:
            times.append(state.suspended_until)
        self._learn(next_check_at=max(now + 0.2, min(times)), current=None, step="")

    def _handle(self, order: Order) -> None:
        self.busy = True
        try:
            self._end_suspension()
            self._pass(order)
        finally:
            self.busy = False
            self._plan_next_check()

    def _end_suspension(self) -> None:
        until = self._known.state.suspended_until
        if until is not None and until <= time.time():
            self.resume()

    def _pass(self, order: Order) -> None:
        by_hand = order.forced or order.work is not None
        recorder = Recorder(self.environment, self.journal, None if by_hand else self._gate)
        started = time.time()
        number = order.pass_id or self.journal.begin(self.environment.key, order.trigger, started)
        current = PassStatus(id=number, trigger=order.trigger, result=None, started_at=iso(started))
        work = order.work or self._work(order)
        recorded = recorder.run(
            work,
            trigger=order.trigger,
            pass_id=number,
            cancel=self._cancel,
            listener=_Follower(self, current),
            keep_unchanged=order.pass_id is not None,
        )
        self._record(recorded, order)

    def _work(self, order: Order) -> Work:
        """What a pass may do now: reconcile, or only look."""

        def work(running: Pass) -> Outcome:
            audit = self._is_audit_due()
            look = running.look(audit=audit)
            self._audit_due = False
            self._lift_rollback(look.revision)
            self._learn(look=look, holds=self.keeper.keep(look, compare=audit))
            broken = self._to_restore(look, order)
            if broken is not None:
                self.wake(Trigger.ENVIRONMENT)
                return restore(running, broken)
            if order.forced or self._may_change(look.revision, order.trigger):
                return running.reconcile(audit=False)
            return self._only_look(running, look)

        return work

    def _only_look(self, running: Pass, look: Look) -> Outcome:
        """Report the drift; and the plan, once for each revision and set of packages."""
        seen = (look.revision, look.installed)
        if look.drift.in_sync or self._planned_for == seen:
            return running.observe(look)
        outcome = running.plan(audit=False)
        self._planned_for = seen
        self._learn(planned=outcome.plan)
        return outcome

    def _to_restore(self, look: Look, order: Order) -> NormalizedName | None:
        """The broken hold that is to be put back without being asked, if any."""
        wanted = self.environment.config.on_hold_broken is OnHoldBroken.RESTORE
        if not wanted or not self._may_change(look.revision, order.trigger):
            return None
        return self.keeper.first_broken(look)

    def _is_audit_due(self) -> bool:
        last = self.environment.audited_at
        interval = self.environment.config.audit_interval
        return self._audit_due or last is None or time.monotonic() - last >= interval

    def _lift_rollback(self, revision: str | None) -> None:
        """After a roll-back the environment is left alone until the files change."""
        state = self._known.state
        if state.rolled_back_revision and state.rolled_back_revision != revision:
            self.resume()

    def _may_change(self, revision: str | None, trigger: Trigger) -> bool:
        state = self._known.state
        if state.suspension is not None or self.environment.config.mode is Mode.OBSERVE:
            return False
        if trigger in (Trigger.MANUAL, Trigger.RETRY, Trigger.RESUME, Trigger.START):
            return True
        waiting = state.retry_at is not None and state.retry_at > time.time()
        return not (waiting and state.last_attempted_revision == revision)

    def _record(self, recorded: Recorded, order: Order) -> None:
        outcome, detail = recorded.outcome, recorded.detail
        changes: dict[str, object] = {"state": recorded.state, "trouble": recorded.trouble}
        if outcome is not None:
            changes |= {"look": outcome.look, "failed": outcome.failed or self._still(outcome)}
            if outcome.look.drift.in_sync or outcome.changes:
                changes["planned"] = ()
            if outcome.changes:
                changes |= {"atomic": outcome.atomic, "atomic_reason": outcome.atomic_reason}
            self.environment.remember_good(outcome.look)
            changes["holds"] = self.keeper.keep(outcome.look, compare=bool(outcome.changes))
        if order.pass_id is not None or detail.changes or detail.failed or recorded.trouble:
            changes["last_pass"] = _shown(detail)
        self._learn(**changes, generations=self._generations(), current=None, step="")
        reason = recorded.trouble.reason if recorded.trouble else None
        self.on_recorded(self.name, detail, reason)
        self._tell_others(detail, recorded)
        if detail.changes or self._torch_is_another():
            self.check_gpu()
        with self._finished:
            self._done[detail.id] = detail
            for old in sorted(self._done)[:-100]:
                del self._done[old]
            self._finished.notify_all()

    def _still(self, outcome: Outcome) -> tuple[object, ...]:
        """After a mere look: the failures of the last pass that still show."""
        drifted = {row.name for row in outcome.look.drift.drifted}
        return tuple(f for f in self._known.failed if f.name in drifted)

    def _tell_others(self, detail: PassDetail, recorded: Recorded) -> None:
        """Commands and webhooks hear of changes, failures and broken holds."""
        told = {"pass": msgspec.to_builtins(_shown(detail))}
        postponed = recorded.trouble is not None and recorded.trouble.retry_after is not None
        if detail.changes:
            self._notices.tell(Occasion.CHANGED, told)
        if (detail.failed or recorded.trouble) and not postponed:
            self._notices.tell(Occasion.FAILED, told)
        broken = {hold.name: hold.message for hold in self._known.holds if not hold.intact}
        if broken and broken != self._told_broken:
            self._notices.tell(Occasion.HOLD_BROKEN, {"holds": broken})
        self._told_broken = broken

    def _torch_is_another(self) -> bool:
        """Whether torch is not the one that was asked last, whoever changed it."""
        look = self._known.look
        installed = look.installed.get("torch") if look else None
        before, self._torch = self._torch, installed
        return self._known.gpu is None or installed is not before

    def check_gpu(self) -> None:
        """Ask torch what it sees, without holding anything up."""
        if not self.environment.exists or not self._gpu_lock.acquire(blocking=False):
            return
        threading.Thread(target=self._probe_gpu, name=f"gpu-{self.name}", daemon=True).start()

    def _probe_gpu(self) -> None:
        try:
            config = self.environment.config
            found = probe(config.python, self.environment.environ, GPU_SECONDS, self._cancel)
        except Cancelled:
            return
        finally:
            self._gpu_lock.release()
        with context(environment=self.name):
            log.info("gpu.checked", available=found.available, name=found.name, error=found.error)
        self._learn(gpu=found)

    def is_alive(self, now: float, silence: float) -> bool:
        """Whether the thread runs and has not been silent for too long in its own work."""
        if not self._thread.is_alive():
            return self._inbox.stopping
        return not self.busy or self._cancel.has_children or now - self.beat < silence

    def _generations(self) -> tuple[object, ...]:
        try:
            workspace = self.environment.workspace
        except (InterpreterError, OSError):
            return ()
        return generations.listed(workspace)

    def follow(self, current: PassStatus, step: str) -> None:
        """The running pass has come to another step."""
        self.beat = time.monotonic()
        if step == "look":
            return  # a mere look is over in milliseconds; showing it would only flicker
        self._learn(current=current, step=step)

    def said(self, pass_id: int, line: str, step: Step | None) -> None:
        """uv said something, which may be the progress of one package."""
        self.beat = time.monotonic()
        about = {"environment": self.name, "pass": pass_id}
        self._emit("log", {**about, "line": line})
        if step is not None:
            told = {"package": step.package, "step": step.step, "done": step.done}
            self._emit("progress", {**about, **told, "total": step.total})

    def _learn(self, **changes: object) -> None:
        """Know something new, and say so if it shows."""
        with self._telling:
            self._known = self._known.update(**changes)
            self._tell()

    def _tell(self) -> None:
        fresh = environment_status(self._known, self._published, time.time())
        if fresh != self._published:
            self._published = fresh
            self._publish(fresh)


@dataclass
class _Follower:
    """Passes on what a pass says of itself."""

    worker: Worker
    current: PassStatus

    progress: Progress = field(default_factory=Progress)

    def phase(self, name: str) -> None:
        self.progress.enter(name)
        self.worker.follow(self.current, name)

    def line(self, text: str) -> None:
        self.worker.said(self.current.id, text, self.progress.read(text))


def _shown(detail: PassDetail) -> PassStatus:
    """A pass without its log, as the status shows it."""
    fields = {name: getattr(detail, name) for name in PassStatus.__struct_fields__}
    return PassStatus(**fields)
