"""Imports the product once, and forks a process for each command that it is asked for.

A program of its own, started by `tests.support.warm`: it has one thread, and nothing of pytest.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import selectors
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import reconciler
from reconciler.cli import main as command

_MARK = b"TEST_PROCESS_MARK="
_ENV_START = 47
"""The field of /proc/self/stat, counted from behind the name: see proc(5)."""


def main(control: socket.socket) -> None:
    """Fork a process for each message; its id and how it ended are reported on its own pipe."""
    _import_all()
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is control:
                message, descriptors, _, _ = socket.recv_fds(control, 1 << 18, 3)
                if not message:
                    return
                _begin(selector, json.loads(message), descriptors)
            else:
                selector.unregister(key.fileobj)
                _report(key.fd, *key.data)


def _import_all() -> None:
    for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert threading.active_count() == 1, "a fork has only one of the threads"
    gc.collect()
    gc.freeze()


def _begin(selector: selectors.BaseSelector, wanted: Any, descriptors: list[int]) -> None:
    stdout, stderr, told = descriptors
    pid = os.fork()
    if pid == 0:
        _become(wanted, stdout, stderr, told)
    os.close(stdout)
    os.close(stderr)
    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, told))


def _report(pidfd: int, pid: int, told: int) -> None:
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):  # nobody may want to know
        os.write(told, f"{os.waitstatus_to_exitcode(status)}".encode())
    os.close(told)
    os.close(pidfd)


def _become(wanted: Any, stdout: int, stderr: int, told: int) -> NoReturn:
    """Be what `python -m reconciler` with these arguments would be, and end."""
    status = 1
    try:
        if wanted["session"]:
            os.setsid()
        _set_variables(wanted["env"])
        os.write(told, f"{os.getpid():10}".encode())  # it can be found by its mark now
        for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), stdout, stderr)):
            os.dup2(descriptor, number)
        os.closerange(3, 1024)
        os.chdir(wanted["cwd"])
        package = Path(reconciler.__file__).parent
        sys.path[0] = wanted["cwd"]
        sys.argv = [str(package / "__main__.py"), *wanted["arguments"]]
        status = _exit_status()
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 -- as Python does at its end
        traceback.print_exc()
    finally:
        os._exit(status)


def _exit_status() -> int:
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _set_variables(env: dict[str, str]) -> None:
    """Take these variables; others see the mark among them in /proc."""
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    mark = env.get(_MARK.decode().rstrip("="))
    if mark is not None:
        place = Path("/proc/self/environ").read_bytes().index(_MARK) + len(_MARK)
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        ctypes.memmove(int(fields[_ENV_START]) + place, mark.encode(), len(mark))


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
