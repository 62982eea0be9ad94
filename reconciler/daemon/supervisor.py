"""The service: a worker for each environment, watched, and asked and answered in one place.

Lives on the event loop; every answer comes from memory. It decides nothing about packages:
it starts workers, hands them requests, and publishes what they say.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler import __version__
from reconciler.config import Config, EnvironmentConfig
from reconciler.daemon.actions import Action, Refusal, RequestRefused
from reconciler.daemon.awaited import NeverOver, Passes
from reconciler.daemon.board import Board, in_one_sentence
from reconciler.daemon.claim import Claim
from reconciler.daemon.events import EventHub
from reconciler.daemon.inbox import Emptied
from reconciler.daemon.metrics import Metrics
from reconciler.daemon.requests import Request, order_for
from reconciler.daemon.view import Known, environment_status
from reconciler.daemon.watch import Watcher
from reconciler.daemon.worker import Worker
from reconciler.environment.environment import Environment
from reconciler.journal.history import JOURNAL, Journal, iso
from reconciler.log.logger import get_logger
from reconciler.status import (
    EnvironmentStatus,
    PassDetail,
    PassStatus,
    Problem,
    Reason,
    ServiceStatus,
    Status,
)
from reconciler.trees.workspace import Busy
from reconciler.uv.program import Uv, UvError

log = get_logger(__name__)

_STOP_SECONDS = 4.0
_SILENT_SECONDS = 900.0
"""A worker that says nothing for so long while a pass runs is hung, unless uv runs.

