"""The managed environments: for each a worker, a watcher and a claim, as the configuration says.

On the event loop only. A worker whose environment changed or left comes to the end of its pass
first, in the background; what follows it is decided by the configuration in force at that time.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio.to_thread
import msgspec

from reconciler.config import Config, EnvironmentConfig
from reconciler.daemon.claim import Claim
from reconciler.daemon.follower import Emit
from reconciler.daemon.knowledge import Publish
from reconciler.daemon.turns import Turns
from reconciler.daemon.watch import Watcher
from reconciler.daemon.worker import OnRecorded, Worker
from reconciler.environment.environment import Environment
from reconciler.journal.history import Journal
from reconciler.log.logger import get_logger
from reconciler.status import Trigger
from reconciler.trees.workspace import Busy
from reconciler.vault.whereabouts import places_of

log = get_logger(__name__)

_STOP_SECONDS = 4.0


@dataclass
class Managed:
    """One managed environment."""

    worker: Worker
    watcher: Watcher
    task: asyncio.Task[None]
    claim: Claim
    leaving: asyncio.Task[None] | None = None
    """Set once it is to end, after the pass that runs."""


class Surroundings(msgspec.Struct, frozen=True):
    """What all workers share.

    Attributes:
        environ: The environment variables.
        journal: The history.
        publish: Takes each new status of an environment.
        emit: Takes the events of running passes.
        on_recorded: Told of each pass that is over, on the worker's thread.
        on_abandoned: Told of each pass that was asked for and will never be done.
    """

    environ: Mapping[str, str]
    journal: Journal
    publish: Publish
    emit: Emit
    on_recorded: OnRecorded
    on_abandoned: Callable[[int | None], None]


class Roster:
    """All managed environments of one service."""

    def __init__(self, config: Config, surroundings: Surroundings) -> None:
        self.config = config
        self._around = surroundings
        self._turns = Turns(_most_passes(config))
        self._managed: dict[str, Managed] = {}
        self._stopping = False

    def __iter__(self) -> Iterator[Managed]:
        return iter(tuple(self._managed.values()))

    def get(self, name: str) -> Managed | None:
        """The environment of that name; one that has left stays until its pass is over."""
        return self._managed.get(name)

    def environment(self, config: EnvironmentConfig) -> Environment:
        """The environment that a configuration is about."""
        uv = self.config.service.uv
        places = places_of(self.config.service)
        return Environment(config, self._around.environ, Path(uv) if uv else None, places)

    def claims(self, *, patient: bool) -> dict[str, Claim]:
        """The claims on all configured environments, before anything begins.

        Args:
            patient: Wait until an environment is free, for as long as it takes.

        Raises:
            Busy: Another service manages one of them.
        """
        configured = self.config.environments
        return {name: self._claim(it, patient=patient) for name, it in configured.items()}

    def start(self, claims: Mapping[str, Claim]) -> None:
        """Begin to manage every configured environment."""
        for name, config in self.config.environments.items():
            self._manage(config, claims[name], Trigger.START)

    def apply(self, config: Config) -> str:
        """Go over to another configuration, without waiting for running passes.

        Returns:
            What changed, in words.

        Raises:
            Busy: Another service manages one of the new environments; nothing was changed.
        """
        before, after = self.config.environments, config.environments
        gone = [n for n in before if n not in after]
        moved = places_of(config.service) != places_of(self.config.service)
        changed = [n for n in after if n in before and (moved or after[n] != before[n])]
        fresh = [n for n in after if n not in before]
        claims = {n: self._claim(after[n]) for n in fresh if n not in self._managed}
        self.config = config
        self._turns.most = _most_passes(config)
        for name, claim in claims.items():
            self._manage(after[name], claim, Trigger.RELOAD)
        for name in (*gone, *changed):
            self._replace(name)
        return f"{len(fresh)} added, {len(gone)} removed, {len(changed)} changed"

    async def stop(self) -> None:
        """End every worker, in the middle of whatever it does."""
        self._stopping = True
        everyone = list(self)
        for managed in everyone:
            managed.task.cancel()
        waits = [asyncio.to_thread(it.worker.stop, _STOP_SECONDS) for it in everyone]
        for managed, ended in zip(everyone, await asyncio.gather(*waits), strict=True):
            if not ended:
                log.error("worker.stuck", environment=managed.worker.name)
        ending = [task for it in everyone for task in (it.task, it.leaving) if task is not None]
        await asyncio.gather(*ending, return_exceptions=True)

    def release(self) -> None:
        """Leave the environments to others; after `stop`."""
        for managed in self:
            managed.claim.release()

    def _claim(self, config: EnvironmentConfig, *, patient: bool = False) -> Claim:
        """Be the only service on this environment, if it is there already.

        Raises:
            Busy: Another service manages it.
        """
        claim = Claim(self.environment(config))
        try:
            claim.take_if_there()
        except Busy as busy:
            if not patient:
                raise
            log.error("environment.taken", environment=config.name, message=str(busy))
        except OSError as error:  # the worker tries again at every pass
            log.debug("environment.unclaimed", environment=config.name, reason=str(error))
        return claim

    def _manage(
        self,
        config: EnvironmentConfig,
        claim: Claim,
        trigger: Trigger,
        before: Worker | None = None,
    ) -> None:
        around = self._around
        environment = self.environment(config)
        worker = Worker(
            environment, around.journal, claim, around.publish, around.emit, self._turns
        )
        if before is not None:
            worker.succeed(before)
        worker.on_recorded = around.on_recorded
        watcher = Watcher(
            config, worker.inbox.wake, lambda: worker.known.snapshot, worker.knowledge.polls
        )
        watching = asyncio.get_running_loop().create_task(
            watcher.run(), name=f"watch-{config.name}"
        )
        self._managed[config.name] = Managed(worker, watcher, watching, claim)
        worker.start(trigger)
        log.info("environment.added", environment=config.name, path=str(config.python))

    def _replace(self, name: str) -> None:
        """Once its worker has come to its end, go on as the configuration then says."""
        managed = self._managed.get(name)
        if managed is not None and managed.leaving is None:
            managed.task.cancel()
            managed.leaving = asyncio.get_running_loop().create_task(
                self._let_go(managed), name=f"leave-{name}"
            )

    async def _let_go(self, managed: Managed) -> None:
        config = managed.worker.environment.config
        # A thread of its own: requests need those that the event loop has, and this takes long.
        stop = partial(managed.worker.stop, config.timeout, finish=True)
        await anyio.to_thread.run_sync(stop, limiter=anyio.CapacityLimiter(1))
        if self._stopping:
            return
        managed.worker.knowledge.mute()
        del self._managed[config.name]
        log.info("environment.removed", environment=config.name)
        wanted = self.config.environments.get(config.name)
        if wanted is not None and wanted.root == config.root:
            claim = managed.claim.handed_over(self.environment(wanted))
            self._manage(wanted, claim, Trigger.RELOAD, managed.worker)
            return
        managed.claim.release()
        if wanted is None:
            for order in managed.worker.inbox.empty():
                self._around.on_abandoned(order.pass_id)
            return
        try:
            self._manage(wanted, self._claim(wanted), Trigger.RELOAD, managed.worker)
        except Busy as busy:
            log.error("environment.taken", environment=config.name, message=str(busy))


def _most_passes(config: Config) -> int:
    """The configured number; otherwise the processor cores that this process may use."""
    return config.service.max_passes or len(os.sched_getaffinity(0))
