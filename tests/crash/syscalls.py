"""The system calls that change a file system, and how to read what they are about.

Covers x86-64. The filter is a classic BPF program (seccomp(2)): calls that only read never leave
the kernel's fast path.
"""

import errno
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_AT_FDCWD = -100
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_FICLONE, _FICLONERANGE = 0x40049409, 0x4020940D
_AUDIT_ARCH_X86_64 = 0xC000003E
_PATH_MAX = 4096

Folder = int | None
"""The argument that has the folder's descriptor; None: the working directory."""


class Call(NamedTuple):
    """One system call.

    Attributes:
        number: Its number on x86-64.
        name: Its name, or that of its family.
        paths: For each path: the arguments with the folder's descriptor and with the string.
        descriptor: The argument with the descriptor of the file that it changes.
    """

    number: int
    name: str
    paths: tuple[tuple[Folder, int], ...] = ()
    descriptor: int | None = None


CALLS = (
    Call(2, "open", ((None, 0),)),
    Call(257, "open", ((0, 1),)),
    Call(437, "open", ((0, 1),)),
    Call(85, "open", ((None, 0),)),
    Call(1, "write", descriptor=0),
    Call(18, "write", descriptor=0),
    Call(20, "write", descriptor=0),
    Call(296, "write", descriptor=0),
    Call(328, "write", descriptor=0),
    Call(40, "write", descriptor=0),
    Call(326, "copy_file_range", descriptor=2),
    Call(16, "clone", descriptor=0),
    Call(77, "ftruncate", descriptor=0),
    Call(76, "ftruncate", ((None, 0),)),
    Call(285, "fallocate", descriptor=0),
    Call(74, "fsync", descriptor=0),
    Call(75, "fsync", descriptor=0),
    Call(306, "syncfs", descriptor=0),
    Call(82, "rename", ((None, 0), (None, 1))),
    Call(264, "rename", ((0, 1), (2, 3))),
    Call(316, "rename", ((0, 1), (2, 3))),
    Call(86, "link", ((None, 0), (None, 1))),
    Call(265, "link", ((0, 1), (2, 3))),
    Call(88, "symlink", ((None, 1),)),
    Call(266, "symlink", ((1, 2),)),
    Call(87, "unlink", ((None, 0),)),
    Call(263, "unlink", ((0, 1),)),
    Call(83, "mkdir", ((None, 0),)),
    Call(258, "mkdir", ((0, 1),)),
    Call(133, "mknod", ((None, 0),)),
    Call(259, "mknod", ((0, 1),)),
    Call(84, "rmdir", ((None, 0),)),
    Call(90, "chmod", ((None, 0),)),
    Call(91, "chmod", descriptor=0),
    Call(268, "chmod", ((0, 1),)),
    Call(452, "chmod", ((0, 1),)),
    Call(92, "chown", ((None, 0),)),
    Call(93, "chown", descriptor=0),
    Call(94, "chown", ((None, 0),)),
    Call(260, "chown", ((0, 1),)),
    Call(132, "utime", ((None, 0),)),
    Call(235, "utime", ((None, 0),)),
    Call(261, "utime", ((0, 1),)),
    Call(280, "utime", ((0, 1),)),
    Call(188, "setxattr", ((None, 0),)),
    Call(189, "setxattr", ((None, 0),)),
    Call(190, "setxattr", descriptor=0),
    Call(425, "io_uring"),  # would go past the filter: answered ENOSYS, as many containers do
)
BY_NUMBER = {call.number: call for call in CALLS}
IO_URING = 425
RENAMEAT2, RENAME_EXCHANGE = 316, 2
_OPEN_FLAGS = {2: 1, 257: 2}
_IOCTL = 16

_NAMES_TAKE_SPACE = frozenset({"open", "mkdir", "mknod", "link", "symlink", "rename"})
_NEEDS_SPACE = _NAMES_TAKE_SPACE | {
    "write", "copy_file_range", "clone", "fallocate", "ftruncate", "fsync", "syncfs", "setxattr",
}  # fmt: skip
_BY_NAME = _NAMES_TAKE_SPACE | {"unlink", "rmdir", "chmod", "chown", "utime", "setxattr"}
_FAILS_WITH: dict[int, Callable[[str], bool]] = {
    errno.ENOSPC: _NEEDS_SPACE.__contains__,
    errno.EROFS: (_BY_NAME | {"ftruncate"}).__contains__,
    errno.EACCES: _BY_NAME.__contains__,
    errno.EMFILE: {"open"}.__contains__,
    errno.EIO: lambda _: True,
}


def can_fail_with(name: str, error: int) -> bool:
    """Whether a system call of this family can fail with this error on some file system."""
    return _FAILS_WITH[error](name)


def bpf_filter() -> bytes:
    """The program: tell the listener about changes, let all the rest through."""
    load, equal, any_bit, answer = 0x20, 0x15, 0x45, 0x06
    notify, allow = 0x7FC00000, 0x7FFF0000

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    def argument(index: int) -> int:
        return 16 + 8 * index

    program = [
        step(load, 4),
        step(equal, _AUDIT_ARCH_X86_64, 1),
        step(answer, allow),
        step(load, 0),
    ]
    for number, flags in _OPEN_FLAGS.items():
        program += [
            step(equal, number, 0, 4),
            step(load, argument(flags)),
            step(any_bit, _WRITES, 0, 1),
            step(answer, notify),
            step(answer, allow),
        ]
    program += [
        step(equal, _IOCTL, 0, 5),
        step(load, argument(1)),
        step(equal, _FICLONE, 1),
        step(equal, _FICLONERANGE, 0, 1),
        step(answer, notify),
        step(answer, allow),
    ]
    for number in BY_NUMBER.keys() - _OPEN_FLAGS.keys() - {_IOCTL}:
        program += [step(equal, number, 0, 1), step(answer, notify)]
    return b"".join([*program, step(answer, allow)])


def paths_of(call: Call, thread: int, arguments: tuple[int, ...]) -> list[str]:
    """The absolute paths that a call of another process is about; empty if it is gone."""
    with suppress(OSError):
        if call.descriptor is not None:
            return [_opened(thread, arguments[call.descriptor])]
        return [
            _resolved(thread, None if folder is None else arguments[folder], arguments[text])
            for folder, text in call.paths
        ]
    return []


def _resolved(thread: int, folder: int | None, address: int) -> str:
    memory = os.open(f"/proc/{thread}/mem", os.O_RDONLY)
    try:
        text = os.fsdecode(_string(memory, address))
    finally:
        os.close(memory)
    if text.startswith("/"):
        return text
    if folder is None or _signed(folder) == _AT_FDCWD:
        return f"{Path(f'/proc/{thread}/cwd').readlink()}/{text}"
    return f"{_opened(thread, folder)}/{text}"


def _opened(thread: int, descriptor: int) -> str:
    return str(Path(f"/proc/{thread}/fd/{_signed(descriptor)}").readlink())


def _string(memory: int, address: int) -> bytes:
    found = b""
    while b"\0" not in found and len(found) < _PATH_MAX:
        found += os.pread(memory, 256 - address % 256, address)
        address += 256 - address % 256
    return found.partition(b"\0")[0]


def _signed(value: int) -> int:
    return value - (1 << 32) if (value := value & 0xFFFFFFFF) >= 1 << 31 else value