Reading a held GPU stack from a slow disk or over a network takes minutes, and is no hang."""


@dataclass
class _Care:
    """One environment under care: its worker, its watcher, and the claim on it."""

    worker: Worker
    watcher: Watcher
    task: asyncio.Task[None]
    claim: Claim
    leaving: asyncio.Task[None] | None = None
    """Set once it is to end, after the pass that runs."""


class Supervisor:
    """All environments of one service. Make it, and use it, on the event loop."""

    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self.config = config
        self.environ = environ
        self.events = EventHub()
        self.metrics = Metrics()
        self.journal = Journal(Path(config.service.state_dir) / JOURNAL)
        self._loop = asyncio.get_running_loop()
        self._cares: dict[str, _Care] = {}
        self._passes = Passes()
        self._news = asyncio.Event()
        self._board = Board(
            ServiceStatus(
                version=__version__,
                pid=os.getpid(),
                started_at=iso(time.time()),
                uv=None,
                config=str(config.path) if config.path else None,
            ),
            list(config.environments),
            self._on_news,
        )
        self.stopping = False
        self.on_status: Callable[[Status], None] = lambda _: None
        self._started = asyncio.Event()
        # With socket activation somebody asks before the first worker is there.
        for environment in config.environments.values():
            self._board.put(environment_status(Known(environment), None, time.time()))

    async def start(self, *, patient: bool = False) -> None:
        """Begin to look after every environment.

        Args:
            patient: Wait until an environment is free, for as long as it takes.

        Raises:
            Busy: Another service looks after one of them; nothing has been begun.
        """
        self.journal.when_set_aside(self._journal_set_aside)
        if self.journal.set_aside is not None:
            self._journal_set_aside(self.journal.set_aside)
        claims = {name: self._claim(it, patient=patient) for name, it in self._configured()}
        self._board.describe(uv=await asyncio.to_thread(self._find_uv))
        for name, config in self._configured():
            self._look_after(config, claims[name])
        self._started.set()

    def _journal_set_aside(self, aside: Path) -> None:
        log.error("journal.corrupt", path=str(self.journal.path), kept=str(aside))
        self._board.describe(
            journal_problem=Problem(
                file=str(self.journal.path),
                reason=f"the history was damaged: it has been set aside as {aside.name}, and a "
                "new one begun",
                fix="Look whether the disk is sound, and whether an environment that was paused "
                "or rolled back still is; delete the old file once it is of no use.",
            )
        )

    def _configured(self) -> list[tuple[str, EnvironmentConfig]]:
        return list(self.config.environments.items())

    def _claim(self, config: EnvironmentConfig, *, patient: bool = False) -> Claim:
        """Be the only service on this environment, if it is there already.

        Raises:
            Busy: Another service looks after it.
        """
        claim = Claim(self._environment(config))
        try:
            claim.take_if_there()
        except Busy as busy:
            if not patient:
                raise
            log.error("environment.taken", environment=config.name, message=str(busy))
        except OSError as error:  # the worker tries again at every pass
            log.debug("environment.unclaimed", environment=config.name, reason=str(error))
        return claim

    def _environment(self, config: EnvironmentConfig) -> Environment:
        uv = self.config.service.uv
        return Environment(config, self.environ, Path(uv) if uv else None, wary=True)

    def _find_uv(self) -> str | None:
        uv = self.config.service.uv
        try:
            return Uv(Path(uv) if uv else None, self.environ).version()
        except UvError as error:
            log.error("service.failed", reason=error.reason, message=error.message)
            return None

    def _look_after(
        self,
        config: EnvironmentConfig,
        claim: Claim,
        before: Worker | None = None,
    ) -> None:
        environment = self._environment(config)
        worker = Worker(environment, self.journal, claim, self._board.put, self.events.publish)
        if before is not None:
            worker.succeed(before)
        worker.on_recorded = self._recorded
        watcher = Watcher(config, worker.inbox.wake, lambda: worker.known.snapshot)
        task = self._loop.create_task(watcher.run(), name=f"watch-{config.name}")
        self._cares[config.name] = _Care(worker, watcher, task, claim)
        worker.start()
        log.info("environment.added", environment=config.name, path=str(config.python))

    def _recorded(self, name: str, detail: PassDetail, reason: Reason | None) -> None:
        if reason not in (Reason.IN_USE, Reason.OUTSIDE_WINDOW):  # who waits has not failed
            self.metrics.observe_pass(name, detail)
            for failed in {reason, *(failure.reason for failure in detail.failed)} - {None}:
                self.metrics.observe_uv_failure(str(failed))
        self._on_loop(self._after_pass, name, detail)

    def _on_loop(self, function: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop has ended, and whoever waited with it
            self._loop.call_soon_threadsafe(function, *arguments)

    def _after_pass(self, name: str, detail: PassDetail) -> None:
        self._passes.over(detail)
        care = self._cares.get(name)
        if care is not None:
            care.watcher.refresh()

    async def stop(self) -> None:
        """End every worker, in the middle of whatever it does."""
        self.stopping = True
        self._board.stop()
        self._passes.stop()
        cares = list(self._cares.values())
        for care in cares:
            care.task.cancel()
        waits = [asyncio.to_thread(c.worker.stop, _STOP_SECONDS) for c in cares]
        for care, ended in zip(cares, await asyncio.gather(*waits), strict=True):
            if not ended:
                log.error("worker.stuck", environment=care.worker.name)
        ending = [task for c in cares for task in (c.task, c.leaving) if task is not None]
        await asyncio.gather(*ending, return_exceptions=True)
        self.events.close()
        for care in cares:
            care.claim.release()
        self.journal.close()

    def apply(self, config: Config) -> str:
        """Go over to another configuration, without waiting for running passes.

        A worker whose environment changed or left comes to the end of its pass first, in the
        background; what follows it is then decided by the configuration in force at that time.

        Returns:
            What changed, in words.

        Raises:
            Busy: Another service looks after one of the new environments; nothing was changed.
        """
        before, after = self.config.environments, config.environments
        gone = [n for n in before if n not in after]
        changed = [n for n in after if n in before and after[n] != before[n]]
        fresh = [n for n in after if n not in before]
        claims = {n: self._claim(after[n]) for n in fresh if n not in self._cares}
        self.config = config
        self._board.describe(config_problem=None)
        self._board.show(list(after))
        for name, claim in claims.items():
            self._look_after(after[name], claim)
        for name in (*gone, *changed):
            self._replace(name)
        words = [f"{len(fresh)} added", f"{len(gone)} removed", f"{len(changed)} changed"]
        return ", ".join(words)

    def _replace(self, name: str) -> None:
        """Once its worker has come to its end, go on as the configuration then says."""
        care = self._cares.get(name)
        if care is not None and care.leaving is None:
            care.task.cancel()
            care.leaving = self._loop.create_task(self._let_go(care), name=f"leave-{name}")

    async def _let_go(self, care: _Care) -> None:
        config = care.worker.environment.config
        await asyncio.to_thread(care.worker.stop, config.timeout, finish=True)
        if self.stopping:
            return
        care.worker.knowledge.mute()
        del self._cares[config.name]
        log.info("environment.removed", environment=config.name)
        wanted = self.config.environments.get(config.name)
        if wanted is not None and wanted.root == config.root:
            claim = care.claim.handed_over(self._environment(wanted))
            self._look_after(wanted, claim, care.worker)
            return
        care.claim.release()
        if wanted is None:
            for order in care.worker.inbox.empty():
                self._passes.abandon(order.pass_id)
            return
        try:
            self._look_after(wanted, self._claim(wanted), care.worker)
        except Busy as busy:
            log.error("environment.taken", environment=config.name, message=str(busy))

    def reject(self, problem: Problem) -> None:
        """The new configuration cannot be used: say so, and go on with the old one."""
        self._board.describe(config_problem=problem)

    def _on_news(self, status: Status, environment: str | None) -> None:
        """There is a new status; on whatever thread made it."""
        self.events.publish("status", {"generation": status.generation, "environment": environment})
        self._on_loop(self._wake_readers)

    def _wake_readers(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
        self.on_status(self._board.status)

    # What the web asks, on the event loop.

    def status(self) -> Status:
        """The latest published status."""
        return self._board.status

    def environment(self, name: str) -> EnvironmentStatus:
        """One environment of it.

        Raises:
            KeyError: There is none of that name.
        """
        for environment in self.status().environments:
            if environment.name == name:
                return environment
        raise KeyError(name)

    async def wait_for_status(self, since: int, timeout: float) -> Status:  # noqa: ASYNC109
        """The status as soon as its generation is above `since`, or after `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.status().generation <= since and not self.stopping:
                    await self._news.wait()
        return self.status()

    async def request(
        self,
        environment: str,
        action: Action,
        *,
        reason: str | None = None,
        duration: float | None = None,
        generation: int | None = None,
        package: str | None = None,
        apply: bool = False,
    ) -> int:
        """Ask for something; the id of the pass that does it.

        Raises:
            RequestRefused: It cannot be done.
        """
        asked = Request(action, reason, duration, generation, package, apply)
        await self._started.wait()
        while True:
            care = self._cares.get(environment)
            if care is None or environment not in self.config.environments:
                raise self._unknown(environment)
            if self.stopping:
                raise _stopping()
            # The journal is written to, and the disk may be slow: never on the event loop.
            with suppress(Emptied):  # a reload has just put another worker there
                return await asyncio.to_thread(_ask, care.worker, asked)

    async def wait_for_pass(self, environment: str, pass_id: int) -> PassDetail:
        """The pass, once it is over and recorded."""
        if environment not in self._cares:
            raise self._unknown(environment)
        try:
            return await self._passes.wait(pass_id)
        except NeverOver:
            raise (_stopping() if self.stopping else self._unknown(environment)) from None

    def _unknown(self, environment: str) -> RequestRefused:
        return RequestRefused(
            Refusal.UNKNOWN_ENVIRONMENT,
            f"there is no environment `{environment}`",
            f"Known are: {', '.join(self.config.environments) or 'none'}.",
        )

    def history(self, environment: str | None, limit: int, before: int | None) -> list[PassStatus]:
        """Recorded passes, the newest first."""
        rows = [
            row
            for name, config in self._configured()
            if environment in (None, name)
            for row in self.journal.history(self._environment(config).key, limit, before)
        ]
        return sorted(rows, key=lambda row: -row.id)[:limit]

    def history_entry(self, pass_id: int) -> PassDetail | None:
        """One recorded pass with its log."""
        return self.journal.entry(pass_id)

    def alive(self) -> bool:
        """Whether every worker made progress lately; one that waits for uv does."""
        now = time.monotonic()
        return all(
            care.worker.is_alive(now, _SILENT_SECONDS) for care in tuple(self._cares.values())
        )

    def ready(self) -> tuple[bool, str]:
        """Whether the service can do its job, and if not, why not."""
        return self._board.ready()

    def sentence(self) -> str:
        """The service in one sentence, for `systemctl status`."""
        return in_one_sentence(self.status())


def _ask(worker: Worker, asked: Request) -> int:
    return worker.order(order_for(worker, asked))


def _stopping() -> RequestRefused:
    return RequestRefused(Refusal.STOPPING, "the service is stopping", "Ask again later.")
