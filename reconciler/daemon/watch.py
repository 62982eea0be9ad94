"""Watches what can change under us: the project's files and the environment's packages.

An event only wakes the worker up; which file it was matters to nobody else. Losing one
costs time, never correctness: the worker looks again by interval.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import anyio
from watchfiles import Change, awatch

from reconciler.environment import Environment
from reconciler.interpreter import InterpreterError
from reconciler.log import get_logger
from reconciler.status import Trigger

log = get_logger(__name__)

_STEP_MS = 150
_RETRY_SECONDS = 30.0
_MOST_LINKS = 40

Wake = Callable[[Trigger], None]


@dataclass(frozen=True)
class Targets:
    """What to watch now. Folders, since editors save by renaming over a file."""

    folders: tuple[Path, ...]
    trees: tuple[Path, ...]
    """Watched with everything below: the packages of the holds."""
    files: frozenset[str]
    """Of the project's folders only these files matter."""
    inodes: tuple[int, ...]
    """The folders' identities: after an exchange the same paths are other folders."""


def targets_of(environment: Environment, held_trees: Iterable[Path] = ()) -> Targets:
    """The folders in which a change could mean drift."""
    files = _files_of_interest(environment.config.pyproject)
    folders = {_existing(Path(f).parent) for f in files}
    try:
        interpreter = environment.interpreters.get()
        folders |= {d for d in interpreter.site_directories if d.is_dir()}
        folders.add(interpreter.prefix)
    except (InterpreterError, OSError):
        folders.add(_existing(environment.config.python.parent.parent))
    ordered = tuple(sorted(folders))
    trees = tuple(sorted(t for t in held_trees if t.is_dir()))
    inodes = tuple(_inode(p) for p in (*ordered, *trees))
    return Targets(ordered, trees, frozenset(files), inodes)


def _files_of_interest(pyproject: Path) -> set[str]:
    """The project's file, every symbolic link on the way to it, and the uv.toml beside it."""
    found = {str(pyproject), str(pyproject.with_name("uv.toml"))}
    path = pyproject
    for _ in range(_MOST_LINKS):
        if not path.is_symlink():
            break
        path = Path(os.path.normpath(path.parent / path.readlink()))
        found.add(str(path))
    return found


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


class Watcher:
    """Watches one environment until it is cancelled."""

    def __init__(
        self, environment: Environment, wake: Wake, held_trees: Callable[[], Iterable[Path]]
    ) -> None:
        self._environment = environment
        self._wake = wake
        self._held_trees = held_trees
        self._changed = asyncio.Event()
        self._working = True

    def refresh(self) -> None:
        """The folders may have become other ones: look where to watch. On the event loop."""
        self._changed.set()

    async def run(self) -> None:
        """Watch, and watch anew whenever the folders are other ones (uv-facts 15b)."""
        while True:
            await self._watch(targets_of(self._environment, self._held_trees()))

    async def _watch(self, targets: Targets) -> None:
        stop = anyio.Event()
        tasks = [asyncio.create_task(self._follow(targets.folders, targets, stop, deep=False))]
        if targets.trees:
            tasks.append(asyncio.create_task(self._follow(targets.trees, targets, stop, deep=True)))
        await asyncio.sleep(0)  # each task begins, which is when awatch sets its watches
        # What happened before was seen by no watch: not by the last one, nor at the start by
        # a pass that has begun to look already.
        self._wake(Trigger.INTERVAL)
        try:
            while not any(task.done() for task in tasks):
                self._changed.clear()
                waiting = asyncio.create_task(self._changed.wait())
                await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if targets_of(self._environment, self._held_trees()) != targets:
                    break
            failed = [t for t in tasks if t.done() and not t.cancelled() and t.exception()]
        finally:
            stop.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if failed:
            await self._wait_after(failed[0].exception())
        elif not self._working:
            self._working = True
            log.info("watch.restored")

    async def _wait_after(self, error: BaseException | None) -> None:
        if self._working:
            log.warning("watch.failed", environment=self._environment.config.name,
                        error=str(error), mend="Raise fs.inotify.max_user_watches and "
                        "max_user_instances; until then the interval finds changes.")  # fmt: skip
        self._working = False
        await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(
        self, paths: tuple[Path, ...], targets: Targets, stop: anyio.Event, *, deep: bool
    ) -> None:
        async for changes in awatch(
            *paths,
            watch_filter=lambda _, path: _matters(path, targets),
            debounce=_STEP_MS,
            step=_STEP_MS,
            stop_event=stop,
            recursive=deep,
            ignore_permission_denied=True,
        ):
            self._tell(changes, targets)

    def _tell(self, changes: set[tuple[Change, str]], targets: Targets) -> None:
        paths = sorted(path for _, path in changes)
        in_project = [p for p in paths if p in targets.files]
        name = self._environment.config.name
        if in_project:
            log.info("file.changed", environment=name, files=in_project[:5])
            self._wake(Trigger.FILE)
        if len(in_project) < len(paths):
            self._wake(Trigger.ENVIRONMENT)
        self._changed.set()


def _matters(path: str, targets: Targets) -> bool:
    """Bytecode, our own workspace and other files of the project do not."""
    if path in targets.files:
        return True
    parts = path.split("/")
    if "__pycache__" in parts or ".reconciler" in parts or path.endswith((".pyc", "/.lock")):
        return False
    project_folders = {os.path.dirname(f) for f in targets.files}  # noqa: PTH120
    return os.path.dirname(path) not in project_folders or parts[-1] in (  # noqa: PTH120
        "lib", "bin", "pyvenv.cfg",
    )  # fmt: skip
