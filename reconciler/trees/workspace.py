"""The folder with our files for one environment, and the locks that decide who may use it.

The folder `.reconciler` is inside the environment, on the same file system and mount as its
packages, so that hard links and renames work. It never contains anything that Python imports.
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from reconciler.files.lock_holder import holder_of, signature
from reconciler.files.naming import naming
from reconciler.processes import Cancellation
from reconciler.status import ExpectedEnd, Reason

NAME = ".reconciler"
_STAGE, _WORK, _NEW = "stage-", "work-", "new-"
_GONE = "gone-"
"""What a pass no longer needs; it is removed once the pass has been reported."""
META = "generation.json"
"""The file with the label, in each generation's folder."""
ASIDE_SUFFIX = ".aside"
"""Added to the name of a folder that two renames are just exchanging."""
_ASIDE = "aside"
"""Old files of a change in place; without its record, they are no longer needed."""
_UNUSED = (_STAGE, _WORK, _NEW, _ASIDE)
_UNFINISHED = ".new"
"""The suffix of a file that is being written (`write_durably`)."""
_LOCK_POLL_SECONDS = 0.05
_NOT_OURS = "it is a symbolic link, and Reconciler writes nothing through one; remove the link"


class Busy(ExpectedEnd):
    """Another process holds the lock."""

    reason = Reason.BUSY

    def __init__(self, path: Path, holder: str, fix: str = "") -> None:
        super().__init__(f"{path} is held by {holder}" + (f". {fix}" if fix else ""))
        self.path = path
        self.holder = holder


class PassLock:
    """Proof that the caller holds an environment's pass lock.

    `Workspace.pass_lock` returns it; it expires when that lock is released. Code that may only
    write under the lock requires it. `PassLock()` proves nothing.
    """

    def __init__(self, prefix: Path | None = None, cancel: Cancellation | None = None) -> None:
        self._prefix = prefix
        self.cancel = cancel or Cancellation()
        """Ends what is done under the lock."""

    def require(self, prefix: Path) -> None:
        """Check that the lock of the environment at `prefix` is held.

        Raises:
            RuntimeError: It is not held: a bug in the caller.
        """
        if self._prefix != prefix:
            raise RuntimeError(f"the pass lock of {prefix} is not held")

    def end(self) -> None:
        """The lock is about to be released."""
        self._prefix = None


