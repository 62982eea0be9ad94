"""Runs a command on a pseudo-terminal and keeps what it prints there (pty(7))."""

import fcntl
import os
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.processes import Cancellation


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended: its exit status, and its words with their colours."""

    status: int
    text: str


def run_in_terminal(
    command: Sequence[str],
    environ: Mapping[str, str],
    folder: Path,
    width: int,
    cancel: Cancellation,
) -> Ran:
    """Run a command to its end as if somebody sat before it.

    Args:
        command: the words.
        environ: the environment variables.
        folder: where it runs.
        width: columns of the terminal.
        cancel: ends it.

    Raises:
        Cancelled: it was ended.
    """
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**environ, "TERM": "xterm-256color", "COLUMNS": str(width)},
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        os.close(its)
        with cancel.ending(process):
            shown = _read_to_end(ours)
            said = process.stderr.read() if process.stderr else ""
    cancel.check()
    text = shown.decode(errors="replace").replace("\r\n", "\n")
    errors = [line for line in said.splitlines() if "Error" in line]
    return Ran(process.returncode, text + "".join(f"{line}\n" for line in errors))


def _read_to_end(descriptor: int) -> bytes:
    found = b""
    try:
        while chunk := os.read(descriptor, 65536):
            found += chunk
    except OSError:  # EIO: the other side is closed (pty(7))
        pass
    finally:
        os.close(descriptor)
    return found
