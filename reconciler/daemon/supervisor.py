"""The service: a worker for each environment, watched, and asked and answered in one place.

Lives on the event loop; every answer comes from memory. It decides nothing about packages:
it starts workers, hands them requests, and publishes what they say.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from reconciler import __version__
from reconciler.config import Config, EnvironmentConfig
from reconciler.daemon.actions import Action, Refusal, RequestRefused
from reconciler.daemon.events import EventHub
from reconciler.daemon.requests import Request, order_for
from reconciler.daemon.watch import Watcher
from reconciler.daemon.worker import Worker
from reconciler.environment import Environment
from reconciler.interpreter import InterpreterError
from reconciler.journal import Journal, iso
from reconciler.log import get_logger
from reconciler.metrics import Metrics
from reconciler.status import Environment as EnvironmentStatus
from reconciler.status import Pass, PassDetail, Phase, Problem, Service, Status
from reconciler.uv import Uv, UvError
from reconciler.workspace import Busy

log = get_logger(__name__)

_STOP_SECONDS = 4.0
_SILENT_SECONDS = 300.0
"""A worker that says nothing for so long while a pass runs is hung, unless uv runs."""
_CANNOT_WORK = frozenset({"UvMissing", "InterpreterUnusable", "NotWritable", "UnexpectedError"})
"""Reasons for which the service cannot do its job, as opposed to a failed install."""


@dataclass
class _Care:
    """One environment under care: its worker, its watcher, and its lock."""

    worker: Worker
    watcher: Watcher
    task: asyncio.Task[None]
    lock: ExitStack
    claimed: bool
    leaving: asyncio.Task[None] | None = None
    """Set once it is to end, after the pass that runs."""


class Supervisor:
    """All environments of one service. Make it, and use it, on the event loop."""

    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self.config = config
        self.environ = environ
        self.events = EventHub()
        self.metrics = Metrics()
        self.journal = Journal(Path(config.service.state_dir) / "journal.sqlite3")
        self.started_at = time.time()
        self._loop = asyncio.get_running_loop()
        self._cares: dict[str, _Care] = {}
        self._published: dict[str, EnvironmentStatus] = {}
        self._lock = threading.Lock()
        self._generation = 0
        self._status: Status | None = None
        self._changed = asyncio.Event()
        self._config_problem: Problem | None = None
        self._uv_version: str | None = None
        self.stopping = False
        self.on_status: Callable[[Status], None] = lambda _: None

    async def start(self) -> None:
        """Begin to look after every environment.

        Raises:
            Busy: Another service looks after one of them; nothing has been begun.
        """
        if self.journal.set_aside:
            log.warning("journal.corrupt", kept=str(self.journal.set_aside))
        locks = {name: self._claim(config) for name, config in self._configured()}
        self._uv_version = await asyncio.to_thread(self._find_uv)
        for name, config in self._configured():
            self._look_after(config, locks[name])
        self._refresh_status()

    def _configured(self) -> list[tuple[str, EnvironmentConfig]]:
        return list(self.config.environments.items())

    def _claim(self, config: EnvironmentConfig) -> tuple[ExitStack, bool]:
        """Be the only service on this environment, where it is there already.

        Raises:
            Busy: Another service looks after it.
        """
        stack = ExitStack()
        environment = self._environment(config)
        try:
            workspace = environment.workspace
            workspace.create()
            stack.enter_context(workspace.service_lock())
        except (InterpreterError, OSError) as error:
            log.debug("environment.unclaimed", environment=config.name, reason=str(error))
            return stack, False
        return stack, True

    def _environment(self, config: EnvironmentConfig) -> Environment:
        uv = self.config.service.uv
        return Environment(config, self.environ, Path(uv) if uv else None)

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
        claim: tuple[ExitStack, bool],
        before: Worker | None = None,
    ) -> None:
        environment = self._environment(config)
        worker = Worker(environment, self.journal, self._publish, self.events.publish)
        if before is not None:
            before.hand_over(worker)
        worker.on_recorded = self._recorded
        watcher = Watcher(environment, worker.wake, lambda: held_trees(worker))
        task = self._loop.create_task(watcher.run(), name=f"watch-{config.name}")
        self._cares[config.name] = _Care(worker, watcher, task, *claim)
        worker.start()
        log.info("environment.added", environment=config.name, path=str(config.python))

    def _recorded(self, name: str, detail: PassDetail, reason: str | None) -> None:
        self.metrics.observe_pass(name, detail)
        if reason is not None:
            self.metrics.observe_uv_failure(reason)
        self._on_loop(self._refresh_watch, name)

    def _on_loop(self, function: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _refresh_watch(self, name: str) -> None:
        care = self._cares.get(name)
        if care is None:
            return
        care.watcher.refresh()
        if care.worker.environment.exists and not care.claimed:
            try:
                care.lock, care.claimed = self._claim(care.worker.environment.config)
            except Busy as busy:
                log.error("environment.taken", environment=name, message=str(busy))

    async def stop(self) -> None:
        """End every worker, in the middle of whatever it does."""
        self.stopping = True
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
            care.lock.close()
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
        self._config_problem = None
        for name, claim in claims.items():
            self._look_after(after[name], claim)
        for name in (*gone, *changed):
            self._replace(name)
        self._refresh_status()
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
        care.lock.close()
        del self._cares[config.name]
        log.info("environment.removed", environment=config.name)
        wanted = self.config.environments.get(config.name)
        if wanted is None:
            with self._lock:
                self._published.pop(config.name, None)
            return
        try:
            self._look_after(wanted, self._claim(wanted), care.worker)
        except Busy as busy:
            log.error("environment.taken", environment=config.name, message=str(busy))

    def reject(self, problem: Problem) -> None:
        """The new configuration cannot be used: say so, and go on with the old one."""
        self._config_problem = problem
        self._refresh_status()

    # What workers say, from their threads.

    def _publish(self, environment: EnvironmentStatus) -> None:
        with self._lock:
            self._published[environment.name] = environment
        self._on_loop(self._refresh_status)
        if self._status is not None:
            self._refresh_status(quiet=True)

    def _refresh_status(self, *, quiet: bool = False) -> None:
        with self._lock:
            self._generation += 1
            self._status = self._compose()
            generation = self._generation
        if quiet:
            return
        self.events.publish("status", {"generation": generation})
        self._changed.set()
        self._changed = asyncio.Event()
        self.on_status(self._status)

    def _compose(self) -> Status:
        names = [n for n in self.config.environments if n in self._published]
        environments = tuple(self._published[n] for n in names)
        ready = self._readiness(environments)[0]
        return Status(
            generation=self._generation,
            service=Service(
                version=__version__,
                pid=os.getpid(),
                started_at=iso(self.started_at),
                uv=self._uv_version,
                config=str(self.config.path) if self.config.path else None,
                config_problem=self._config_problem,
            ),
            ready=ready,
            environments=environments,
        )

    def _readiness(self, environments: tuple[EnvironmentStatus, ...]) -> tuple[bool, str]:
        if self.stopping:
            return False, "the service is stopping"
        for environment in environments:
            ready = next((c for c in environment.conditions if c.type == "Ready"), None)
            if ready is None or ready.status == "Unknown":
                return False, f"{environment.name} has not been looked at yet"
            if environment.phase is Phase.FAILED and ready.reason in _CANNOT_WORK:
                return False, f"{environment.name}: {ready.message}"
        if len(environments) < len(self.config.environments):
            return False, "not every environment has been looked at yet"
        return True, "every environment is looked after"

    # What the web asks, on the event loop.

    def status(self) -> Status:
        """The latest published status."""
        if self._status is None:
            self._refresh_status()
        return self._status or self._compose()

    def environment(self, name: str) -> EnvironmentStatus:
        """One environment of it.

        Raises:
            KeyError: There is none of that name.
        """
        return self._published[name]

    async def wait_for_status(self, since: int, timeout: float) -> Status:  # noqa: ASYNC109
        """The status as soon as its generation is above `since`, or after `timeout` seconds."""
        deadline = self._loop.time() + timeout
        while self.status().generation <= since and not self.stopping:
            left = deadline - self._loop.time()
            if left <= 0:
                break
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                break
        return self.status()

    def request(
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
        care = self._cares.get(environment)
        if care is None or environment not in self.config.environments:
            raise self._unknown(environment)
        if self.stopping:
            raise RequestRefused(Refusal.STOPPING, "the service is stopping", "Ask again later.")
        asked = Request(action, reason, duration, generation, package, apply)
        return care.worker.order(order_for(care.worker, asked))

    async def wait_for_pass(self, environment: str, pass_id: int) -> PassDetail:
        """The pass, once it is over and recorded."""
        while environment in self._cares:
            worker = self._cares[environment].worker  # a reload may have put another there
            found = await asyncio.to_thread(worker.wait_for_pass, pass_id, 1.0)
            if found is not None:
                return found
            if self.stopping:
                raise RequestRefused(Refusal.STOPPING, "the service is stopping", "Ask again.")
        raise self._unknown(environment)

    def _unknown(self, environment: str) -> RequestRefused:
        return RequestRefused(
            Refusal.UNKNOWN_ENVIRONMENT,
            f"there is no environment `{environment}`",
            f"Known are: {', '.join(self.config.environments) or 'none'}.",
        )

    def history(self, environment: str | None, limit: int, before: int | None) -> list[Pass]:
        """Recorded passes, the newest first."""
        cares = [self._cares[environment]] if environment else list(self._cares.values())
        rows = [
            row
            for care in cares
            for row in self.journal.history(care.worker.environment.key, limit, before)
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
        return self._readiness(self.status().environments)

    def sentence(self) -> str:
        """The service in one sentence, for `systemctl status`."""
        parts = [f"{e.name}: {e.phase.value}" for e in self.status().environments]
        return ", ".join(parts) or "no environment is configured"


def held_trees(worker: Worker) -> list[Path]:
    """The folders of held packages, in which any change matters."""
    look = worker.known.look
    if look is None:
        return []
    trees: set[Path] = set()
    for held in look.holds.held.values():
        site = held.distribution.info.parent
        for name in {held.name.replace("-", "_"), *_top_levels(held.distribution.info)}:
            trees.add(site / name)
    return sorted(trees)


def _top_levels(info: Path) -> list[str]:
    try:
        return (info / "top_level.txt").read_text(encoding="utf-8").split()
    except OSError:
        return []
