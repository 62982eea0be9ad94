"""Finds mount points inside an environment: renaming a folder would move them (proc(5))."""

from pathlib import Path

from reconciler.files.bounded import read_text
from reconciler.patterns import regex

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = regex(r"\\([0-7]{3})")
_MOUNT_POINT = 4
"""The index of the mount point among the fields of a line."""


def mount_point_below(folder: Path, table: Path = _MOUNTS) -> Path | None:
    """The first mount point inside a folder, not counting the folder itself.

    Args:
        folder: A path without symbolic links.
        table: The kernel's list of mounts.
    """
    try:
        lines = read_text(table, errors="surrogateescape").splitlines()
    except OSError:
        return None  # nothing is known without /proc; the exchange itself fails with EBUSY
    start = f"{folder}/"
    for line in lines:
        fields = line.split(" ")
        if len(fields) > _MOUNT_POINT:
            point = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[_MOUNT_POINT])
            if point.startswith(start):
                return Path(point)
    return None
