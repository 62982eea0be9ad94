"""Which processes use an environment right now, found in /proc (proc(5)).

A process uses it if its program, its script, or a file mapped into its memory is there. Only
processes of the environment's owner, of root and of our own user count: a process is free to call
itself anything, so anyone else could put off every change for good. Read-only.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.descendants import parent_of
from reconciler.files.bounded import read_bytes

_FIRST_WORDS = 4
_COMMAND_WORDS = 2
"""The interpreter, and the script that it runs."""


@dataclass(frozen=True, slots=True)
class User:
    """A process that uses an environment.

    Without its arguments: everyone may see the status, and `--api-key=...` is an argument.
    """

    pid: int
    command: str
    """The name of its program, as the kernel knows it."""
    words: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
    """The file names among its first words, to recognise a program by; never shown."""

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def users_of(prefix: Path, proc: Path = Path("/proc")) -> list[User]:
    """The processes that use the environment at `prefix`, except our own and our children.

    Args:
        prefix: The environment's folder, links resolved.
        proc: Where the proc file system is.
    """
    counting = {0, os.geteuid(), prefix.stat().st_uid}
    start = os.fsencode(f"{prefix}/")
    workspace = os.fsencode(f"{prefix}/.reconciler/")
    found = []
    for pid in _pids(proc):
        entry = proc / str(pid)
        if _user_of(entry) not in counting or _is_ours(entry, pid):
            continue
        command = _read(entry / "cmdline").rstrip(b"\0").split(b"\0")
        words = [*command[:_COMMAND_WORDS], *_typed(entry, command)]
        if _runs(words, start, workspace) or _maps(entry, start, workspace):
            found.append(User(pid, _name_of(entry), _file_names(command[:_FIRST_WORDS])))
    return found


def _pids(proc: Path) -> Iterator[int]:
    for entry in proc.iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError:  # ended meanwhile, or another user's
        return b""


def _name_of(entry: Path) -> str:
    """What `ps -e` shows: at most 15 bytes, which a process may choose itself."""
    return _read(entry / "comm").decode(errors="replace").rstrip("\n") or "?"


def _file_names(words: list[bytes]) -> frozenset[str]:
    return frozenset(os.path.basename(word).decode(errors="replace") for word in words)  # noqa: PTH119


def _user_of(entry: Path) -> int | None:
    """The user who started it: the real uid, which set-user-ID programs do not change."""
    for line in _read(entry / "status").splitlines():
        if line.startswith(b"Uid:"):
            return int(line.split()[1])
    return None


def _is_ours(entry: Path, pid: int) -> bool:
    """Ourselves, or something that we started: uv, a verify command, the GPU probe."""
    own = os.getpid()
    parent: int | None = pid
    for _ in range(16):
        if parent in {own, None}:
            break
        parent = parent_of(parent, entry.parent)
    return parent == own


def _runs(words: list[bytes], start: bytes, workspace: bytes) -> bool:
    return any(word.startswith(start) and not word.startswith(workspace) for word in words)


def _typed(entry: Path, command: list[bytes]) -> Iterator[bytes]:
    """The paths behind a command: `.venv/bin/python train.py`, or `python train.py` if activated.

    The kernel does not say: an environment's python is a link, and `exe` is already resolved.
    """
    with suppress(OSError):
        folder = os.readlink(os.fsencode(entry / "cwd"))  # noqa: PTH115 -- bytes
        for word in command[:_COMMAND_WORDS]:
            if b"/" in word:
                yield _absolute(os.path.join(folder, word))  # noqa: PTH118
        if command[0] and b"/" not in command[0]:
            yield from _found_in_path(entry, folder, command[0])


def _found_in_path(entry: Path, folder: bytes, program: bytes) -> Iterator[bytes]:
    """What the shell found under that name, going by the process's own PATH."""
    for line in _read(entry / "environ").split(b"\0"):
        if line.startswith(b"PATH="):
            for place in line[len(b"PATH=") :].split(b":"):
                path = os.path.join(folder, place, program)  # noqa: PTH118
                if os.access(path, os.X_OK):
                    yield _absolute(path)
                    return


def _absolute(path: bytes) -> bytes:
    """The path with links in its folder resolved; its last part may be an environment's link."""
    parent, name = os.path.split(path)
    return os.path.join(os.path.realpath(parent), name)  # noqa: PTH118


def _maps(entry: Path, start: bytes, workspace: bytes) -> bool:
    maps = _read(entry / "maps")
    return any(
        start in line and workspace not in line for line in maps.splitlines() if start in line
    )
