"""Notices changes without inotify, by looking at what is watched every few seconds.

For the time in which the kernel's watches are used up. Files inside the folders of held packages
are not looked at (torch has 15,000); the interval finds changes there.
"""

import os
from collections.abc import Iterator
from stat import S_ISDIR

from reconciler.daemon.watched import OF_PREFIX, Targets

SECONDS = 2.0
"""How often to look."""

Identity = tuple[int, int, int] | None


class Poller:
    """Looks at what `targets` says to watch."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._seen = dict(self._look())

    def changed(self) -> set[str]:
        """The paths that have changed since the last call, or since it was made."""
        before, self._seen = self._seen, dict(self._look())
        return {path for path, identity in self._seen.items() if identity != before[path]}

    def _look(self) -> Iterator[tuple[str, Identity]]:
        targets = self._targets
        inside = (f"{targets.prefix}/{name}" for name in OF_PREFIX)
        for path in (*targets.files, *targets.places, *inside):
            yield path, identity_of(path)
        for site in targets.sites:
            yield str(site), identity_of(str(site), names=True)


def identity_of(path: str, *, names: bool = False) -> Identity:
    """What changes with a file; of a folder only which one it is, unless its names count."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    if S_ISDIR(found.st_mode) and not names:
        return found.st_ino, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns
