"""Which processes use an environment right now, found in /proc (proc(5)).

A process uses it if its program, its script, or a file mapped into its memory lies there.
Only looks; processes of other users may hide their maps, and then count by their command.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SHOWN = 120
_COMMAND_WORDS = 2
"""The interpreter, and the script that it runs."""


@dataclass(frozen=True, slots=True)
class User:
    """A process that uses an environment."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def users_of(prefix: Path, proc: Path = Path("/proc")) -> list[User]:
    """The processes that use the environment at `prefix`, but for our own and our children.

    Args:
        prefix: The environment's folder, links resolved.
        proc: Where the proc file system is.
    """
    start = os.fsencode(f"{prefix}/")
    workspace = os.fsencode(f"{prefix}/.reconciler/")
    found = []
    for pid in _pids(proc):
        entry = proc / str(pid)
        if _is_ours(entry, pid):
            continue
        command = _read(entry / "cmdline").rstrip(b"\0").split(b"\0")
        if _runs(command, start, workspace) or _maps(entry, start, workspace):
            shown = b" ".join(command).decode(errors="replace")[:_SHOWN]
            found.append(User(pid, shown or "?"))
    return found


def _pids(proc: Path) -> Iterator[int]:
    for entry in proc.iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # ended meanwhile, or another user's
        return b""


def _is_ours(entry: Path, pid: int) -> bool:
    """Ourselves, or something that we started: uv, a verify command, a look at the GPU."""
    own = os.getpid()
    for _ in range(8):
        if pid == own:
            return True
        with suppress(ValueError, IndexError):
            pid = int(_read(entry.parent / str(pid) / "stat").rpartition(b")")[2].split()[1])
            continue
        return False
    return False


def _runs(command: list[bytes], start: bytes, workspace: bytes) -> bool:
    return any(
        word.startswith(start) and not word.startswith(workspace)
        for word in command[:_COMMAND_WORDS]
    )


def _maps(entry: Path, start: bytes, workspace: bytes) -> bool:
    maps = _read(entry / "maps")
    return any(
        start in line and workspace not in line for line in maps.splitlines() if start in line
    )
