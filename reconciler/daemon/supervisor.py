"""The service: a worker for each environment, watched, and asked and answered in one place.

Lives on the event loop; every answer comes from memory. It decides nothing about packages:
it starts workers, hands them requests, and publishes what they say.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from reconciler import __version__
from reconciler.config import Config
from reconciler.daemon.actions import Refusal, RequestRefused
from reconciler.daemon.awaited import NeverOver, Passes
from reconciler.daemon.board import Board, in_one_sentence
from reconciler.daemon.events import EventHub
from reconciler.daemon.inbox import Emptied
from reconciler.daemon.known import Known
from reconciler.daemon.metrics import Metrics
from reconciler.daemon.orders import order_for
from reconciler.daemon.requests import Request
from reconciler.daemon.roster import Roster, Surroundings
from reconciler.daemon.view import environment_status
from reconciler.daemon.worker import Worker
from reconciler.journal.history import JOURNAL, Journal, iso
from reconciler.log.logger import get_logger
from reconciler.log.redact import redact
from reconciler.passes.endings import JOURNAL_FIX
from reconciler.status import (
    EnvironmentStatus,
    PassDetail,
    PassStatus,
    Problem,
    Reason,
    ServiceStatus,
    Status,
)
from reconciler.uv.program import Uv, UvError

log = get_logger(__name__)

_SILENT_SECONDS = 900.0
"""A worker that says nothing for so long while a pass runs is hung, unless uv runs.

