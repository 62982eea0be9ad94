"""When a new tree may go live: inside the maintenance windows, and not while a job is running.

Decides from the clock and /proc. Does not wait by itself, but says how long to wait.
"""

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from cronsim import CronSim

from reconciler.config import Window
from reconciler.environment.environment import Environment
from reconciler.environment.usage import User, users_of
from reconciler.log.logger import get_logger
from reconciler.passes.outcome import Postponed
from reconciler.processes import Cancellation
from reconciler.status import Reason, Suspension

log = get_logger(__name__)

_LOOK_AGAIN_SECONDS = 30.0
_SHOWN = 3
_AT_ONCE = "`reconciler trigger --apply` does not wait; without a service, `apply --force`."


@dataclass
class Gates:
    """The gate of one environment; remembers how long it has been in use."""

    suspension: Callable[[], Suspension | None] = lambda: None
    """Why the environment is left alone right now, if it is: someone may pause it during a pass."""
    now: Callable[[], float] = time.time
    """Seconds since the epoch: windows go by the clock."""
    elapsed: Callable[[], float] = time.monotonic
    """Seconds that pass evenly: how long it has been in use does not depend on the clock."""
    users: Callable[[Path], list[User]] = users_of
    in_use_by: tuple[int, ...] = ()
    """The processes that changes wait for."""
    _in_use_since: float | None = field(default=None)

    def wait_until_open(self, environment: Environment, cancel: Cancellation) -> None:
        """Return if the new tree may go live now.

        Raises:
            Postponed: It may not; says how long to wait.
            Cancelled: The pass was asked to end.
        """
        cancel.check()
        self._check_suspension()
        self._check_window(environment.config.windows)
        limit = environment.config.wait_while_in_use
        if limit is not None and environment.exists:
            self._check_use(environment, limit)

    def went_live(self) -> None:
        """A change has gone live: the next one starts a new wait for running jobs."""
        self._in_use_since = None

    def _check_suspension(self) -> None:
        suspension = self.suspension()
        if suspension is not None:
            raise Postponed(
                Reason.PAUSED,
                f"the environment is left alone: {suspension.reason}. `reconciler resume` ends "
                f"this. {_AT_ONCE}",
                _LOOK_AGAIN_SECONDS,
            )

    def _check_window(self, windows: tuple[Window, ...]) -> None:
        if not windows:
            return
        waits = [seconds_until_open(window, self.now()) for window in windows]
        if min(waits) > 0:
            opens = dt.datetime.fromtimestamp(self.now() + min(waits), dt.UTC)
            log.info("window.closed", opens=opens.isoformat())
            raise Postponed(
                Reason.OUTSIDE_WINDOW,
                f"changes wait for the maintenance window, which opens at {opens:%Y-%m-%d %H:%M} "
                f"UTC. {_AT_ONCE}",
                min(waits),
            )

    def _check_use(self, environment: Environment, limit: float) -> None:
        users = self.users(environment.interpreters.get().prefix)
        self.in_use_by = tuple(user.pid for user in users)
        if not users:
            self._in_use_since = None
            return
        now = self.elapsed()
        if self._in_use_since is None:
            self._in_use_since = now
        waited = now - self._in_use_since
        named = ", ".join(str(u) for u in users[:_SHOWN])
        named += f" and {len(users) - _SHOWN} more" if len(users) > _SHOWN else ""
        if waited >= limit:
            log.warning("environment.busy", users=named, waited=round(waited), proceeding=True)
            return  # not reset: the same pass asks again before its exchange
        log.info("environment.busy", users=named, waited=round(waited), proceeding=False)
        left = "until it ends" if limit == float("inf") else f"for {limit - waited:.0f} s at most"
        raise Postponed(
            Reason.IN_USE,
            f"the environment is in use by {named}; changes wait {left}. {_AT_ONCE}",
            min(_LOOK_AGAIN_SECONDS, limit - waited),
        )


def seconds_until_open(window: Window, now: float) -> float:
    """The seconds until the window opens; 0 while it is open.

    Args:
        window: When it opens, by cron and time zone, and for how long.
        now: Seconds since the epoch.
    """
    # Not backward from now: CronSim would lose the hour that repeats when summer time ends.
    if _opening_after(now - window.duration, window) <= now:
        return 0.0
    return _opening_after(now, window) - now


def _opening_after(moment: float, window: Window) -> float:
    zone = ZoneInfo(window.timezone) if window.timezone else None
    local = dt.datetime.fromtimestamp(moment, zone)
    # In a repeated hour, CronSim begins with the first one, which may be over.
    openings = (
        it.timestamp() for it in CronSim(window.cron, local if zone else local.astimezone())
    )
    return next(opening for opening in openings if opening > moment)
