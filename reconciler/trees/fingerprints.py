"""Fingerprints show that files are unchanged: a clone shares the inode, and so the bytes."""

import os
from collections.abc import Iterable, Mapping
from stat import S_ISLNK

Fingerprints = Mapping[str, tuple[int, int, int]]
"""For each path relative to the environment: inode, size in bytes, modification time in ns."""


def fingerprints(paths: Iterable[str], folder: os.PathLike[str]) -> Fingerprints:
    """Take the fingerprints of files.

    A clone recreates symbolic links, so a link is identified by its target.

    Args:
        paths: The files, relative to `folder`; a file that is missing has no fingerprint.
        folder: The environment itself, or a stage.
    """
    found: dict[str, tuple[int, int, int]] = {}
    for path in paths:
        try:
            stat = os.lstat(f"{folder}/{path}")
            if S_ISLNK(stat.st_mode):
                leads_to = os.readlink(f"{folder}/{path}")  # noqa: PTH115
                found[path] = (0, stat.st_size, hash(leads_to))
                continue
        except OSError:
            continue
        found[path] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found
