"""Runs the product's commands as a user does, and keeps account of what a test starts.

Whatever a test leaves running is found by a mark in its environment and ended; no
other process is ever touched.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import warm

DEADLINE = 60.0
POLL = 0.05


def run_cli(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = DEADLINE,
) -> subprocess.CompletedProcess[str]:
    """Run `reconciler ARGUMENTS` to its end and return its exit code and output.

    Args:
        arguments: The command line.
        cwd: The folder that it runs in.
        env: Variables on top of the tests' own.
        timeout: Seconds after which the test fails.
    """
    variables = {**os.environ, **(env or {})}
    return warm.run([*map(str, arguments)], cwd=cwd, env=variables, timeout=timeout)


def reconciler_command(arguments: Sequence[str | Path]) -> list[str]:
    """Return the words that start the product from where the tests run."""
    return [sys.executable, "-m", "reconciler", *map(str, arguments)]


def wait_until(
    condition: Callable[[], object], *, timeout: float = DEADLINE, what: str = "the condition"
) -> None:
    """Return once the condition holds; fail the test at the deadline."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout} s"
        time.sleep(POLL)


def free_port() -> int:
    """Return a port that nobody listens on, nor is given to anyone who does not ask for it."""
    while True:
        port = random.randrange(10_000, 30_000)  # below the ephemeral range
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(frozen=True, slots=True)
class Mark:
    """Set in the environment of a process that a test starts, and so in all its descendants'."""

    value: str = field(default_factory=lambda: uuid.uuid4().hex)

    def environment(self) -> dict[str, str]:
        """Return the variable to start the process with."""
        return {warm.MARK: self.value}

    def processes(self) -> list[int]:
        """Return the ids of those that still run (a zombie does not)."""
        mark = f"{warm.MARK}={self.value}".encode()
        return [pid for pid in _all_processes() if mark in _environment_of(pid)]

    def kill(self) -> None:
        """Send SIGKILL to all of them, until none is left."""
        while pids := self.processes():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _all_processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _environment_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
