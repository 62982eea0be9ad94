"""Running the service: signals, reload, the service manager, and an orderly end.

Ends within five seconds of SIGTERM or SIGINT, in the middle of anything; SIGHUP reads the
configuration again. Knows the HTTP server only as something that is up while it is entered.
"""

import asyncio
import faulthandler
import os
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

from reconciler import __version__
from reconciler.config import Config, ConfigRejected, LogFormat
from reconciler.daemon import memory
from reconciler.daemon.supervisor import Supervisor
from reconciler.daemon.watchdog import feed_watchdog
from reconciler.files.trust import Insecure, check_trust
from reconciler.log.journald import sink_under_systemd
from reconciler.log.logger import configure, get_logger, tapped
from reconciler.log.redact import redact
from reconciler.log.visible import visible
from reconciler.status import Problem, Status
from reconciler.systemd.activation import ActivationError, inherited_sockets
from reconciler.systemd.mounts import Mounts, note_restart, seconds_until_restart
from reconciler.systemd.notify import Notifier
from reconciler.systemd.reload import (
    ReloadOutcome,
    monotonic_usec,
    record_outcome,
    runtime_directory,
)
from reconciler.trees.workspace import Busy

log = get_logger(__name__)

Load = Callable[[], Config]
Serving = Callable[[Supervisor, Config, Sequence[socket.socket]], AbstractAsyncContextManager[str]]
"""While entered, the HTTP server answers; the value is its address, for people."""


_PATIENCE_SECONDS = 60.0
"""How long a start waits for what may come right by itself; less than TimeoutStartSec=, and so
long that systemd never counts such starts as too many."""
_LOOK_AGAIN_SECONDS = 2.0
_SWITCH_SECONDS = 0.0005
"""How long a pass may keep the interpreter from the thread that answers (by default ten times as
long): each request takes it several times, and may wait for it each time."""


class CannotServe(Exception):
    """The status server cannot have its address."""


