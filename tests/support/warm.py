"""Processes of the product that begin where its modules are imported already.

Starting Python and importing everything is most of what a short command costs, and the tests run
hundreds of them. One process for each pytest worker has imported everything; each command is a
fork of it, with its own arguments, folder, variables and descriptors. A test that is about the
start itself, or about a command line that others see, starts a real `python -m reconciler`.
"""

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_SERVER = Path(__file__).with_name("warm_server.py")
MARK = "TEST_PROCESS_MARK"
MARK_LENGTH = 32


class Started:
    """One process of the product; as `subprocess.Popen`, as far as tests need it."""

    def __init__(self, arguments: Sequence[str], pid: int, told: int) -> None:
        self.args = arguments
        self.pid = pid
        self.returncode: int | None = None
        self._told = told

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._ask(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit status; raises `subprocess.TimeoutExpired`."""
        status = self._ask(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _ask(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            self.returncode = int(os.read(self._told, 64) or b"-9")  # nothing: all of it is gone
            os.close(self._told)
        return self.returncode


def start(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdout: int,
    stderr: int,
    new_session: bool = False,
) -> Started:
    """Start `reconciler ARGUMENTS`, with nothing to read."""
    wanted = {"arguments": arguments, "cwd": str(cwd), "env": dict(env), "session": new_session}
    ours, its = os.pipe()
    try:
        server = _server()
        socket.send_fds(server, [json.dumps(wanted).encode()], [stdout, stderr, its])
    finally:
        os.close(its)
    return Started(arguments, int(os.read(ours, 10)), ours)


def run(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `reconciler ARGUMENTS` to its end, with pipes; raises `subprocess.TimeoutExpired`."""
    reading, writing = zip(os.pipe(), os.pipe(), strict=True)
    started = start(arguments, cwd=cwd, env=env, stdout=writing[0], stderr=writing[1])
    for descriptor in writing:
        os.close(descriptor)
    try:
        said = _read_all(reading, time.monotonic() + timeout)
        status = None if said is None else started.wait(timeout)
    finally:
        for descriptor in reading:
            os.close(descriptor)
    if said is None or status is None:
        started.send_signal(signal.SIGKILL)
        raise subprocess.TimeoutExpired(arguments, timeout)
    return subprocess.CompletedProcess(arguments, status, *said)


def _read_all(descriptors: Sequence[int], deadline: float) -> list[str] | None:
    said = {descriptor: bytearray() for descriptor in descriptors}
    open_ = set(descriptors)
    while open_:
        ready, _, _ = select.select(open_, [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            return None
        for descriptor in ready:
            read = os.read(descriptor, 65536)
            said[descriptor] += read
            if not read:
                open_.remove(descriptor)
    return [text.decode() for text in said.values()]


@functools.cache
def _server() -> socket.socket:
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        process = subprocess.Popen(
            [sys.executable, _SERVER, str(its.fileno())],
            cwd="/",
            env={**os.environ, MARK: "0" * MARK_LENGTH},
            stdin=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
            start_new_session=True,
        )
    atexit.register(_end, process, ours)
    return ours


def _end(process: subprocess.Popen[bytes], server: socket.socket) -> None:
    server.close()  # which it takes as its end
    process.wait()
