"""Asks torch in the environment what it sees, on a thread of its own, and never twice at once."""

import threading

from msgspec.structs import replace
from packaging.utils import NormalizedName

from reconciler.daemon.knowledge import Knowledge
from reconciler.daemon.known import Known
from reconciler.environment.environment import Environment
from reconciler.environment.gpu import probe
from reconciler.log.logger import context, get_logger
from reconciler.processes import Cancellation, Cancelled

log = get_logger(__name__)

_SECONDS = 60.0


class GpuCheck:
    """The check of the GPU of one environment.

    Args:
        environment: Which.
        knowledge: Learns the answer.
        cancel: Ends a check that is running.
    """

    def __init__(
        self, environment: Environment, knowledge: Knowledge, cancel: Cancellation
    ) -> None:
        self._environment = environment
        self._knowledge = knowledge
        self._cancel = cancel
        self._running = threading.Lock()
        self._again = False
        self._asked_of: object = None

    def start(self) -> None:
        """Ask torch without holding anything up; from any thread."""
        if not self._environment.exists or self._environment.insecure:
            return
        self._again = True  # for a running check, which may have begun before there was news
        if not self._running.acquire(blocking=False):
            return
        self._again = False
        name = f"gpu-{self._environment.config.name}"
        threading.Thread(target=self._ask, name=name, daemon=True).start()

    def start_if_changed(self, known: Known, *, packages_changed: bool) -> None:
        """Ask after a pass that changed packages, or that found another torch than before.

        Other installers may have put it there: that is when the answer matters most.
        """
        asked_of = _torch(known)
        if self._environment.exists and (packages_changed or asked_of != self._asked_of):
            self._asked_of = asked_of
            self.start()

    def _ask(self) -> None:
        environment = self._environment
        try:
            found = probe(environment.config.python, environment.environ, _SECONDS, self._cancel)
        except Cancelled:
            return
        finally:
            self._running.release()
        if self._again:
            self.start()
        with context(environment=environment.config.name):
            log.info("gpu.checked", available=found.available, name=found.name, error=found.error)
        self._knowledge.update(lambda known: replace(known, gpu=found))


def _torch(known: Known) -> tuple[object, ...]:
    """What torch's answer depends on, as far as a look shows it."""
    torch = known.snapshot.installed.get(NormalizedName("torch")) if known.snapshot else None
    broken = tuple(hold.name for hold in known.holds if not hold.intact)
    return (torch.version if torch else None, torch.info if torch else None, broken)