class Workspace(msgspec.Struct, frozen=True):
    """The folders of one environment; `prefix` is the environment's own, links resolved."""

    prefix: Path

    @property
    def root(self) -> Path:
        """`PREFIX/.reconciler`."""
        return self.prefix / NAME

    @property
    def generations(self) -> Path:
        """The trees that were live once."""
        return self.root / "generations"

    @property
    def former_vault(self) -> Path:
        """Where the copies of held packages were before they had a place outside."""
        return self.root / "vault"

    @property
    def intent(self) -> Path:
        """The record of an exchange that has begun."""
        return self.root / "intent.json"

    @property
    def in_place(self) -> Path:
        """The record of a change of the live tree itself that has begun."""
        return self.root / "in-place.json"

    @property
    def created(self) -> Path:
        """A new environment that is complete, and is being moved to where it belongs."""
        return self.root / "created"

    @property
    def live(self) -> Path:
        """The label of the live generation."""
        return self.root / "live.json"

    @property
    def pass_lock_file(self) -> Path:
        """Locked during a pass."""
        return self.root / "pass.lock"

    @property
    def service_lock_file(self) -> Path:
        """Locked by the service that manages this environment."""
        return self.root / "service.lock"

    def create(self) -> None:
        """Make the folder; it is private because uv settings with credentials are written there.

        Raises:
            OSError: It cannot be made, or a symbolic link is in its place.
        """
        for folder in (self.root, self.generations, self.former_vault, self._kept_aside):
            if folder.is_symlink():
                raise NotADirectoryError(errno.ENOTDIR, _NOT_OURS, str(folder))
        self.root.mkdir(mode=0o700, exist_ok=True)

    @property
    def _kept_aside(self) -> Path:
        return self.root / "set-aside"

    def set_aside(self, path: Path, why: str) -> str | None:
        """Keep one of our files or folders where nothing reads it, and say why.

        Call with the pass lock held.

        Returns:
            What was done, in words, or None if there is no such file.

        Raises:
            OSError: It cannot be moved.
        """
        if not os.path.lexists(path):
            return None
        self._kept_aside.mkdir(mode=0o700, exist_ok=True)
        kept = self._kept_aside / path.name
        if os.path.lexists(kept):
            remove_tree(kept)
        path.rename(kept)
        # Only here, since `check` seldom has anything to log.
        from reconciler.log.logger import get_logger  # noqa: PLC0415

        log = get_logger(__name__)
        log.warning("file.set-aside", file=str(path), kept=str(kept), message=why)
        return f"{path} cannot be used ({why}) and was moved to {kept}"

    def new_work(self) -> Path:
        """A new, empty folder for the files that uv reads and writes in one pass."""
        return self._new_folder(_WORK)

    def new_environment(self) -> Path:
        """A new, empty folder in which an environment is created."""
        return self._new_folder(_NEW)

    def _new_folder(self, prefix: str) -> Path:
        import tempfile  # noqa: PLC0415 -- slow to import, and `check` changes nothing

        return Path(tempfile.mkdtemp(prefix=prefix, dir=self.root))

    def discard(self, folder: Path) -> None:
        """Move one of our folders out of the way; to remove it may take a second (`discarded`).

        Raises:
            OSError: It cannot be moved.
        """
        target = self.root / f"{_GONE}{folder.name}"  # needs no space on a full disk
        if os.path.lexists(target):
            target = self._new_folder(_GONE) / folder.name
        folder.rename(target)

    def discarded(self) -> list[Path]:
        """What waits to be removed. Nobody uses it, so no lock is needed."""
        if not self.root.is_dir():
            return []
        return [path for path in self.root.iterdir() if path.name.startswith(_GONE)]

    def stages(self) -> list[Path]:
        """The trees that were about to go live; call with the pass lock held."""
        found = [p for p in self.root.iterdir() if p.name.startswith(_STAGE)]
        return [path for path in found if path.is_dir() and not path.is_symlink()]

    def leftovers(self) -> list[Path]:
        """What a crash left behind: stages, work folders, half-written files.

        Call with the pass lock held.
        """
        if not self.root.is_dir():
            return []
        return [
            path
            for path in self.root.iterdir()
            if path.name.startswith(_UNUSED) or path.name.endswith(_UNFINISHED)
        ]

    def clean_up(self) -> int:
        """Remove what a crash left behind; return the number of files and folders."""
        found = self.leftovers()
        for path in found:
            remove_tree(path)
        return len(found)

    @contextmanager
    def service_lock(self) -> Iterator[None]:
        """Held by a service as long as it manages this environment.

        Raises:
            Busy: Another service does.
        """
        with _locked(self.service_lock_file):
            yield

    @property
    def pass_is_running(self) -> bool:
        """Whether a pass holds its lock at the moment, as far as this user can see."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self.pass_lock_file, flags)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    @contextmanager
    def pass_lock(self, cancel: Cancellation, timeout: float | None) -> Iterator[PassLock]:
        """Held during a pass, by the service or by a command.

        Raises:
            Busy: It was not free within `timeout` seconds.
            Cancelled: The pass was asked to end while it waited.
        """
        with lock_file(self.pass_lock_file, cancel, timeout):
            held = PassLock(self.prefix, cancel)
            try:
                yield held
            finally:
                held.end()

    @contextmanager
    def uv_lock(self, cancel: Cancellation, timeout: float | None) -> Iterator[None]:
        """uv's own lock on the environment: keeps every other uv out (uv-facts 17).

        Raises:
            Busy: Another uv was running for longer than `timeout` seconds.
            Cancelled: The pass was asked to end while it waited.
        """
        with lock_file(self.prefix / ".lock", cancel, timeout):
            yield


@contextmanager
def _locked(
    path: Path, holder: Callable[[int], str] = holder_of, *, shared: bool = False
) -> Iterator[None]:
    # A link would let us write into a file elsewhere.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o666)
    try:
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(path, holder(descriptor)) from None
        if path.name != ".lock" and not shared:  # uv's lock file is uv's
            _sign(descriptor)
        yield
    finally:
        os.close(descriptor)


def _sign(descriptor: int) -> None:
    """Write down who holds the lock, if it is not there yet: a pass avoids needless writes."""
    signed = signature()
    if os.pread(descriptor, len(signed) + 1, 0) != signed:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, signed, 0)


@contextmanager
def lock_file(
    path: Path, cancel: Cancellation, timeout: float | None, *, shared: bool = False
) -> Iterator[None]:
    """Hold the lock of a file, which is made if there is none.

    Args:
        path: The file; a symbolic link is not followed.
        cancel: Ends the wait.
        timeout: How long to wait, in seconds; None: as long as it takes.
        shared: Others may share it (flock(2)).

    Raises:
        Busy: It was not free within that time.
        Cancelled: `cancel` asked it to end.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        late = deadline is not None and time.monotonic() >= deadline
        try:
            # To find out who holds it may take a while: once, at the end.
            with _locked(path, holder_of if late else lambda _: "", shared=shared):
                yield
                return
        except Busy as busy:
            if busy.path != path:
                raise
            if late:
                raise Busy(path, busy.holder, "Wait for it, or end it.") from None
        cancel.sleep(_LOCK_POLL_SECONDS)


def remove_tree(path: Path) -> None:
    """Remove one of our folders completely; files that vanish meanwhile are fine.

    A file or a symbolic link is removed itself.
    """
    if path.is_dir() and not path.is_symlink():
        import shutil  # noqa: PLC0415 -- slow to import, and `check` removes nothing

        shutil.rmtree(path, onerror=_ignore_vanished)
    else:
        path.unlink(missing_ok=True)


def _ignore_vanished(
    _function: object, _path: str, info: tuple[object, BaseException, object]
) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]


def write_durably(path: Path, text: str) -> None:
    """Replace a small file; a power cut leaves either the old or the new one."""
    fresh = path.with_name(path.name + _UNFINISHED)
    fresh.unlink(missing_ok=True)  # it may be a link by now
    with naming(fresh), fresh.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable (fsync(2) on the folder itself)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with naming(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
