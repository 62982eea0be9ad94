"""Keeps a program, and everything that it starts, from changing some files and folders.

If asked to, also from the network, as far as the kernel allows it.

They are read-only in its own view of the file system (mount_namespaces(7)); nobody else sees a
difference. Root gets that view directly, others in a user namespace; both lose what could undo it.
Where that is forbidden, Landlock is second best.
"""

import ctypes
import os
import signal
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from reconciler import landlock

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000
_MOUNT_SETATTR = 442
"""The same number on every architecture (Linux 5.12)."""
_MOUNT_ATTR_RDONLY = 1
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION_3 = 0x20080522
_UNDOING = (2, 16, 17, 19, 21, 27)
"""DAC_READ_SEARCH (open_by_handle_at), SYS_MODULE, SYS_RAWIO, SYS_PTRACE (/proc/PID/root),
SYS_ADMIN (mount), MKNOD: each would lead around a read-only mount (capabilities(7))."""
_TRIED_WITHIN_SECONDS = 10
_libc = ctypes.CDLL(None, use_errno=True)


class Means(StrEnum):
    """How programs can be confined."""

    MOUNTS = "mounts"
    """Exactly what is kept is read-only."""
    LANDLOCK = "landlock"
    """New names in the folders above it are refused too."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a program, and everything that it starts, may read but not change."""

    kept: tuple[Path, ...]
    """Existing files and folders, links resolved. Their names cannot be moved or removed either."""
    means: Means
    offline: bool = False
    """Whether it also gets no network, if the kernel can refuse it."""

    def enter(self) -> None:
        """Confine this process and what it starts; in the child, before exec.

        Raises:
            OSError: The kernel does not allow it.
        """
        if self.means is Means.MOUNTS:
            self._mount()
        elif self.means is Means.LANDLOCK:
            landlock.may_write_only_to(landlock.beside(self.kept), offline=self.offline)

    def closes(self, folder: Path) -> bool:
        """Whether no file can be made in a folder, though it is not kept."""
        above = any(path.is_relative_to(folder) for path in self.kept)
        return self.means is Means.LANDLOCK and above

    def _mount(self) -> None:
        _see_mounts_alone(offline=self.offline)
        # Mounts of others still reach it, so it keeps no disk busy; nothing of its own gets out.
        _mount(b"none", b"/", _MS_REC | _MS_SLAVE)
        for path in map(os.fsencode, self.kept):
            with suppress(FileNotFoundError):
                _mount(path, path, _MS_BIND | _MS_REC)
                _make_read_only(path)
        _give_up(_UNDOING)


@cache
def best_means() -> Means:
    """How programs can be confined here; tried once."""
    import tempfile  # noqa: PLC0415 -- slow to import, and `check` confines nothing

    place = Path(os.path.realpath(tempfile.gettempdir()))

    def attempt() -> bool:
        Confinement((place,), Means.MOUNTS).enter()
        return bool(os.statvfs(place).f_flag & os.ST_RDONLY)

    if _in_a_child(attempt):
        return Means.MOUNTS
    return Means.LANDLOCK if landlock.is_supported() else Means.NONE


def _in_a_child(attempt: Callable[[], bool]) -> bool:
    """Whether it succeeds, in a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(_TRIED_WITHIN_SECONDS)
            os._exit(0 if attempt() else 1)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _see_mounts_alone(*, offline: bool) -> None:
    """Get a mount namespace, if necessary in a user namespace with the same user and group.

    Args:
        offline: Also get a network namespace without a network, if there can be one.
    """
    user, group = os.getuid(), os.getgid()
    for net in (_CLONE_NEWNET, 0) if offline else (0,):
        if _libc.unshare(_CLONE_NEWNS | net) == 0:
            return
        if _libc.unshare(_CLONE_NEWNS | _CLONE_NEWUSER | net) == 0:
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"{user} {user} 1")
            _write("/proc/self/gid_map", f"{group} {group} 1")
            return
    _check(-1)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    os.write(descriptor, text.encode())
    os.close(descriptor)


def _mount(source: bytes, target: bytes, flags: int) -> None:
    _check(_libc.mount(source, target, None, ctypes.c_ulong(flags), None))


def _make_read_only(path: bytes) -> None:
    wanted = struct.pack("4Q", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    size = ctypes.c_size_t(len(wanted))
    _check(_libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, path, _AT_RECURSIVE, wanted, size))


def _give_up(capabilities: tuple[int, ...]) -> None:
    """Give up capabilities for good: exec gives root everything that it may still have."""
    for capability in capabilities:
        _check(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0))
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    held = ctypes.create_string_buffer(24)
    _check(_libc.capget(header, held))
    lost = sum(1 << capability for capability in capabilities) & 0xFFFFFFFF
    words = [word & ~lost if n < 3 else word for n, word in enumerate(struct.unpack("6I", held))]
    _check(_libc.capset(header, struct.pack("6I", *words)))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
