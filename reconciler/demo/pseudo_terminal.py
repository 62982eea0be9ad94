"""Runs a command on a pseudo-terminal and keeps what it prints there (pty(7))."""

import fcntl
import os
import struct
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reconciler.processes import Cancellation, Program, run


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended: its exit status, and its output with colours."""

    status: int
    text: str


def run_in_terminal(
    command: Sequence[str],
    environ: Mapping[str, str],
    folder: Path,
    width: int,
    cancel: Cancellation,
) -> Ran:
    """Run a command to its end as if at a terminal.

    Args:
        command: the program and its arguments.
        environ: the environment variables.
        folder: where it runs.
        width: columns of the terminal.
        cancel: stops it.

    Raises:
        Cancelled: it was stopped.
    """
    ended = run(
        Program(
            command,
            environ={**environ, "TERM": "xterm-256color", "COLUMNS": str(width)},
            folder=folder,
            channel=partial(_terminal, width),
        ),
        limit=None,
        cancel=cancel,
    )
    errors = [line for line in ended.err.splitlines() if "Error" in line]
    return Ran(ended.status, ended.out + "".join(f"{line}\n" for line in errors))


def _terminal(width: int) -> tuple[int, int]:
    """The two ends of a terminal of this width."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    return ours, its
