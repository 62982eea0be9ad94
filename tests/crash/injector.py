"""Runs a command and everything that it starts, and lets something go wrong at its n-th change.

All system calls that change a file system wait for an answer from here (seccomp(2), user
notification), so one counter counts those of every process, whether it is Python, a static binary
or one that makes raw system calls. While the injector kills, nobody gets an answer: exactly the
first n - 1 changes have happened.
"""

import ctypes
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.crash.faults import Fault
from tests.crash.forking import fork, kill_descendants, running
from tests.crash.syscalls import (
    BY_NUMBER,
    IO_URING,
    RENAME_EXCHANGE,
    RENAMEAT2,
    bpf_filter,
    can_fail_with,
    paths_of,
)

_PR_SET_NO_NEW_PRIVS, _PR_SET_CHILD_SUBREAPER = 38, 36
_SECCOMP, _SET_MODE_FILTER = 317, 1
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5
_RECEIVE, _SEND, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082104
_SYNC_WAKE_UP = 1
_CONTINUE = 1
_LONGEST_SECONDS = 15.0
_TICK = 50
"""Milliseconds."""
_NOTICE = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")

_libc = ctypes.CDLL(None, use_errno=True)


class Change(NamedTuple):
    """One change to the file system, before it happens."""

    name: str
    program: str
    paths: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.program}: {self.name} {' '.join(self.paths)}"


@dataclass
class Run:
    """A command that has ended.

    Attributes:
        status: Its exit status; negative: the signal that ended it.
        changes: All changes, in order, if they were asked for.
        count: How many there were.
        hit: The change at which the fault happened; None if it never did.
        late: Whether something had to be ended because it ran for too long.
    """

    status: int = 0
    changes: list[Change] = field(default_factory=list)
    count: int = 0
    hit: Change | None = None
    late: bool = False


class Injector:
    """Watches one command.

    Args:
        below: Only changes below this folder count; the others happen unseen.
        fault: What goes wrong; None: nothing, the changes are noted.
        at: At which change, counted from 1.
        limit: Seconds until everything is killed.
        until: Stop the command by SIGTERM once this holds, or when it takes too long.
        exchanges: Whether the file system can exchange two folders; NFS cannot.
    """

    def __init__(
        self,
        below: Path,
        fault: Fault | None = None,
        at: int = 0,
        *,
        limit: float = 60.0,
        until: Callable[[], bool] | None = None,
        exchanges: bool = True,
    ) -> None:
        self._below = f"{below}/"
        self._fault = fault
        self._at = at
        self._limit = limit
        self._until = until
        self._exchanges = exchanges
        self._run = Run()
        self._root = 0

    def run(self, main: Callable[[], object], environ: Mapping[str, str], output: Path) -> Run:
        """Run `main` in a forked process, watched, and wait for it and all that it starts.

        Args:
            main: The command; its SystemExit is its exit status.
            environ: Its environment variables.
            output: The file that its standard output and error go to.
        """
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # so that nothing it starts gets lost
        ours, theirs = socket.socketpair()
        self._root = fork(main, environ, output, lambda: _hand_over(theirs))
        theirs.close()
        _, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
        ours.close()
        with suppress(OSError):  # Linux 6.6 or later: faster
            fcntl.ioctl(listener, _SET_FLAGS, _SYNC_WAKE_UP)
        try:
            self._serve(listener)
        finally:
            kill_descendants()  # nothing is left, unless it was killed or late
            self._collect()
            os.close(listener)
        return self._run

    def _serve(self, listener: int) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        started = time.monotonic()
        while time.monotonic() < started + self._limit:
            events = [event for _, event in poll.poll(_TICK)]
            if events and events[0] & select.POLLIN:
                if not self._answer(listener):
                    return
            elif events:
                return  # nobody is left
            else:
                self._stop_if_enough(started)
        self._run.late = True

    def _stop_if_enough(self, started: float) -> None:
        """End a command that does not end by itself."""
        if self._until is None:
            return
        if self._until() or time.monotonic() > started + _LONGEST_SECONDS:
            with suppress(ProcessLookupError):
                os.kill(self._root, signal.SIGTERM)
            self._until = None

    def _answer(self, listener: int) -> bool:
        """Answer one call; return whether to go on."""
        notice = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, notice)
        except OSError as gone:
            if gone.errno not in (errno.ENOENT, errno.EINTR):
                raise
            return True
        number, thread, _, call, _, _, *arguments = _NOTICE.unpack(notice)
        error = self._error_for(thread, call, tuple(arguments))
        if error is None:
            return False
        answer = _ANSWER.pack(number, 0, -error, 0 if error else _CONTINUE)
        with suppress(FileNotFoundError):  # it has been killed meanwhile
            fcntl.ioctl(listener, _SEND, bytearray(answer))
        return True

    def _error_for(self, thread: int, number: int, arguments: tuple[int, ...]) -> int | None:
        """The error that this call gets, 0 if it goes ahead; None: all are dead."""
        if number == IO_URING:
            return errno.ENOSYS
        if number == RENAMEAT2 and arguments[4] & RENAME_EXCHANGE and not self._exchanges:
            return errno.EINVAL
        call = BY_NUMBER[number]
        paths = paths_of(call, thread, arguments)
        if not any(path.startswith(self._below) for path in paths):
            return 0
        run, fault = self._run, self._fault
        run.count += 1
        if fault is None:
            run.changes.append(self._change(call.name, thread, paths))
            return 0
        if run.count < self._at or (run.hit and not fault.lasting):
            return 0
        if fault.error and not can_fail_with(call.name, fault.error):
            return 0  # the next one that can
        return self._strike(fault, call.name, thread, paths)

    def _strike(self, fault: Fault, name: str, thread: int, paths: list[str]) -> int | None:
        change = self._change(name, thread, paths) if self._run.hit is None else self._run.hit
        if fault.error:
            self._run.hit = change
            return fault.error
        if fault.whom == "all":
            self._run.hit = change
            kill_descendants()
            return None
        victims = running("uv") if fault.whom == "uv" else [self._root]
        if victims:  # otherwise as soon as uv runs
            self._run.hit = change
        for victim in victims:
            with suppress(ProcessLookupError):
                os.kill(victim, fault.kill)
        return 0

    def _change(self, name: str, thread: int, paths: list[str]) -> Change:
        program = "?"
        with suppress(OSError):
            program = Path(f"/proc/{thread}/exe").readlink().name
        shown = tuple(path.removeprefix(self._below) for path in paths)
        return Change(name, program, shown)

    def _collect(self) -> None:
        """Collect everything that has ended; among it the command itself."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, 0)
                if pid == self._root:
                    self._run.status = os.waitstatus_to_exitcode(status)


def _hand_over(channel: socket.socket) -> None:
    """In the new process: from now on, its changes and its children's wait for an answer."""
    listener = _listen()
    socket.send_fds(channel, [b"x"], [listener])
    os.close(listener)
    channel.close()


def _listen() -> int:
    """Install the filter for this process and all its descendants; return the listener."""
    program = bpf_filter()
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(code))
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = _libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER | _WAIT_KILLABLE, header)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)")
    return listener
