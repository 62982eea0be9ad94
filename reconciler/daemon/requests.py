"""From what somebody asks for to an order for a worker, or to a refusal that says why."""

import time
from dataclasses import dataclass

from packaging.utils import NormalizedName, canonicalize_name

from reconciler.config import Mode
from reconciler.daemon.actions import Action, Refusal, RequestRefused
from reconciler.daemon.worker import Order, Worker
from reconciler.journal import iso
from reconciler.reconcile import Outcome, Pass
from reconciler.restore import restore
from reconciler.rollback import NoSuchGeneration, choose, roll_back
from reconciler.status import Suspension, Trigger


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
            return Order(Trigger.MANUAL, forced=request.apply)
        case Action.PAUSE:
            return _pause(worker, request)
        case Action.RESUME:
            worker.resume()
            return Order(Trigger.RESUME)
        case Action.ROLLBACK:
            return _roll_back(worker, request)
        case Action.RESTORE:
            _refuse_observed(worker, request)
            name = _held(worker, request.package)
            return Order(Trigger.RESTORE, work=lambda running: restore(running, name))
        case Action.ACCEPT:
            return _accept(worker, _held(worker, request.package))
        case Action.GPU:
            worker.check_gpu()
            return Order(Trigger.MANUAL)


def _pause(worker: Worker, request: Request) -> Order:
    now = time.time()
    until = now + request.duration if request.duration else None
    worker.suspend(
        Suspension(
            reason=request.reason or "paused by hand",
            since=iso(now),
            until=iso(until) if until else None,
        ),
        until,
    )
    return Order(Trigger.MANUAL)


def _refuse_observed(worker: Worker, request: Request) -> None:
    if worker.environment.config.mode is Mode.OBSERVE and not request.apply:
        raise RequestRefused(
            Refusal.OBSERVING,
            f'{worker.name} is only observed (mode = "observe")',
            "Set mode to apply, or ask with `apply`.",
        )


def _roll_back(worker: Worker, request: Request) -> Order:
    _refuse_observed(worker, request)
    try:
        target = choose(worker.environment.workspace, request.generation)
    except NoSuchGeneration as error:
        raise RequestRefused(
            Refusal.UNKNOWN_GENERATION, str(error).rstrip("."), "`reconciler history` lists them."
        ) from error

    def work(running: Pass) -> Outcome:
        outcome = roll_back(running, target.number)
        worker.rolled_back(outcome, request.reason)
        return outcome

    return Order(Trigger.ROLLBACK, work=work)


def _accept(worker: Worker, name: NormalizedName) -> Order:
    def work(running: Pass) -> Outcome:
        look = running.look(audit=True)
        worker.keeper.accept(look, name)
        return running.observe(running.environment.look(refresh=True))

    return Order(Trigger.ACCEPT, work=work)


def _held(worker: Worker, package: str | None) -> NormalizedName:
    """The hold that is meant.

    Raises:
        RequestRefused: Nothing of that name is held.
    """
    name = canonicalize_name(package or "")
    known = {hold.name for hold in worker.known.holds}
    if name not in known:
        raise RequestRefused(
            Refusal.UNKNOWN_HOLD,
            f"`{package}` is not held in {worker.name}",
            f"Held are: {', '.join(sorted(known)) or 'none'}.",
        )
    return name
