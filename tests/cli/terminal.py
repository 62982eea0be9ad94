"""A real terminal (a pty) with a command in it: what it shows, and keys to press."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import DEADLINE, reconciler_command

_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`reconciler ARGUMENTS` on a terminal of its own, the leader of its foreground group.

    Args:
        arguments: The command line.
        cwd: Where it runs.
        env: All its variables.
        width: Columns.
    """

    def __init__(
        self, *arguments: str, cwd: Path, env: Mapping[str, str], width: int = 100
    ) -> None:
        ours, its = os.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        self._descriptor = ours
        self.process = subprocess.Popen(
            reconciler_command(arguments),
            cwd=cwd,
            env={"TERM": "xterm-256color", **env},
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(its, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        os.close(its)
        self.raw = ""

    @property
    def text(self) -> str:
        """What was shown so far, without colours and cursor movements."""
        return _CODES.sub("", self.raw).replace("\r\n", "\n")

    def wait_for(self, pattern: str, *, since: int = 0, timeout: float = DEADLINE) -> None:
        """Read until the pattern has been shown, looking behind the first `since` letters."""
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.text[since:]):
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self.text}"
            assert self._read(0.2) or self.process.poll() is None, f"ended:\n{self.text}"

    def press(self, keys: str) -> None:
        """Type something; Ctrl-C is `\\x03`."""
        os.write(self._descriptor, keys.encode())

    def end(self, timeout: float = DEADLINE) -> int:
        """Read to the end, and return the exit status."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None or self._read(0.0):
            assert time.monotonic() < deadline, f"still running:\n{self.text}"
            self._read(0.1)
        os.close(self._descriptor)
        return self.process.wait()

    def _read(self, wait: float) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], wait)
        if not ready:
            return False
        try:
            found = os.read(self._descriptor, 65536)
        except OSError:  # EIO: nobody has the other side open any more
            return False
        self.raw += found.decode(errors="replace")
        return bool(found)
