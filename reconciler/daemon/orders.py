"""From a request to an order for a worker, or to a refusal that says why."""

from packaging.utils import canonicalize_name

from reconciler.config import Mode
from reconciler.daemon.actions import Refusal, RequestRefused
from reconciler.daemon.inbox import Order
from reconciler.daemon.requests import (
    Accept,
    CheckGpu,
    Pause,
    Reconcile,
    Request,
    Restore,
    Resume,
    Rollback,
    reason_of,
)
from reconciler.daemon.worker import Worker
from reconciler.holds.standing import INSTALL_IT, NEVER_INSTALLED
from reconciler.passes.rollback import NoSuchGeneration, choose
from reconciler.state.holds import matches
from reconciler.status import Trigger
from reconciler.trees.interruption import interruption_of


def order_for(worker: Worker, request: Request) -> Order:
    """What the worker is to do about a request.

    Raises:
        RequestRefused: It cannot be done.
    """
    match request:
        case Reconcile():
            return Order(Trigger.MANUAL, request, audit=True)
        case Pause():
            worker.knowledge.pause(reason_of(request), request.duration)
            return Order(Trigger.MANUAL, request)
        case Resume():
            worker.knowledge.resume(reason_of(request))
            return Order(Trigger.RESUME, request)
        case Rollback():
            _refuse_observed(worker, apply=request.apply)
            return Order(Trigger.ROLLBACK, _with_generation(worker, request))
        case Restore():
            _refuse_observed(worker, apply=request.apply)
            if not _is_copied(worker, request.package):
                _refuse_unheld(worker, request.package)
            return Order(Trigger.RESTORE, request)
        case Accept():
            _refuse_unheld(worker, request.package)
            return Order(Trigger.ACCEPT, request)
        case CheckGpu():
            worker.gpu.start()
            return Order(Trigger.MANUAL, request)


def _refuse_observed(worker: Worker, *, apply: bool) -> None:
    if worker.environment.config.mode is Mode.OBSERVE and not apply:
        raise RequestRefused(
            Refusal.OBSERVING,
            f'{worker.name} is only observed (mode = "observe")',
            'Set mode = "apply", or send {"apply": true} to do it this once.',
        )


def _with_generation(worker: Worker, request: Rollback) -> Rollback:
    """The same request with the generation that it means now, whatever goes live before it."""
    place = worker.environment.place
    if interruption_of(place) is not None:
        return request  # only the pass knows it, which recovers first
    try:
        target = choose(place, request.generation)
    except NoSuchGeneration as error:
        raise RequestRefused(
            Refusal.UNKNOWN_GENERATION, str(error).rstrip("."), "/status lists them."
        ) from error
    return Rollback(generation=target.number, reason=request.reason, apply=request.apply)


def _is_copied(worker: Worker, package: str) -> bool:
    """Whether it is to be held, and the vault has a copy from before, or of another environment."""
    name, seen = canonicalize_name(package), worker.known.snapshot
    covered = matches(name, worker.environment.config.hold)
    return covered and seen is not None and bool(seen.vault.offered(name))


def _refuse_unheld(worker: Worker, package: str) -> None:
    """Refuse what is not held; before the first look, only the pass can tell."""
    name = canonicalize_name(package)
    if worker.known.snapshot is None:
        return
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
