"""Says who holds a lock (flock(2)): the kernel knows it of every process of this machine.

Anyone who can read a file can lock it, so what the file itself says is only the second choice.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.files.parsing import json_of

_LOCKS = Path("/proc/locks")
_SIGNATURE = 100


def holder_of(descriptor: int) -> str:
    """The process that holds the lock on this file: its id, its program and its user.

    Args:
        descriptor: The open file, which may be a folder.
    """
    inode = os.fstat(descriptor).st_ino
    for pid in (*_kernel_s(descriptor), *_inheritors(inode), *_signed(descriptor)):
        described = _described(pid)
        if described is not None:
            return described
    return "another process"


def holder_if_locked(path: Path) -> str | None:
    """The process that holds the lock on a file; None if nobody does, or nobody can say."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return holder_of(descriptor)
        finally:
            os.close(descriptor)
    return None


def signature() -> bytes:
    """What the holder of one of our locks writes into it."""
    return json.dumps({"pid": os.getpid()}).encode()


def _kernel_s(descriptor: int) -> Iterator[int]:
    """The processes that hold it (proc(5), /proc/locks), if they are in our PID namespace."""
    found = os.fstat(descriptor)
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    held: dict[str, int] = {}
    with suppress(OSError):
        for line in _LOCKS.read_text(encoding="ascii").splitlines():
            fields = line.split()  # a line with an arrow is a process that waits
            if len(fields) > 5 and fields[1] == "FLOCK" and int(fields[4]) > 0:
                held[fields[5]] = int(fields[4])
    if device in held:
        yield held[device]
    # Some file systems report another device than fstat(2) does (btrfs, overlayfs).
    alike = [pid for where, pid in held.items() if where.endswith(f":{found.st_ino}")]
    if len(alike) == 1:
        yield alike[0]


def _inheritors(inode: int) -> Iterator[int]:
    """The processes that have it from one that has ended (proc(5), fdinfo), if we may see them."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _holds(entry / "fdinfo", f":{inode} "):
            yield int(entry.name)


def _holds(files: Path, lock: str) -> bool:
    with suppress(OSError, UnicodeDecodeError):
        for file in files.iterdir():
            with suppress(FileNotFoundError):
                lines = file.read_text(encoding="ascii").splitlines()
                if any(line.startswith("lock:") and lock in line for line in lines):
                    return True
    return False


def _signed(descriptor: int) -> Iterator[int]:
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        yield int(json_of(os.pread(descriptor, _SIGNATURE, 0))["pid"])


def _described(pid: int) -> str | None:
    """Not its arguments, which may hold secrets, and nothing that a terminal obeys."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:  # it has ended, or we may not see it
        return None
    except OSError:
        return f"process {pid}"
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    name = "".join(letter for letter in fields.get("Name", "?") if letter.isprintable())
    return f"process {pid} ({name}, uid {fields.get('Uid', '?').split()[0]})"
