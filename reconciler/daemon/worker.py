"""The one worker of one environment: a thread that sleeps until there is a reason to look.

Level-triggered: whatever woke it up, it looks at everything again. Triggers that arrive
during a pass make one more pass after it; none is lost, and no two passes run at once.
"""

import math
import sqlite3
import threading
import time
from collections.abc import Callable

from msgspec.structs import replace

from reconciler.daemon import memory
from reconciler.daemon.announcements import Announcements
from reconciler.daemon.claim import Claim
from reconciler.daemon.departures import Departures
from reconciler.daemon.execution import generations_of
from reconciler.daemon.follower import Emit, PassFollower
from reconciler.daemon.gpu_check import GpuCheck
from reconciler.daemon.inbox import Inbox, Order
from reconciler.daemon.knowledge import Knowledge, Publish
from reconciler.daemon.known import Known, after_failure, after_outcome, idle
from reconciler.daemon.newcomers import Newcomers
from reconciler.daemon.notifications import Notices
from reconciler.daemon.pass_work import PassWork
from reconciler.daemon.requests import Restore
from reconciler.daemon.steady import SteadyTimes
from reconciler.daemon.timetable import Timetable
from reconciler.daemon.turns import Turns
from reconciler.environment.environment import Environment
from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal, State, iso, without_log
from reconciler.log.logger import context, get_logger
from reconciler.passes.endings import JOURNAL_FIX, Trouble
from reconciler.passes.gates import Gates
from reconciler.passes.runner import PassRunner, Recorded, is_worth_telling
from reconciler.passes.sweeping import sweep
from reconciler.processes import Cancellation, Cancelled
from reconciler.status import PassDetail, PassStatus, Reason, Trigger

log = get_logger(__name__)

_TOLD_AFTER_SECONDS = 0.5
"""A wait for its turn that is over sooner is not shown: it would only flicker."""
_SHORT_SECONDS = 0.1
"""A pass that takes longer has read files or run uv, and leaves freed memory behind."""
_JOURNAL_SECONDS = 2.0

OnRecorded = Callable[[str, PassDetail, Reason | None], None]


