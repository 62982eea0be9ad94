"""From what somebody asks for to an order for a worker, or to a refusal that says why."""

from dataclasses import dataclass

from packaging.utils import NormalizedName, canonicalize_name

from reconciler.config import Mode
from reconciler.daemon.actions import Action, Refusal, RequestRefused
from reconciler.daemon.inbox import Order
from reconciler.daemon.knowledge import Knowledge
from reconciler.daemon.worker import Worker
from reconciler.holds.monitor import HoldMonitor
from reconciler.holds.standing import INSTALL_IT, NEVER_INSTALLED
from reconciler.passes.outcome import Outcome
from reconciler.passes.reconcile import observe
from reconciler.passes.restore import restore
from reconciler.passes.rollback import NoSuchGeneration, choose, roll_back
from reconciler.passes.running import Pass
from reconciler.state.holds import matches
from reconciler.status import Trigger


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for; which fields matter depends on the action."""

    action: Action
    reason: str | None = None
    duration: float | None = None
    """Seconds that a pause lasts; None: until resumed."""
    generation: int | None = None
    package: str | None = None
    apply: bool = False
    """Change things this once, whatever mode or suspension say."""


def order_for(worker: Worker, request: Request) -> Order:
    """What the worker is to do about a request.

    Raises:
        RequestRefused: It cannot be done.
    """
    match request.action:
        case Action.RECONCILE:
            return Order(Trigger.MANUAL, forced=request.apply, audit=True)
        case Action.PAUSE:
            worker.knowledge.pause(request.reason, request.duration)
            return Order(Trigger.MANUAL)
        case Action.RESUME:
            worker.knowledge.resume()
            return Order(Trigger.RESUME)
        case Action.ROLLBACK:
            return _roll_back(worker, request)
        case Action.RESTORE:
            _refuse_observed(worker, request)
            name = _held(worker, request.package)
            return Order(Trigger.RESTORE, work=lambda _k, _n, running: restore(running, name))
        case Action.ACCEPT:
            return _accept(_held(worker, request.package))
        case Action.GPU:
            worker.check_gpu()
            return Order(Trigger.MANUAL)


def _refuse_observed(worker: Worker, request: Request) -> None:
    if worker.environment.config.mode is Mode.OBSERVE and not request.apply:
        raise RequestRefused(
            Refusal.OBSERVING,
            f'{worker.name} is only observed (mode = "observe")',
            'Set mode = "apply", or send {"apply": true} to do it this once.',
        )


def _roll_back(worker: Worker, request: Request) -> Order:
    _refuse_observed(worker, request)
    try:
        target = choose(worker.environment.workspace, request.generation)
    except NoSuchGeneration as error:
        raise RequestRefused(
            Refusal.UNKNOWN_GENERATION, str(error).rstrip("."), "/status lists them."
        ) from error

    def work(monitor: HoldMonitor, knowledge: Knowledge, running: Pass) -> Outcome:
        outcome = roll_back(running, target.number)
        knowledge.roll_back(outcome.generation, outcome.snapshot.revision, request.reason)
        monitor.accept_what_is(outcome.snapshot, running.lock)
        return outcome

    return Order(Trigger.ROLLBACK, work=work)


def _accept(name: NormalizedName) -> Order:
    def work(monitor: HoldMonitor, _knowledge: Knowledge, running: Pass) -> Outcome:
        monitor.accept(running.look(audit=True), name, running.lock)
        return observe(running.environment.look(refresh=True))

    return Order(Trigger.ACCEPT, work=work)


def _held(worker: Worker, package: str | None) -> NormalizedName:
    """The hold that is meant.

    Raises:
        RequestRefused: Nothing of that name is held.
    """
    name = canonicalize_name(package or "")
    known = {hold.name for hold in worker.known.holds}
    if name not in known and matches(name, worker.environment.config.hold):
        raise RequestRefused(
            Refusal.UNKNOWN_HOLD, f"`{package}` {NEVER_INSTALLED} in {worker.name}", INSTALL_IT
        )
    if name not in known:
        raise RequestRefused(
            Refusal.UNKNOWN_HOLD,
            f"`{package}` is not held in {worker.name}",
            f"Held are: {', '.join(sorted(known)) or 'none'}.",
        )
    return name
