"""How a child process is waited for, cancelled and ended, together with its children."""

import ctypes
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 2.0
_libc = ctypes.CDLL(None, use_errno=True)


class Cancelled(Exception):
    """The pass was asked to end; nothing that was begun is live."""


class Cancellation:
    """Tells one pass, at each of its steps, that it should end."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self.checked_at = time.monotonic()
        """When the pass last asked whether it should end (monotonic seconds)."""

    def cancel(self) -> None:
        """Ask the pass to end; a running child is ended at once. From any thread."""
        self._event.set()
        with self._lock:
            running = list(self._running)
        for process in running:
            signal_group(process, signal.SIGTERM)

    @property
    def has_children(self) -> bool:
        """Whether a child is being waited for right now."""
        with self._lock:
            return bool(self._running)

    @property
    def cancelled(self) -> bool:
        """Whether the pass should end."""
        return self._event.is_set()

    def check(self) -> None:
        """End here if asked to.

        Raises:
            Cancelled: Somebody called `cancel`.
        """
        self.checked_at = time.monotonic()
        if self._event.is_set():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Wait, but not past a cancellation.

        Raises:
            Cancelled: Somebody called `cancel`.
        """
        self._event.wait(seconds)
        self.check()

    def wait_for(self, process: "subprocess.Popen[str]", timeout: float | None) -> None:
        """Wait for a child to end by itself.

        Args:
            process: The child, the leader of its own session.
            timeout: The time limit in seconds, or None.

        Raises:
            Cancelled: Somebody called `cancel`; the child has been told to end.
            subprocess.TimeoutExpired: It ran past `timeout`.
        """
        with self.ending(process):
            wait(process, timeout)
        self.check()

    @contextmanager
    def ending(self, process: "subprocess.Popen[str]") -> Iterator[None]:
        """While inside, a cancellation ends this child."""
        with self._lock:
            self._running.add(process)
        try:
            if self._event.is_set():
                signal_group(process, signal.SIGTERM)
            yield
        finally:
            with self._lock:
                self._running.discard(process)


def wait(process: "subprocess.Popen[str]", timeout: float | None) -> None:
    """Wait for a child to end; told of it by the kernel, where `Popen.wait` asks every 50 ms.

    Where pidfd_open(2) is not to be had, as under some seccomp filters, or for a limit of
    weeks, which poll(2) cannot count in milliseconds, it asks as well.

    Args:
        process: The child, waited for by nobody else.
        timeout: The time limit in seconds, or None.

    Raises:
        subprocess.TimeoutExpired: It ran past `timeout`.
    """
    with suppress(OSError, OverflowError):
        descriptor = os.pidfd_open(process.pid)
        try:
            ended = select.poll()
            ended.register(descriptor, select.POLLIN)
            ended.poll(None if timeout is None else timeout * 1000)
        finally:
            os.close(descriptor)
        timeout = None if timeout is None else 0.0
    process.wait(timeout)


def die_with_parent() -> None:
    """In a child, before it becomes another program: die when the parent is killed.

    Without this, uv would run on after a `kill -9` of the service (prctl(2),
    PR_SET_PDEATHSIG). It calls one system call and takes no lock, so it is safe between
    fork and exec of a threaded program.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def signal_group(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    """Send a signal to a child and everything that it started in its session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def end_group(process: "subprocess.Popen[str]") -> None:
    """Make sure that a child and everything it started is gone: TERM, a grace, then KILL."""
    if process.poll() is None:
        signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
    signal_group(process, signal.SIGKILL)
    process.wait()
