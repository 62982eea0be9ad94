"""What the worker does in one pass: what it was asked for, reconcile, or only look."""

import time

from msgspec.structs import replace
from packaging.utils import NormalizedName

from reconciler.config import Mode, OnHoldBroken
from reconciler.daemon.claim import Claim
from reconciler.daemon.execution import carry_out
from reconciler.daemon.inbox import Inbox, Order
from reconciler.daemon.knowledge import Knowledge
from reconciler.daemon.timetable import Timetable
from reconciler.environment.snapshot import Snapshot
from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal
from reconciler.passes.outcome import Outcome
from reconciler.passes.publish import until_unchanged
from reconciler.passes.reconcile import observe, plan, reconcile
from reconciler.passes.restore import restore
from reconciler.passes.running import Pass
from reconciler.status import Hold, Trigger

_AT_ONCE = frozenset({Trigger.MANUAL, Trigger.RETRY, Trigger.RESUME, Trigger.START, Trigger.RELOAD})
"""What makes a pass try again though the last one for the same files has just failed."""


class PassWork:
    """Decides what a pass may do now, and does it.

    Args:
        monitor: Knows the holds of the environment.
        journal: The history.
        claim: Taken before anything is done.
        knowledge: What is known, and told.
        timetable: When what failed is retried.
        inbox: Where more work goes that shows on the way.
    """

    def __init__(
        self,
        monitor: HoldMonitor,
        journal: Journal,
        claim: Claim,
        knowledge: Knowledge,
        timetable: Timetable,
        inbox: Inbox,
    ) -> None:
        self._environment = monitor.environment
        self._monitor = monitor
        self._journal = journal
        self._claim = claim
        self._knowledge = knowledge
        self._timetable = timetable
        self._inbox = inbox
        self._planned_for: tuple[str | None, object] | None = None
        self.audit_due = True
        """Whether the next pass looks at every file, however long ago the last one did."""
        self._unsettled = True
        """Whether passes of an earlier process may still look as if they ran."""

    def do(self, running: Pass, order: Order) -> Outcome:
        """What a pass may do now: what it was asked for, reconcile, or only look."""
        self._claim.take()
        self._knowledge.reload()  # a rollback of a process that was killed may be known only now
        if self._unsettled:
            self._journal.close_interrupted(self._environment.key)
            self._unsettled = False
        if order.special is not None:
            self._inbox.wake(Trigger.INTERVAL)  # what else there is to do shows afterwards
            return carry_out(order.special, running, self._monitor, self._knowledge)
        audit = self._is_audit_due()
        compare = audit or order.compare
        snapshot, holds = until_unchanged(running, lambda: self._see(running, audit, compare))
        before = self._knowledge.known.snapshot
        source_changed = before is not None and before.local != snapshot.local
        self._knowledge.update(lambda known: replace(known, snapshot=snapshot, holds=holds))
        broken = self._to_restore(snapshot, order)
        if broken is not None:
            self._inbox.wake(Trigger.ENVIRONMENT)
            return restore(running, broken)
        # A failed build of a local project is worth another try as soon as someone edits it.
        at_once = source_changed and self.may_apply
        if order.forced or at_once or self._may_change(snapshot, order.trigger):
            return reconcile(running, audit=False)
        return self._only_look(running, snapshot)

    def _see(self, running: Pass, audit: bool, compare: bool) -> tuple[Snapshot, tuple[Hold, ...]]:
        """What is there, and how each hold is."""
        snapshot = running.look(audit=audit)
        self.audit_due = False
        self._knowledge.settle(snapshot.revision)  # a rollback, once the files have changed
        if audit:
            self._monitor.sample(snapshot, running.cancel)
        holds = self._monitor.keep(
            snapshot, running.lock, compare=compare, refuse_moved=running.refuse_moved
        )
        return snapshot, holds

    def _only_look(self, running: Pass, snapshot: Snapshot) -> Outcome:
        """Report the drift; and the plan, once for each revision and set of packages."""
        seen = (snapshot.revision, snapshot.installed)
        if snapshot.drift.in_sync or self._planned_for == seen or self.waits(snapshot):
            return observe(snapshot)
        outcome = plan(running, audit=False)
        self._planned_for = seen
        self._knowledge.update(lambda known: replace(known, planned=outcome.plan))
        return outcome

    def _to_restore(self, snapshot: Snapshot, order: Order) -> NormalizedName | None:
        """The broken hold that is to be put back without being asked, if any."""
        wanted = self._environment.config.on_hold_broken is OnHoldBroken.RESTORE
        if not wanted or not self._may_change(snapshot, order.trigger):
            return None
        return self._monitor.first_broken(snapshot)

    def _is_audit_due(self) -> bool:
        last, every = self._environment.audited_at, self._environment.config.audit_interval
        return self.audit_due or last is None or time.monotonic() - last >= every

    def _may_change(self, snapshot: Snapshot, trigger: Trigger) -> bool:
        return self.may_apply and (trigger in _AT_ONCE or not self.waits(snapshot))

    @property
    def may_apply(self) -> bool:
        """Whether passes may change the environment without being asked."""
        suspended = self._knowledge.known.state.suspension is not None
        return not suspended and self._environment.config.mode is Mode.APPLY

    def waits(self, snapshot: Snapshot) -> bool:
        """Whether what failed is not to be retried yet."""
        return self._timetable.waits_for_retry(self._knowledge.known, snapshot)
