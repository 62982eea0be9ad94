"""Ends a program together with everything that it started, wherever that has gone.

Each program has a supervisor: a copy of this process that runs no program of its own, keeps nothing
open, and adopts what descends from the program, also what called setsid(2) or forked twice
(prctl(2), PR_SET_CHILD_SUBREAPER). So nobody has to guess which process belongs to which pass, and
no other process is ever ended. A program that kills its supervisor only leaves its descendants to
systemd, which ends them with the service.
"""

import ctypes
import gc
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

END = signal.SIGUSR1
"""Tells a supervisor to end everything at once. SIGTERM asks only the program to end."""
ENDED_WITHIN = 5.0
"""Seconds in which everything is gone, unless it forks faster than it can be killed."""

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_AWAITED = frozenset({signal.SIGCHLD, signal.SIGTERM, END})
_POLL_SECONDS = 0.05
_FAILED = 70
_libc = ctypes.CDLL(None, use_errno=True)


def supervise() -> None:
    """In the child, before exec: fork once more, and return only in what becomes the program.

    It takes no lock, so it is safe between fork and exec in a threaded program. Both die with
    their parents; otherwise uv would keep running after a `kill -9` of the service.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _libc.prctl(_PR_SET_PDEATHSIG, END)
    program = os.fork()
    if program == 0:
        os.setsid()
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    try:
        _end_as(_supervised(program))
    finally:
        os._exit(_FAILED)


def _supervised(program: int) -> int:
    """Wait for the program, then end what it left; return its status as waitpid(2) gives it."""
    gc.disable()
    os.closerange(0, os.sysconf("SC_OPEN_MAX"))
    _libc.prctl(_PR_SET_DUMPABLE, 0)  # nobody may read what was copied of our memory
    status: int | None = None
    while status is None:
        told = signal.sigwait(_AWAITED)
        if told == END:
            break
        if told == signal.SIGTERM:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(program, signal.SIGTERM)
        status = _reap().get(program)
    return _end_all(program, status)


def _end_all(program: int, status: int | None) -> int:
    deadline = time.monotonic() + ENDED_WITHIN
    while time.monotonic() < deadline:
        with suppress(ChildProcessError):
            status = _reap(of_none=True).get(program, status)
            for child in _children():
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)
            signal.sigtimedwait({signal.SIGCHLD}, _POLL_SECONDS)
            continue
        break
    return signal.SIGKILL if status is None else status


def _reap(*, of_none: bool = False) -> dict[int, int]:
    """The children that have ended, and how.

    Raises:
        ChildProcessError: There are no children, and `of_none` is set.
    """
    ended: dict[int, int] = {}
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            if of_none and not ended:
                raise
            return ended
        if child == 0:
            return ended
        ended[child] = status


def _children() -> list[int]:
    """Our children; what they started becomes ours as they end."""
    own = os.getpid()
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{own}/children").read_text().split()]
    except OSError:  # a kernel without this list (proc(5), CONFIG_PROC_CHILDREN)
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if parent_of(pid) == own]


def parent_of(pid: int, proc: Path = Path("/proc")) -> int | None:
    """The parent of a process; None if it has ended."""
    try:
        return int((proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return None


def _end_as(status: int) -> None:
    """End as the program did."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))
