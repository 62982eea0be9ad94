"""Carries out, within a pass, the requests that are more than a look: one function for each."""

from msgspec.structs import replace
from packaging.utils import canonicalize_name

from reconciler.daemon.knowledge import Knowledge
from reconciler.daemon.requests import Accept, Restore, Rollback, reason_of
from reconciler.environment.environment import Environment
from reconciler.environment.interpreter import InterpreterError
from reconciler.files.trust import Insecure
from reconciler.holds.monitor import HoldMonitor
from reconciler.passes.outcome import Outcome
from reconciler.passes.reconcile import observe
from reconciler.passes.restore import restore
from reconciler.passes.rollback import roll_back
from reconciler.passes.running import Pass
from reconciler.status import GenerationStatus
from reconciler.trees import generations


def carry_out(
    request: Rollback | Restore | Accept, running: Pass, monitor: HoldMonitor, knowledge: Knowledge
) -> Outcome:
    """Do what was asked for.

    Args:
        request: What.
        running: The pass that does it.
        monitor: The environment's holds.
        knowledge: Learns of a rollback.
    """
    match request:
        case Rollback():
            return _roll_back(request, running, monitor, knowledge)
        case Restore():
            return restore(running, canonicalize_name(request.package))
        case Accept():
            name = canonicalize_name(request.package)
            accepted = monitor.accept(running.look(audit=True), name, running.lock)
            seen = observe(running.environment.look(refresh=True))
            return replace(seen, message=str(accepted))


def generations_of(environment: Environment) -> tuple[GenerationStatus, ...]:
    """The trees that were live; none if that cannot be found out."""
    try:
        return generations.listed(environment.workspace)
    except (InterpreterError, Insecure, OSError):  # the pass has said what is wrong with it
        return ()


def _roll_back(
    request: Rollback, running: Pass, monitor: HoldMonitor, knowledge: Knowledge
) -> Outcome:
    reason = reason_of(request)
    outcome = roll_back(running, request.generation, reason, knowledge.about_to_roll_back)
    knowledge.roll_back(outcome.generation, outcome.snapshot.revision, reason)
    monitor.accept_what_is(outcome.snapshot, running.lock)
    return outcome
