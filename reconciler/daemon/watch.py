"""Watches what can change under us: the project's files and the environment's packages.

An event only wakes the worker up; which file it was matters to nobody else. Losing one
costs time, never correctness: the worker looks again by interval.
"""

import asyncio
from collections.abc import Callable, Iterable

import anyio
from watchfiles import Change, awatch

from reconciler.config import EnvironmentConfig
from reconciler.daemon.watched import HeldPlaces, Targets, targets_of
from reconciler.environment.snapshot import Snapshot
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
_THREADS = 2
"""What one watcher takes of the threads that all of the event loop share."""

Wake = Callable[[Trigger, float], None]
"""Told what happened, and for how many seconds nothing more has happened since."""


class Watcher:
    """Watches one environment until it is cancelled.

    Args:
        config: Which project and environment.
        wake: Told that something may have changed.
        snapshot: The environment as it was last seen; decides what is worth watching.
    """

    def __init__(
        self, config: EnvironmentConfig, wake: Wake, snapshot: Callable[[], Snapshot | None]
    ) -> None:
        self._config = config
        self._wake = wake
        self._look = snapshot
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
                await self._watch(self._targets())
        finally:
            threads.total_tokens -= _THREADS

    def _targets(self) -> Targets:
        return targets_of(self._config, self._look(), self._held)

    async def _watch(self, targets: Targets) -> None:
        stop = anyio.Event()
        tasks = [asyncio.create_task(self._follow(targets.folders, targets, stop, deep=False))]
        if targets.trees:
            tasks.append(asyncio.create_task(self._follow(targets.trees, targets, stop, deep=True)))
        await asyncio.sleep(0)  # each task begins, which is when awatch sets its watches
        # What happened before was seen by no watch: not by the last one, nor at the start by
        # a pass that has begun to look already.
        self._wake(Trigger.INTERVAL, 0.0)
        try:
            while not any(task.done() for task in tasks):
                self._changed.clear()
                waiting = asyncio.create_task(self._changed.wait())
                await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if self._targets() != targets:
                    break
            failed = [t for t in tasks if t.done() and not t.cancelled() and t.exception()]
        finally:
            stop.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if failed:
            await self._wait_after(failed[0].exception())
        elif not self._working:
            self._working = True
            log.info("watch.restored", environment=self._config.name)

    async def _wait_after(self, error: BaseException | None) -> None:
        if isinstance(error, FileNotFoundError):
            await asyncio.sleep(_GONE_SECONDS)
            return
        if self._working:
            log.warning("watch.failed", environment=self._config.name,
                        error=str(error), mend="Raise fs.inotify.max_user_watches and "
                        "max_user_instances; until then the interval finds changes.")  # fmt: skip
        self._working = False
        await asyncio.sleep(_RETRY_SECONDS)

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
            self._tell(changes, targets, quiet=step / 1000)

    def _tell(self, changes: set[tuple[Change, str]], targets: Targets, quiet: float) -> None:
        paths = sorted(path for _, path in changes)
        in_project = [p for p in paths if p in targets.files]
        if in_project:
            log.info("file.changed", environment=self._config.name, files=in_project[:5])
            self._wake(Trigger.FILE, quiet)
        if len(in_project) < len(paths):
            log.info("environment.changed", environment=self._config.name, paths=len(paths))
            self._wake(Trigger.ENVIRONMENT, quiet)
        self._changed.set()
