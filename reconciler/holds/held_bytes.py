"""Whether held files still have their bytes, though size, inode and modification time say so.

Anyone who may write a file can edit it in place and set its modification time back. Nobody can
set its change time (`ctime`), so a file is read again only if that has moved without our doing.
A file that is found edited gets the present modification time: from then on, every comparison,
in any process, sees that it differs from what was held.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.environment.snapshot import Snapshot
from reconciler.log.logger import get_logger
from reconciler.status import ExpectedEnd, Reason
from reconciler.trees.stage import Link
from reconciler.trees.tree import Tree
from reconciler.vault.copies import CopyDamaged, digest_of

log = get_logger(__name__)

_SHOWN = 3


class HoldEdited(ExpectedEnd):
    """During a pass, something edited files of a held package in place."""

    reason = Reason.HOLD_VIOLATION

    def __init__(self, edited: Mapping[str, NormalizedName]) -> None:
        names = ", ".join(sorted(set(edited.values())))
        shown = [path.rpartition("-packages/")[2] for path in sorted(edited)]
        more = " ..." if len(shown) > _SHOWN else ""
        super().__init__(
            f"during this pass, files of {names} were edited in place "
            f"({', '.join(shown[:_SHOWN])}{more}), and they are held. A package that was built "
            "did it, or a verify command, so nothing went live. Remove that package from the "
            'requirements, or set `build = "never"`; then install the held build by hand again.'
        )
        self.edited = edited


class HeldBytes:
    """The held files of an environment, as they are when a pass begins."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._prefix = snapshot.interpreter.prefix
        self._holds = Tree(
            self._prefix, self._prefix, snapshot.installed, snapshot.holds
        ).held_files
        self._known = {path: found for path in self._paths() if (found := _moment(path))}
        self._doubtful: set[str] = set()

    def _paths(self) -> Iterator[str]:
        return (f"{self._prefix}/{path}" for path in self._holds)

    def linking(self, link: Link) -> Link:
        """The same, but knows that it is us who move the change time of a held file."""

        def wrapped(source: str, target: str, *, is_link: bool) -> None:
            known = None if is_link else self._known.get(source)
            if known is not None and _moment(source) != known:
                self._doubtful.add(source)
            link(source, target, is_link=is_link)
            if known is not None and (found := _moment(source)):
                self._known[source] = found

        return wrapped

    def edited(self) -> dict[str, NormalizedName]:
        """The held files with other bytes than before, and their holds; each is logged."""
        found: dict[str, NormalizedName] = {}
        for path, known in self._known.items():
            now = _moment(path)
            if now is None or (now == known and path not in self._doubtful):
                continue  # what is missing, or another file, is compared elsewhere
            if now.inode == known.inode and self._is_edited(path, known, now):
                relative = path.removeprefix(f"{self._prefix}/")
                found[relative] = self._holds[relative]
            self._known[path] = _moment(path) or now
        self._doubtful.clear()
        return found

    def _is_edited(self, path: str, before: "_Moment", now: "_Moment") -> bool:
        """Whether a file that someone has touched has got another content since the pass began.

        One that was not as it was kept when the pass began may have had another content then; only
        if its size or time has changed since is it known that it was edited now.
        """
        expected = self._expected.get(path)
        if expected is None or (expected.is_compared(before) and before[2:] == now[2:]):
            return False
        with suppress(OSError):
            if digest_of(Path(path)) != expected.sha256:
                expose(path)
                return True
        return False

    def refuse_edited(self) -> None:
        """Check that no held file has been edited in place since the pass began.

        Raises:
            HoldEdited: One has.
        """
        edited = self.edited()
        if edited:
            raise HoldEdited(edited)

    @cached_property
    def _expected(self) -> Mapping[str, "Expected"]:
        return {expected.path: expected for expected in contents(self._snapshot)}


class _Moment(NamedTuple):
    """What tells that a file was touched: only its change time cannot be set back."""

    inode: int
    changed: int
    size: int
    modified: int


class Expected(NamedTuple):
    """What a held file must contain.

    Attributes:
        path: Absolute.
        sha256: In hexadecimal.
        kept: Inode, size and modification time of it when it was vaulted, and of the vault's own
            file; None: it was not vaulted.
        recorded: Without a copy: when its RECORD was written, in nanoseconds.
    """

    path: str
    sha256: str
    kept: tuple[tuple[int, int, int], ...] | None = None
    recorded: int = 0

    def is_compared(self, found: _Moment) -> bool:
        """Whether each comparison reads this file (`vault/breaks.py`): then no edit is hidden."""
        if self.kept is not None:
            return (found.inode, found.size, found.modified) not in self.kept
        return found.modified > self.recorded


def contents(snapshot: Snapshot) -> Iterator[Expected]:
    """What each held file must contain: as in the vault, otherwise as in its RECORD."""
    prefix = snapshot.interpreter.prefix
    vault = snapshot.vault
    for name in snapshot.holds.held:
        found = snapshot.installed.get(name)
        manifest = vault.current().get(name)
        if found is None:
            continue
        if manifest is not None and Version(manifest.version) == found.version:
            with suppress(CopyDamaged):
                for kept in vault.files(manifest):
                    yield Expected(f"{prefix}/{kept.path}", kept.sha256, kept.identities)
            continue
        with suppress(OSError, ValueError):
            recorded = (found.info / "RECORD").stat().st_mtime_ns
            for file in found.files():
                if file.sha256 is not None and not file.is_bytecode:
                    yield Expected(file.path, file.sha256, recorded=recorded)


def expose(path: str) -> None:
    """Let every comparison see that a held file differs, though someone set its time back."""
    log.error("hold.edited", path=path)
    with suppress(OSError):
        os.utime(path)


def _moment(path: str) -> _Moment | None:
    try:
        found = os.stat(path)  # noqa: PTH116 -- 14,600 files of torch
    except OSError:
        return None
    return _Moment(found.st_ino, found.st_ctime_ns, found.st_size, found.st_mtime_ns)


def is_hidden(expected: Expected) -> bool:
    """Whether only its content can tell that this file was edited; false if it does not exist."""
    found = _moment(expected.path)
    return found is not None and not expected.is_compared(found)