def main(load: Load, environ: Mapping[str, str], serving: Serving) -> int:
    """Run the service until it is told to end.

    Args:
        load: Reads the configuration; called again at each reload.
        environ: The environment variables.
        serving: Starts the HTTP server.

    Returns:
        The process's exit status.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    memory.share_one_heap()
    notifier = Notifier.from_environment()
    try:
        config = _trusted(load())
    except (ConfigRejected, Insecure) as rejected:
        _tell_rejected(rejected, notifier)
        return os.EX_CONFIG  # the units do not start again for this one
    _set_up_log(config)
    # What systemd's watchdog sends to a hung service: say where it hangs, then die.
    faulthandler.enable()
    try:
        return asyncio.run(_Service(load, config, environ, notifier).run(serving))
    except (ActivationError, Busy, CannotServe) as error:
        log.error("service.failed", message=str(error), mend=_fix(error))
        notifier.status(f"It did not start: {error}. {_fix(error)}")
        return 1


def _trusted(config: Config) -> Config:
    for problem in check_trust(config.in_charge, os.geteuid()):
        raise Insecure(problem)
    return config


def _tell_rejected(rejected: ConfigRejected | Insecure, notifier: Notifier) -> None:
    """Say why there is no start: there is no log yet, but there may be a journal."""
    said = rejected.problems if isinstance(rejected, ConfigRejected) else [rejected]
    notifier.status(f"It did not start, the configuration is rejected: {said[0]}")
    sink = sink_under_systemd(LogFormat.AUTO)
    if sink is None:
        print(visible(redact(str(rejected))), file=sys.stderr)  # noqa: T201
        return
    configure(sink=sink)
    for problem in said:
        log.error("config.rejected", message=str(problem))


def _fix(error: Exception) -> str:
    if isinstance(error, Busy):
        return "Another service manages this environment: stop it, or leave it to that one."
    if isinstance(error, ActivationError):
        return error.fix
    return "Do what the message says, and start the service again."


def _set_up_log(config: Config) -> None:
    service = config.service
    configure(service.log_format, service.log_level, sink=sink_under_systemd(service.log_format))


class _Service:
    """One run of the service."""

    def __init__(
        self, load: Load, config: Config, environ: Mapping[str, str], notifier: Notifier
    ) -> None:
        self._load = load
        self._config = config
        self._environ = environ
        self._notifier = notifier
        self._ending = asyncio.Event()
        self._reload = asyncio.Event()
        self._mounts = Mounts()
        self._mounts.note(_roots(config))
        self._exit_status = os.EX_OK
        self._later: asyncio.TimerHandle | None = None

    async def run(self, serving: Serving) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        supervisor = await self._supervisor()
        if supervisor is None:
            return os.EX_OK
        supervisor.on_status = lambda status: self._tell(supervisor, status)
        with tapped(lambda record: supervisor.events.publish("event", dict(record))):
            async with serving(supervisor, self._config, inherited_sockets()) as address:
                await supervisor.start(patient=self._notifier.connected)
                log.info("service.started", version=__version__, listen=address)
                self._notifier.ready(supervisor.sentence())
                try:
                    await self._until_told_to_end(supervisor)
                finally:
                    log.info("service.stopping")
                    self._notifier.stopping("Stopping; the environments stay as they are")
                    await supervisor.stop()
        log.info("service.stopped")
        return self._exit_status

    async def _supervisor(self) -> Supervisor | None:
        """The supervisor, once its journal can be opened; None if told to end before.

        Under a service manager it waits for a while, as for a disk that is full: a service
        that starts at boot is watched by nobody, and should recover by itself.
        """
        deadline, told = time.monotonic() + _PATIENCE_SECONDS, ""
        while not self._ending.is_set():
            try:
                return Supervisor(self._config, self._environ)
            except (OSError, sqlite3.Error) as error:
                if not self._notifier.connected or time.monotonic() >= deadline:
                    raise
                folder = self._config.service.state_dir
                words = f"The history in {folder} cannot be opened: {error}. Starting waits for it"
                if words != told:
                    log.error("journal.failed", message=words)
                    self._notifier.status(words)
                told = words
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_SECONDS):
                    await self._ending.wait()
        return None

    def _tell(self, supervisor: Supervisor, status: Status) -> None:
        """Tell the service manager how the service is, and restart it when only that helps."""
        if not self._notifier.connected:
            return
        self._notifier.status(supervisor.sentence())
        if self._ending.is_set():
            return
        for environment in status.environments:
            config = supervisor.config.environments.get(environment.name)
            if config is not None and self._mounts.replaced(config.root):
                self._restart(supervisor, environment.name, config.root)
                return

    def _restart(self, supervisor: Supervisor, environment: str, root: Path) -> None:
        """End, to be started again with the new folder; but not so often that systemd gives up."""
        folder = runtime_directory(self._environ)
        wait = seconds_until_restart(folder)
        if wait == 0:
            log.warning("service.outdated", environment=environment, path=str(root))
            note_restart(folder)
            self._exit_status = os.EX_TEMPFAIL  # Restart=on-failure
            self._ending.set()
        elif self._later is None:
            loop = asyncio.get_running_loop()
            self._later = loop.call_later(wait, self._look_again, supervisor)

    def _look_again(self, supervisor: Supervisor) -> None:
        self._later = None
        self._tell(supervisor, supervisor.status())

    async def _until_told_to_end(self, supervisor: Supervisor) -> None:
        """Return when told; an error in what runs beside the workers ends the service."""
        async with asyncio.TaskGroup() as together:
            beside = [
                together.create_task(feed_watchdog(self._notifier, supervisor.alive)),
                together.create_task(self._reload_when_asked(supervisor)),
            ]
            await self._ending.wait()
            for task in beside:
                task.cancel()

    async def _reload_when_asked(self, supervisor: Supervisor) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            started = monotonic_usec()
            self._notifier.reloading()
            accepted, message = await self._apply_new(supervisor)
            folder = runtime_directory(self._environ)
            outcome = ReloadOutcome(started_usec=started, accepted=accepted, message=message)
            try:
                record_outcome(folder, outcome)
            except OSError as error:  # the command that waits for it says that nothing came
                log.error("notify.unheard", error=str(error), address=str(folder))
            self._notifier.ready(supervisor.sentence())

    async def _apply_new(self, supervisor: Supervisor) -> tuple[bool, str]:
        try:
            config = _trusted(await asyncio.to_thread(self._load))
        except (ConfigRejected, Insecure) as rejected:
            log.error("config.rejected", message=str(rejected))
            supervisor.reject(_problem(rejected, self._config))
            return False, str(rejected)
        try:
            changed = supervisor.apply(config)
        except Busy as busy:
            log.error("config.rejected", message=str(busy))
            supervisor.reject(_problem(busy, config))
            return False, f"{busy}. {_fix(busy)}"
        self._mounts.note(_roots(config))
        _set_up_log(config)
        later = _after_restart(self._config, config)
        if later:
            changed += f"; {later} has changed: restart the service for that"
        self._config = config
        log.info("service.reloaded", changes=changed)
        return True, changed


def _after_restart(before: Config, after: Config) -> str:
    """What of the new configuration a reload does not bring into force."""
    names = ["[http]"] if before.http != after.http else []
    old, new = before.service, after.service
    keys = [key for key in ("uv", "state_dir") if getattr(old, key) != getattr(new, key)]
    names += [f"{key} in [service]" for key in keys]
    return ", ".join(names)


def _roots(config: Config) -> list[Path]:
    return [environment.root for environment in config.environments.values()]


def _problem(rejected: ConfigRejected | Insecure | Busy, config: Config) -> Problem:
    """The first thing that is wrong with a configuration, as the status shows it."""
    match rejected:
        case ConfigRejected():
            return rejected.problems[0]
        case Insecure():
            return rejected.problem
    return Problem(file=str(config.path), reason=str(rejected), fix=_fix(rejected))


__all__ = ["CannotServe", "Load", "Serving", "main"]
