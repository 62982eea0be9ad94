"""Makes `systemctl reload` wait for the outcome of a reload, and fail if it was rejected.

The service writes the outcome to its RuntimeDirectory, and the command in `ExecReload=` reads
it there. `Type=notify-reload` (systemd 253) would wait too, but cannot report that the
configuration was rejected, so this is used on every systemd. The outcome never contains more
of the configuration than the messages about its problems.
"""

import os
import select
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from reconciler.trees.own_files import NotOurs, read_own

_FILE = "reload.json"
_POLL_MS = 50


class ReloadOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one reload."""

    started_usec: int
    """When the service started to read the configuration, by CLOCK_MONOTONIC."""
    accepted: bool
    message: str
    """What changed, or every problem and how to fix it."""


class ReloadUnanswered(Exception):
    """The service ended, or did not answer in time."""


def runtime_directory(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The folder that systemd created for this run (RuntimeDirectory=), if any."""
    first = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return Path(first) if first else None


def monotonic_usec() -> int:
    """Now, in microseconds, on a clock that all processes of the machine share."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def record_outcome(folder: Path | None, outcome: ReloadOutcome) -> None:
    """Publish `outcome` for `request_reload`; without `folder`, nobody is waiting for it."""
    if folder is None:
        return
    fresh = folder / f".{_FILE}.new"
    fresh.write_bytes(msgspec.json.encode(outcome))
    fresh.rename(folder / _FILE)


def request_reload(pid: int, folder: Path, timeout: float) -> ReloadOutcome:
    """Send SIGHUP to the service `pid` and wait for the outcome.

    Args:
        pid: the service's main process.
        folder: the RuntimeDirectory of that service.
        timeout: the longest to wait, in seconds.

    Raises:
        ReloadUnanswered: there is no such process, or it ended, or it did not answer in time.
    """
    since, deadline = monotonic_usec(), time.monotonic() + timeout
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError as error:
        raise ReloadUnanswered(f"there is no process {pid}; is the service running?") from error
    try:
        signal.pidfd_send_signal(process, signal.SIGHUP)
        return _await(process, folder, since, deadline)
    except ProcessLookupError as error:
        raise ReloadUnanswered("the service has ended; see its journal") from error
    finally:
        os.close(process)


def _await(process: int, folder: Path, since: int, deadline: float) -> ReloadOutcome:
    ended = select.poll()
    ended.register(process, select.POLLIN)
    file, why = folder / _FILE, ""
    while True:
        try:
            outcome = read_own(file, ReloadOutcome)
            if outcome.started_usec >= since:
                return outcome
        except FileNotFoundError:
            pass
        except (NotOurs, OSError) as error:  # the service is about to replace it
            why = f" ({file} cannot be used: {error})"
        if time.monotonic() >= deadline:
            raise ReloadUnanswered(f"the service did not answer in time{why}; see its journal")
        if ended.poll(_POLL_MS):
            raise ReloadUnanswered("the service ended during the reload; see its journal")