Reading a held GPU stack from a slow disk or over a network takes minutes, and is not a hang."""


_JOURNAL_SECONDS = 2.0
"""How often a history that cannot be used is tried again."""


class Supervisor:
    """All environments of one service. Make it, and use it, on the event loop."""

    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.events = EventHub()
        self.metrics = Metrics()
        self.journal = Journal(Path(config.service.state_dir) / JOURNAL)
        self._loop = asyncio.get_running_loop()
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
        self._roster = Roster(
            config,
            Surroundings(
                environ,
                self.journal,
                publish=self._board.put,
                emit=self.events.publish,
                on_recorded=self._recorded,
                on_abandoned=self._passes.abandon,
            ),
        )
        self._waking = False
        self._checking: asyncio.Task[None] | None = None
        self.stopping = False
        self.on_status: Callable[[Status], None] = lambda _: None
        self._started = asyncio.Event()
        # With socket activation someone asks before the first worker is there.
        for environment in config.environments.values():
            self._board.put(environment_status(Known(environment), None, time.time()))

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._roster.config

    async def start(self, *, patient: bool = False) -> None:
        """Begin to manage every environment.

        Args:
            patient: Wait until an environment is free, for as long as it takes.

        Raises:
            Busy: Another service manages one of them; nothing has been begun.
        """
        self.journal.when_set_aside(self._journal_set_aside)
        self.journal.when_moved(self._journal_moved)
        self.journal.when_unavailable(self._journal_health)
        if self.journal.set_aside is not None:
            self._journal_set_aside(self.journal.set_aside)
        claims = self._roster.claims(patient=patient)
        self._board.found_uv(await asyncio.to_thread(self._find_uv))
        self._roster.start(claims)
        self._started.set()

    def _journal_set_aside(self, aside: Path) -> None:
        log.error("journal.corrupt", path=str(self.journal.path), kept=str(aside))
        self._board.journal_was(
            Problem(
                file=str(self.journal.path),
                reason=f"the history was damaged: it has been set aside as {aside.name}, and a "
                "new one begun",
                fix="Look whether the disk is sound, and whether an environment that was paused "
                "or rolled back still is; delete the old file once it is of no use.",
            )
        )

    def _journal_moved(self) -> None:
        log.warning("journal.moved", path=str(self.journal.path))

    def _journal_health(self, error: sqlite3.Error | None) -> None:
        """It cannot be used, and why; or it can be again. On whatever thread used it."""
        if self.stopping:
            return
        if error is None:
            log.info("journal.recovered", path=str(self.journal.path))
            self._board.journal_is(None)
            return
        reason = f"the history cannot be used ({error})"
        shown = self.status().service.journal_problem
        if shown is None or shown.reason != reason:
            log.error("journal.failed", path=str(self.journal.path), reason=str(error))
        file = str(self.journal.path)
        self._board.journal_is(Problem(file=file, reason=reason, fix=JOURNAL_FIX))
        self._on_loop(self._watch_journal)

    def _watch_journal(self) -> None:
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._until_journal_works(), name="journal")

    async def _until_journal_works(self) -> None:
        while not self.stopping:
            await asyncio.sleep(_JOURNAL_SECONDS)
            with suppress(sqlite3.Error):
                await asyncio.to_thread(self.journal.check)
                return

    def _find_uv(self) -> str | None:
        uv = self.config.service.uv
        try:
            return Uv(Path(uv) if uv else None, self._environ).version()
        except UvError as error:
            log.error("service.failed", reason=error.reason, message=error.message)
            return None

    def _recorded(self, name: str, detail: PassDetail, reason: Reason | None) -> None:
        if reason not in (Reason.IN_USE, Reason.OUTSIDE_WINDOW):  # it waits, it has not failed
            self.metrics.observe_pass(name, detail)
            for failed in {reason, *(failure.reason for failure in detail.failed)} - {None}:
                self.metrics.observe_uv_failure(str(failed))
        self._on_loop(self._after_pass, name, detail)

    def _on_loop(self, function: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop has ended, and everyone who waited with it
            self._loop.call_soon_threadsafe(function, *arguments)

    def _after_pass(self, name: str, detail: PassDetail) -> None:
        self._passes.over(detail)
        managed = self._roster.get(name)
        if managed is not None:
            managed.watcher.refresh()

    async def stop(self) -> None:
        """End every worker, in the middle of whatever it does."""
        self.stopping = True
        self._board.stop()
        self._passes.stop()
        await self._roster.stop()
        self.events.close()
        self._roster.release()
        self.journal.close()

    def apply(self, config: Config) -> str:
        """Go over to another configuration, without waiting for running passes.

        Returns:
            What changed, in words.

        Raises:
            Busy: Another service manages one of the new environments; nothing was changed.
        """
        changes = self._roster.apply(config)
        self._board.config_is(None)
        self._board.show(list(config.environments))
        return changes

    def reject(self, problem: Problem) -> None:
        """The new configuration cannot be used: say so, and go on with the old one."""
        self._board.config_is(problem)

    def _on_news(self, status: Status, environment: str | None) -> None:
        """There is a new status; on whatever thread made it."""
        self.events.publish("status", {"generation": status.generation, "environment": environment})
        if not self._waking:  # else the wake-up that is on its way finds this status as well
            self._waking = True
            self._on_loop(self._wake_readers)

    def _wake_readers(self) -> None:
        self._waking = False
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

    async def request(self, environment: str, asked: Request) -> int:
        """Ask for something; the id of the pass that does it.

        Raises:
            RequestRefused: It cannot be done.
        """
        await self._started.wait()
        while True:
            managed = self._roster.get(environment)
            if managed is None or environment not in self.config.environments:
                raise self._unknown(environment)
            if self.stopping:
                raise _stopping()
            # The journal is written to, and the disk may be slow: never on the event loop.
            with suppress(Emptied), _refusing():  # a reload has just put another worker there
                return await asyncio.to_thread(_ask, managed.worker, asked)

    async def wait_for_pass(self, environment: str, pass_id: int) -> PassDetail:
        """The pass, once it is over and recorded."""
        if self._roster.get(environment) is None:
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
        """Recorded passes, the newest first.

        Raises:
            RequestRefused: The history cannot be read.
        """
        keys = [
            self._roster.environment(config).key
            for name, config in self.config.environments.items()
            if environment in (None, name)
        ]
        with _refusing():
            return self.journal.history_of(keys, limit, before)

    def history_entry(self, pass_id: int) -> PassDetail | None:
        """One recorded pass with its log.

        Raises:
            RequestRefused: The history cannot be read.
        """
        with _refusing():
            return self.journal.entry(pass_id)

    def alive(self) -> bool:
        """Whether every worker made progress lately; one that waits for uv does."""
        now = time.monotonic()
        return all(managed.worker.is_alive(now, _SILENT_SECONDS) for managed in self._roster)

    def ready(self) -> tuple[bool, str]:
        """Whether the service can do its job, and if not, why."""
        return self._board.ready()

    def sentence(self) -> str:
        """The service in one sentence, for `systemctl status`."""
        return in_one_sentence(self.status())


@contextmanager
def _refusing() -> Iterator[None]:
    """Refuse what needs the history while that cannot be used: nothing is accepted by halves."""
    try:
        yield
    except sqlite3.Error as error:
        message = redact(f"the history cannot be used ({error})")
        raise RequestRefused(Refusal.JOURNAL_FAILED, message, JOURNAL_FIX) from error


def _ask(worker: Worker, asked: Request) -> int:
    return worker.order(order_for(worker, asked))


def _stopping() -> RequestRefused:
    return RequestRefused(Refusal.STOPPING, "the service is stopping", "Ask again later.")
