"""What is known of one environment: shown at once, and the lasting part of it in the journal.

Several threads learn things; each change is whole before anyone sees it, and none is lost.
"""

import threading
import time
from collections.abc import Callable

from msgspec.structs import replace

from reconciler.daemon.known import Known
from reconciler.daemon.steady import SteadyTimes
from reconciler.daemon.view import environment_status
from reconciler.environment.environment import Environment
from reconciler.journal.history import Journal, RollingBack, State
from reconciler.journal.suspension import paused, resumed, rolled_back, rolling_back, settled
from reconciler.log.logger import get_logger
from reconciler.status import EnvironmentStatus, Problem

log = get_logger(__name__)

Publish = Callable[[EnvironmentStatus], None]


def _as_it_is(known: Known) -> Known:
    return known


class Knowledge:
    """Everything that is known of one environment now.

    Args:
        environment: Which.
        journal: Where the lasting part is.
        publish: Takes each new status, on the thread that learned something.
        clock: The time, in seconds since the epoch.
    """

    def __init__(
        self,
        environment: Environment,
        journal: Journal,
        publish: Publish,
        clock: Callable[[], float] = time.time,
        times: SteadyTimes | None = None,
    ) -> None:
        self._clock = clock
        self._times = times or SteadyTimes(clock)
        self._key = environment.key
        self._journal = journal
        self._publish = publish
        self._lock = threading.Lock()
        self._known = Known(environment.config)
        self._shown: EnvironmentStatus | None = None
        self._muted = False

    @property
    def known(self) -> Known:
        """What is known: an immutable value."""
        return self._known

    def show(self) -> None:
        """Publish what is known."""
        with self._lock:
            self._show()

    def update(self, change: Callable[[Known], Known]) -> None:
        """Replace what is known, and publish it if that shows.

        Args:
            change: From what is known to what is known now; quick, and without effects.
        """
        with self._lock:
            self._known = change(self._known)
            self._show()

    def reload(self, change: Callable[[Known], Known] = _as_it_is) -> None:
        """Read the lasting part from the journal again, and replace the rest like `update`."""
        with self._lock:
            # Read under the lock: the last one to get it has seen what all others wrote.
            state = self._journal.state(self._key)
            self._known = change(replace(self._known, state=state))
            self._show()

    def save(self, change: Callable[[State], State]) -> None:
        """Change the lasting part; it is on the disk afterwards."""
        self._journal.update_state(self._key, change, durable=True)
        self.reload()

    def inherit(self, before: "Knowledge") -> None:
        """Go on from what was known of the same environment under another configuration."""
        old, shown = before.mute()
        with self._lock:
            self._shown = shown
            self._known = Known(
                self._known.config, state=old.state, last_pass=old.last_pass,
                snapshot=old.snapshot, holds=old.holds, trouble=old.trouble, failed=old.failed,
                gpu=old.gpu, atomic=old.atomic, atomic_reason=old.atomic_reason,
                generations=old.generations, unimportable=old.unimportable,
            )  # fmt: skip

    def mute(self) -> tuple[Known, EnvironmentStatus | None]:
        """Say nothing from now on, since others know better; what was known, and shown."""
        with self._lock:
            self._muted = True
            return self._known, self._shown

    def polls(self, why: str | None) -> None:
        """The files are polled, and why; None: they are watched."""
        self.update(lambda known: replace(known, polled=why))

    def pause(self, reason: str | None, duration: float | None) -> None:
        """The environment is to be left alone.

        Args:
            reason: Why, in the words of the person who asks.
            duration: For so many seconds; None: until someone resumes.
        """
        self.save(lambda state: paused(state, reason, duration, self._clock()))
        log.info("environment.paused", reason=reason, seconds=duration)

    def about_to_roll_back(self, begun: RollingBack) -> None:
        """Record what is about to go live, so that a kill does not lose it."""
        self.save(lambda state: rolling_back(state, begun))

    def roll_back(self, generation: int, revision: str | None, reason: str | None) -> None:
        """It is to be left as it is now until the files change, or someone resumes."""
        self.save(lambda state: rolled_back(state, generation, revision, reason, self._clock()))

    def settle(self, revision: str | None) -> None:
        """End a pause whose time is over, and a rollback if the files are others by now."""
        before = self._known.state
        now = self._clock()
        if before.suspended_until is not None:  # what the clock would show if nobody had set it
            now = before.suspended_until - self._times.left_of_pause(before)
        if settled(before, revision, now) == before:
            return
        self.save(lambda state: settled(state, revision, now))
        if self._known.state.suspension is None:
            log.info("environment.resumed")

    def resume(self, reason: str | None) -> None:
        """It is managed again; the reason is in the words of the person who asks."""
        self.save(resumed)
        log.info("environment.resumed", reason=reason)

    def _show(self) -> None:
        fresh = environment_status(self._known, self._shown, self._clock())
        if fresh == self._shown or self._muted:
            return
        _tell_problem(self._shown.problem if self._shown else None, fresh.problem)
        self._shown = fresh
        self._publish(fresh)


def _tell_problem(before: Problem | None, now: Problem | None) -> None:
    if now is not None and now != before:
        log.warning("file.problem", file=now.file, line=now.line, column=now.column,
                    reason=now.reason, mend=now.fix)  # fmt: skip
    elif now is None and before is not None:
        log.info("file.mended", file=before.file)
