"""Landlock (landlock(7)): a program gives up writing anywhere except where rules allow it.

Needs no privilege, so it works in containers and service units that forbid mounts. It knows no
exceptions: whatever is below an allowed folder is allowed. To keep one folder, everything beside
it and beside the folders above it is allowed; new names in those folders are not.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""The same numbers on every architecture (Linux 5.13)."""
_VERSION = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_REFERS = 2
"""The version from which a file may be linked or renamed into another folder at all."""
_TRUNCATES = 3
_KNOWS_TCP = 4
_TCP = 0b11
"""Bind and connect."""
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_CHANGE_FOLDER = sum(1 << bit for bit in range(4, 14))
"""Make, remove, link and rename what is in it."""
_libc = ctypes.CDLL(None, use_errno=True)


def is_supported() -> bool:
    """Whether this kernel has it, and lets us use it."""
    return bool(_version() >= _REFERS)


def may_write_only_to(places: Iterable[str], *, offline: bool = False) -> None:
    """Confine this process and what it starts; in the child, before exec.

    Args:
        places: Existing files, and folders with everything below them.
        offline: Also refuse TCP, where the kernel can (Linux 6.7).

    Raises:
        OSError: The kernel does not allow it.
    """
    in_files = _WRITE_FILE | (_TRUNCATE if _version() >= _TRUNCATES else 0)
    handled = in_files | _CHANGE_FOLDER
    attributes = struct.pack("=Q", handled)
    if offline and _version() >= _KNOWS_TCP:
        attributes += struct.pack("=Q", _TCP)
    rules = _checked(_libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    for place in places:
        with suppress(OSError):  # gone, or nothing that is written to
            descriptor = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
                rule = struct.pack("=Qi", handled if is_folder else in_files, descriptor)
                _checked(_libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0))
            finally:
                os.close(descriptor)
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(_libc.syscall(_RESTRICT_SELF, rules, 0))
    os.close(rules)


def beside(kept: Collection[Path]) -> Iterator[str]:
    """All that may be written to if these may not; links are left out, as they lead elsewhere."""
    above = {folder for path in kept for folder in path.parents}
    skipped = {str(path) for path in above.union(kept)}
    for folder in above.difference(kept):
        with suppress(OSError), os.scandir(folder) as entries:
            yield from (e.path for e in entries if e.path not in skipped and not e.is_symlink())


def _version() -> int:
    return int(_libc.syscall(_CREATE_RULESET, None, 0, _VERSION))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
