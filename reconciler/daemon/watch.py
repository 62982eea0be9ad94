"""Watches what can change under us: the project's files and the environment's packages.

An event only wakes the worker up; which file it was matters to nobody else. Losing one
costs time, never correctness: the worker looks again by interval. If the kernel's watches are used
up, it polls, and says so.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from reconciler.config import EnvironmentConfig
from reconciler.daemon.polling import SECONDS, Identity, Poller, identity_of
from reconciler.daemon.watched import HeldPlaces, Targets, targets_of
from reconciler.environment.snapshot import Snapshot
from reconciler.files.inotify import Watches, WatchRefused
from reconciler.log.logger import get_logger
from reconciler.status import Trigger

log = get_logger(__name__)

_QUIET_SECONDS = 0.15
"""A change counts as over if nothing more has happened for so long."""
_NEVER_QUIET_SECONDS = 1.6
"""Of what goes on and on, something is told so often."""
_RETRY_SECONDS = 30.0
"""How often it tries to watch again while it polls."""
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
        self._files: dict[str, Identity] = {}
        self._changed = asyncio.Event()
        self._working = True

    def refresh(self) -> None:
        """The folders may have become other ones: look where to watch. On the event loop."""
        self._changed.set()

    async def run(self) -> None:
        """Watch, and start over whenever the folders are other ones (uv-facts 15b)."""
        while True:
            targets = await self._targets()
            refused = await self._watch(targets)
            if refused is not None:
                await self._poll(targets, refused)

    async def _targets(self) -> Targets:
        loop = asyncio.get_running_loop()
        look = partial(targets_of, self._config, self._look(), self._held)
        return await loop.run_in_executor(_LOOKING, look)

    async def _watch(self, targets: Targets) -> WatchRefused | None:
        """Watch until the folders are other ones; why it cannot be done, or None."""
        loop = asyncio.get_running_loop()
        try:
            watches = Watches()
        except WatchRefused as refused:
            return refused
        try:
            await loop.run_in_executor(_LOOKING, _set, watches, targets)
            # What happened before was seen by no watch: not by the last one, nor at the start by
            # a pass that has begun to look already.
            edited = await loop.run_in_executor(_LOOKING, self._edited, targets)
            if edited:
                self._tell(edited, targets, quiet=0.0)
            else:
                self._wake(Trigger.INTERVAL, 0.0)
            await self._say(None)
            await self._until_elsewhere(watches, targets)
        except WatchRefused as refused:
            return refused
        finally:
            _LOOKING.submit(watches.close)
        return None

    def _edited(self, targets: Targets) -> set[str]:
        """The project's files that have changed since the last call."""
        before, self._files = self._files, {path: identity_of(path) for path in targets.files}
        return {path for path, now in self._files.items() if before.get(path, now) != now}

    async def _until_elsewhere(self, watches: Watches, targets: Targets) -> None:
        following = asyncio.create_task(self._follow(watches, targets))
        following.add_done_callback(lambda _: self._changed.set())
        try:
            while not following.done():
                self._changed.clear()
                if await self._targets() != targets:
                    return
                await self._changed.wait()
            following.result()  # which raises
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

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

    async def _follow(self, watches: Watches, targets: Targets) -> None:
        """Tell what happens, as soon as nothing more does.

        Raises:
            WatchRefused: A new folder cannot be watched.
        """
        loop = asyncio.get_running_loop()
        while True:
            await _readable(watches)
            found: set[str] = set()
            until = loop.time() + _NEVER_QUIET_SECONDS
            while (new := await _news(watches, targets)) and loop.time() < until:
                if found:  # it goes on, so the worker goes on waiting
                    self._wake_for(new, targets, quiet=0.0)
                found |= new
                await asyncio.sleep(_QUIET_SECONDS)
            if found:
                self._tell(found | new, targets, quiet=0.0 if new else _QUIET_SECONDS)
            else:
                await asyncio.sleep(_QUIET_SECONDS)  # a busy folder may wake us only so often

    def _tell(self, changed: set[str], targets: Targets, quiet: float) -> None:
        name, in_project = self._config.name, sorted(changed & targets.files)
        if in_project:
            self._edited(targets)
            log.info("file.changed", environment=name, files=in_project[:5])
        if len(in_project) < len(changed):
            log.info("environment.changed", environment=name, paths=len(changed))
        self._wake_for(changed, targets, quiet)
        self._changed.set()

    def _wake_for(self, changed: set[str], targets: Targets, quiet: float) -> None:
        if changed & targets.files:
            self._wake(Trigger.FILE, quiet)
        if changed - targets.files:
            self._wake(Trigger.ENVIRONMENT, quiet)


async def _news(watches: Watches, targets: Targets) -> set[str]:
    """What has changed and matters; new folders of trees are watched as well."""
    changed, fresh = watches.read()
    for folder in fresh:
        look = partial(watches.add, folder, deep=True)
        await asyncio.get_running_loop().run_in_executor(_LOOKING, look)
    if watches.overflowed:  # anything may have
        watches.overflowed = False
        changed |= targets.files | targets.places
    return set(filter(targets.matters, changed))


async def _readable(watches: Watches) -> None:
    """Wait until something has happened."""
    loop, descriptor = asyncio.get_running_loop(), watches.descriptor
    happened = asyncio.Event()
    loop.add_reader(descriptor, happened.set)
    try:
        await happened.wait()
    finally:
        loop.remove_reader(descriptor)


def _set(watches: Watches, targets: Targets) -> None:
    for folder in targets.folders:
        watches.add(str(folder))
    for tree in targets.trees:
        watches.add(str(tree), deep=True)