class Worker:
    """Manages one environment, on a thread of its own."""

    def __init__(
        self,
        environment: Environment,
        journal: Journal,
        claim: Claim,
        publish: Publish,
        emit: Emit,
        turns: Turns,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._turns = turns
        self.environment = environment
        self.journal = journal
        self.inbox = Inbox(environment.config.debounce, clock)
        times = SteadyTimes(clock)
        self._timetable = Timetable(times, clock)
        self.knowledge = Knowledge(environment, journal, publish, clock, times)
        self.monitor = HoldMonitor(environment)
        self._work = PassWork(
            self.monitor, journal, claim, self.knowledge, self._timetable, self.inbox
        )
        self.on_recorded: OnRecorded = lambda _name, _detail, _reason: None
        self._emit = emit
        self._gate = Gates(suspension=lambda: self.known.state.suspension)
        notices = Notices(environment.config.name, environment.config.notify)
        self._announcements = Announcements(notices)
        self._cancel = Cancellation()
        self._departures = Departures(lambda: self.inbox.wake(Trigger.RETRY))
        self.gpu = GpuCheck(environment, self.knowledge, self._cancel)
        self._newcomers = Newcomers(environment, self.knowledge, self._cancel)
        self._thread = threading.Thread(target=self._run, name=f"worker-{self.name}", daemon=True)
        self._ordering = threading.Lock()
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

    def start(self, trigger: Trigger) -> None:
        """Begin to manage the environment.

        Args:
            trigger: Of the first pass: `start`, or `reload`.
        """
        self.knowledge.show()
        self.inbox.wake(trigger)
        self._thread.start()

    def order(self, order: Order) -> int:
        """Ask for a pass; its id. Like orders that wait already share one pass.

        Writes to the journal, so never on the event loop.

        Raises:
            Emptied: The worker has ended; ask its successor.
        """
        with self._ordering:  # else two that come at once would not share
            waiting = self.inbox.share(order)
            number = waiting.pass_id if waiting is not None else None
            if number is None:
                number = order.pass_id = self._begin(order, self._clock())
                try:
                    self.inbox.put(order)
                except BaseException:
                    self.journal.discard(number)
                    raise
        with context(environment=self.name, pass_id=number):
            log.info("pass.requested", trigger=str(order.trigger), reason=order.reason)
        return number

    def _begin(self, order: Order, started: float) -> int:
        key = self.environment.key
        return self.journal.begin(key, order.trigger, started, reason_given=order.reason)

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
        self._turns.look_again()
        if not finish:
            self._cancel.cancel()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def is_alive(self, now: float, silence: float) -> bool:
        """Whether the thread runs and has not been silent for too long in its own work.

        A worker that waits for uv, or for the lock of another uv, is not silent.
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
        self._departures.of(())
        self._announcements.close()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except sqlite3.Error as error:  # a full disk, say: nothing can be recorded
            self._tell_unrecorded(error)
            self.inbox.wait_closed(_JOURNAL_SECONDS)
            self.inbox.wake(Trigger.INTERVAL)  # whatever was to be done is still to be done
        except Exception:  # the second place that keeps the service alive
            log.exception("worker.failed")
            self.inbox.wait_closed(5.0)

    def _tell_unrecorded(self, error: sqlite3.Error) -> None:
        why = f"the history cannot be written ({error}), and without it no pass begins"
        trouble = Trouble(Reason.JOURNAL_FAILED, f"{why}. {JOURNAL_FIX}")
        self.knowledge.update(lambda it: idle(replace(it, trouble=trouble), it.next_check_at))

    def _unrecorded(self, error: sqlite3.Error) -> None:
        """A pass has ended, and that is to be recorded as soon as it can be."""
        self._tell_unrecorded(error)
        try:
            self._cancel.sleep(_JOURNAL_SECONDS)
        except Cancelled:
            raise error from None

    def _remember(self) -> None:
        last = next(iter(self.journal.history(self.environment.key, 1)), None)
        self.knowledge.reload(lambda known: replace(known, last_pass=last))

    def _next_pass(self) -> None:
        if not self.inbox.wait(self._due):
            return
        with self._turns.queue() as turn:
            if not turn.wait(_TOLD_AFTER_SECONDS, lambda: self.inbox.closed):
                self._tell_waiting()
                turn.wait(math.inf, lambda: self.inbox.closed)
            # Only now: what came meanwhile is part of this pass, or left for the next worker.
            order = None if self.inbox.closed else self.inbox.poll(self._due)
            if isinstance(order, Order):
                self._timed_pass(order)
        sweep(self.environment)

    def _tell_waiting(self) -> None:
        log.info("pass.waiting", most=self._turns.most)
        self.knowledge.update(lambda known: replace(known, waits_beside=self._turns.most))

    def _timed_pass(self, order: Order) -> None:
        awake = self.beat = time.monotonic()
        self.busy = True
        try:
            self.knowledge.settle(None)  # a pause whose time is over
            self._pass(order)
        except Exception:  # else it is known with what came of the pass
            at = self._next_check(self.known.state, awake)
            self.knowledge.update(lambda known: idle(known, at))
            raise
        finally:
            self.busy = False
            if time.monotonic() - awake > _SHORT_SECONDS:
                memory.let_go()

    def _due(self) -> tuple[float, Trigger]:
        self._heard()
        return self._timetable.due(self.known)

    def _next_check(self, state: State, began: float) -> float:
        return self._timetable.next_check(state, self.environment.config.interval, began)

    def _heard(self) -> None:
        self.beat = time.monotonic()

    def _pass(self, order: Order) -> None:
        gate = None if order.forced or order.special is not None else self._gate
        recorder = PassRunner(
            self.environment, self.journal, self.monitor, gate, self._clock,
            unrecorded=self._unrecorded,
        )  # fmt: skip
        started, began = self._clock(), time.monotonic()
        number = order.pass_id or self._begin(order, started)
        current = PassStatus(
            id=number, trigger=order.trigger, result=None, started_at=iso(started),
            reason_given=order.reason,
        )  # fmt: skip
        self._work.audit_due |= order.audit
        recorded = recorder.run(
            lambda running: self._work.do(running, order),
            trigger=order.trigger,
            pass_id=number,
            cancel=self._cancel,
            listener=PassFollower(self.knowledge, self._emit, self.name, current, self._heard),
            reason_given=order.reason,
            keep_unchanged=order.pass_id is not None,
            may_create=self._may_create(order),
        )
        self._record(recorded, order, began)

    def _may_create(self, order: Order) -> bool:
        """Whether to make the environment if there is none: a change like any other."""
        if order.special is not None:
            return isinstance(order.special, Restore)
        if not self.environment.exists:  # nothing to look at, but an edit ends a rollback
            self.knowledge.settle(self.environment.saved_revision)
        return order.forced or self._work.may_apply

    def _record(self, recorded: Recorded, order: Order, began: float) -> None:
        detail, trouble = recorded.detail, recorded.trouble
        # With what came of it, so that nobody sees a failure without its retry.
        next_check_at = self._next_check(recorded.state, began)
        shown = without_log(detail)
        tell = order.pass_id is not None or is_worth_telling(detail, trouble)
        ended = self._ended(recorded)
        listed = generations_of(self.environment)

        def change(known: Known) -> Known:
            last_pass = shown if tell else known.last_pass
            after = replace(ended(known), last_pass=last_pass, generations=listed)
            return idle(after, next_check_at)

        self.knowledge.reload(change)
        self.on_recorded(self.name, detail, trouble.reason if trouble else None)
        in_use = trouble is not None and trouble.reason is Reason.IN_USE
        self._departures.of(self._gate.in_use_by if in_use else ())
        self._announcements.announce(shown, trouble, self.known.holds)
        self.gpu.start_if_changed(self.known, packages_changed=bool(detail.changes))
        self._newcomers.start(detail.changes)

    def _ended(self, recorded: Recorded) -> Callable[[Known], Known]:
        """What the end of a pass changes in what is known."""
        outcome, trouble = recorded.outcome, self._trouble_after(recorded)
        if outcome is None:
            exists, seen = self.environment.exists, recorded.seen
            return lambda known: after_failure(known, trouble, seen, exists=exists)
        if outcome.changes:
            self._gate.went_live()
        return lambda known: after_outcome(known, outcome, trouble, recorded.holds)

    def _trouble_after(self, recorded: Recorded) -> Trouble | None:
        """What is in the way now; a pass that only looked does not end what is tried again."""
        outcome = recorded.outcome
        if outcome is None or outcome.attempted or recorded.trouble is not None:
            return recorded.trouble
        stays = not outcome.snapshot.drift.in_sync and self._work.waits(outcome.snapshot)
        return self.known.trouble if stays else None
