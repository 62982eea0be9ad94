"""Feeds systemd's watchdog for as long as the workers make progress (sd_watchdog_enabled(3))."""

import asyncio
from collections.abc import Callable

from reconciler.log.logger import get_logger
from reconciler.systemd.notify import Notifier

log = get_logger(__name__)


async def feed_watchdog(notifier: Notifier, alive: Callable[[], bool]) -> None:
    """Feed the watchdog from the event loop for as long as `alive()` says so.

    `alive` is asked at every beat and must answer from memory. It says whether every loop
    that does work made progress lately; a worker that waits for a running uv is alive. Once
    it says no, the manager hears nothing more and restarts the service. Ends by cancellation.
    """
    interval = notifier.watchdog_interval
    if interval is None:
        return
    while True:
        if alive():
            notifier.watchdog()
        else:
            log.error("watchdog.starved", mend="the service manager restarts the service")
        await asyncio.sleep(interval)
