"""Watches what can change under us: the project's files and the environment's packages.

An event only wakes the worker up; which file it was matters to nobody else. Losing one
costs time, never correctness: the worker looks again by interval. If the kernel's watches are used
up, it polls, and says so.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import anyio
from watchfiles import awatch

from reconciler.config import EnvironmentConfig
from reconciler.daemon.polling import SECONDS, Poller
from reconciler.daemon.watched import HeldPlaces, Targets, targets_of
from reconciler.environment.snapshot import Snapshot
from reconciler.files.inotify import WatchRefused, watch_refused
from reconciler.log.logger import get_logger
from reconciler.status import Trigger

log = get_logger(__name__)

_STEP_MS = 150
"""watchfiles looks up so often whether the kernel has told it of something."""
_STEP_OF_TREES_MS = 400
"""Each look costs a little, and it takes two of them to tell that a folder has come to rest:
what happens inside a held package is to be noticed within a second."""
_NEVER_QUIET_MS = 1600
_LISTEN_MS = 60_000
"""How often watchfiles comes back though nothing has happened; more often costs for nothing."""
_GONE_SECONDS = 0.2
"""A folder has just gone: look for what is there instead."""
_RETRY_SECONDS = 30.0
"""How often it tries to watch again while it polls."""
_THREADS = 2
"""What one watcher takes of the threads that all of the event loop share."""

_RAISE = (
    "Raise fs.inotify.max_user_watches and max_user_instances with sysctl, and in /etc/sysctl.d."
)
_LOOKING = ThreadPoolExecutor(2, "watch")
"""Where watchers look at folders: on the event loop, fifty of them, or a disk that hangs, would
hold up every answer."""

Wake = Callable[[Trigger, float], None]
"""Told what happened, and for how many seconds nothing more has happened since."""


class Watcher:
    """Watches one environment until it is cancelled.

    Args:
        config: Which project and environment.
        wake: Told that something may have changed.
        snapshot: The environment as it was last seen; decides what is worth watching.
        tell: Told why it polls, or None when it watches again.
    """

    def __init__(
        self,
        config: EnvironmentConfig,
        wake: Wake,
        snapshot: Callable[[], Snapshot | None],
        tell: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._config = config
        self._wake = wake
        self._look = snapshot
        self._tell_why = tell
        self._held = HeldPlaces()
        self._changed = asyncio.Event()
        self._working = True

    def refresh(self) -> None:
        """The folders may have become other ones: look where to watch. On the event loop."""
        self._changed.set()

    async def run(self) -> None:
        """Watch, and start over whenever the folders are other ones (uv-facts 15b)."""
        threads = anyio.to_thread.current_default_thread_limiter()
        threads.total_tokens += _THREADS
        try:
            while True:
                targets = await self._targets()
                refused = None if self._working else await _refused(targets)
                refused = refused or await self._watch(targets)
                if refused is not None:
                    await self._poll(targets, refused)
        finally:
            threads.total_tokens -= _THREADS

    async def _targets(self) -> Targets:
        loop = asyncio.get_running_loop()
        look = partial(targets_of, self._config, self._look(), self._held)
        return await loop.run_in_executor(_LOOKING, look)

    async def _watch(self, targets: Targets) -> WatchRefused | None:
        """Watch until the folders are other ones; why it cannot be done, or None."""
        stop = anyio.Event()
        tasks = [asyncio.create_task(self._follow(targets.folders, targets, stop, deep=False))]
        if targets.trees:
            tasks.append(asyncio.create_task(self._follow(targets.trees, targets, stop, deep=True)))
        await asyncio.sleep(0)  # each task begins, which is when awatch sets its watches
        # What happened before was seen by no watch: not by the last one, nor at the start by
        # a pass that has begun to look already.
        self._wake(Trigger.INTERVAL, 0.0)
        failed: list[BaseException] = []
        try:
            refused = await _refused(targets)  # one more: if that works, all the others are set
            if refused is not None:
                return refused
            if not any(task.done() for task in tasks):
                await self._say(None)
            await self._until_elsewhere(targets, tasks)
            failed = [e for t in tasks if t.done() and not t.cancelled() and (e := t.exception())]
        finally:
            stop.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if failed and isinstance(failed[0], FileNotFoundError):
            await asyncio.sleep(_GONE_SECONDS)
            return None
        return WatchRefused(str(failed[0]), _RAISE) if failed else None

    async def _until_elsewhere(self, targets: Targets, tasks: list["asyncio.Task[None]"]) -> None:
        while not any(task.done() for task in tasks):
            self._changed.clear()
            if await self._targets() != targets:
                break
            waiting = asyncio.create_task(self._changed.wait())
            await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()

    async def _poll(self, targets: Targets, refused: WatchRefused) -> None:
        """Look every few seconds, until it is time to try to watch again."""
        poller = Poller(targets)
        self._wake(Trigger.INTERVAL, 0.0)  # what happened before was not seen
        await self._say(refused)
        until = time.monotonic() + _RETRY_SECONDS
        while time.monotonic() < until and await self._targets() == targets:
            await asyncio.sleep(SECONDS)
            found = await asyncio.to_thread(poller.changed)
            if found:
                self._tell(found, targets, quiet=0.0)

    async def _say(self, refused: WatchRefused | None) -> None:
        """Log that it polls now, or watches again; only the first time."""
        if (refused is None) is self._working:
            return
        self._working = refused is None
        name = self._config.name
        if refused is None:
            log.info("watch.restored", environment=name)
        else:
            log.warning("watch.failed", environment=name, error=refused.reason, mend=refused.fix)
        why = f"{refused.reason}, so files are polled. {refused.fix}" if refused else None
        await asyncio.to_thread(self._tell_why, why)

    async def _follow(
        self, paths: Iterable[object], targets: Targets, stop: anyio.Event, *, deep: bool
    ) -> None:
        step = _STEP_OF_TREES_MS if deep else _STEP_MS
        async for changes in awatch(
            *map(str, paths),
            watch_filter=lambda _, path: targets.matters(path),
            debounce=_NEVER_QUIET_MS,
            step=step,
            rust_timeout=_LISTEN_MS,
            stop_event=stop,
            recursive=deep,
            ignore_permission_denied=True,
        ):
            self._tell({path for _, path in changes}, targets, quiet=step / 1000)

    def _tell(self, changed: set[str], targets: Targets, quiet: float) -> None:
        paths = sorted(changed)
        in_project = [p for p in paths if p in targets.files]
        if in_project:
            log.info("file.changed", environment=self._config.name, files=in_project[:5])
            self._wake(Trigger.FILE, quiet)
        if len(in_project) < len(paths):
            log.info("environment.changed", environment=self._config.name, paths=len(paths))
            self._wake(Trigger.ENVIRONMENT, quiet)
        self._changed.set()


async def _refused(targets: Targets) -> WatchRefused | None:
    """Ask on a thread: closing an inotify descriptor takes the kernel some ten milliseconds."""
    return await asyncio.to_thread(watch_refused, targets.folders[:1])
