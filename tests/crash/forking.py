"""Runs commands of ours in forked processes: the modules are imported once for all of them."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from reconciler.cli.app import COMMANDS, reconciler, status_of

Main = Callable[[], object]
_CRASHED = 70
_POLL_SECONDS = 0.005


def import_everything() -> None:
    """Import what the commands need, so that a forked one starts at once."""
    for name in COMMANDS:
        reconciler.get_command(None, name)  # type: ignore[arg-type]


def main_of(arguments: Sequence[str], folder: Path) -> Main:
    """What `reconciler ARGUMENTS` does in a folder."""

    def main() -> None:
        os.chdir(folder)
        sys.exit(status_of(arguments))

    return main


def fork(main: Main, environ: Mapping[str, str], output: Path, before: Main = lambda: None) -> int:
    """Start `main` in a forked process of its own session; return its id.

    Args:
        main: Its SystemExit is the exit status.
        environ: Its environment variables.
        output: The file that its standard output and error are appended to.
        before: Called first.
    """
    pid = os.fork()
    if pid:
        return pid
    status = _CRASHED
    try:
        os.setsid()
        os.environ.clear()
        os.environ.update(environ)
        _redirect(output)
        before()
        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 -- the interpreter would print it as well
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def _redirect(output: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor, source in enumerate((nothing, file, file)):
        os.dup2(source, descriptor)
    sys.stdin = os.fdopen(0, "r", closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)


def status_after(pid: int, limit: float, enough: Callable[[], bool] | None = None) -> int:
    """Wait for a process and return its exit status; -9 if it had to be killed at the limit.

    Args:
        pid: The process.
        limit: Seconds.
        enough: Stop it by SIGTERM once this holds.
    """
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if enough is not None and enough():
            os.kill(pid, signal.SIGTERM)
            enough = None
        time.sleep(_POLL_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_descendants() -> None:
    """Kill everything that was started below this process, until nothing of it runs."""
    while alive := [pid for pid in _descendants(os.getpid()) if not _is_dead(pid)]:
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _is_dead(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    return True


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


def running(program: str) -> list[int]:
    """The processes below this one that run a program."""
    found = []
    for pid in _descendants(os.getpid()):
        with suppress(OSError):
            if Path(f"/proc/{pid}/exe").readlink().name == program and not _is_dead(pid):
                found.append(pid)
    return found
