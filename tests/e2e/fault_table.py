"""The table of faults: how each is made real and taken away, and what the status must say.

Its siblings have tests of their own: the clock (tests/daemon/test_steady.py), inotify
(tests/daemon/test_watch.py), a state folder that is removed (tests/daemon/test_journal_trouble.py),
two services on one environment (tests/e2e/test_several.py).
"""

import contextlib
import errno
import fcntl
import os
import shlex
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.environments import install, make_venv, site_packages, uv_binary
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.service import Table

TIMEOUT = 5
"""Seconds that uv has, where it is the fault that it takes longer."""


@dataclass
class World:
    """One project with an environment of its own, in which one fault happens."""

    folder: Path
    index: PackageIndex
    undo: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    wanted: str = "1.0"

    @property
    def name(self) -> str:
        """The environment's name."""
        return self.folder.name

    @property
    def disk(self) -> Path:
        """The folder that holds the environment and may be a file system of its own."""
        return self.folder / "disk"

    @property
    def venv(self) -> Path:
        """The environment."""
        return self.disk / "env"

    @property
    def cache(self) -> Path:
        """uv's cache, for a world that has its own."""
        return self.folder / "cache"

    @property
    def switch(self) -> Path:
        """While this exists, uv behaves as its text, a shell script, says."""
        return self.folder / "uv-does"

    def begin(self, *wheels: Path) -> None:
        """Make the environment, just as declared."""
        make_venv(self.venv)
        install(self.venv, *wheels)
        self.declare("1.0")

    def declare(self, version: str) -> None:
        """Edit the project."""
        self.wanted = version
        Project(self.folder, self.index.url).save(["torch", f"alpha=={version}"])


Break = Callable[[World], None]
"""Makes the fault real, and leaves in `World.undo` what takes it away."""


@dataclass(frozen=True)
class Fault:
    """One row."""

    name: str
    happens: Break
    reason: str
    words: tuple[str, ...]
    """What the message must have: the thing, and what to do. `{world}` is its folder."""
    keys: Table = field(default_factory=dict)
    """Of the environment's configuration."""
    small: str = ""
    """Options of the tmpfs that holds the environment, or `cache:` and those of uv's cache."""
    own_index: bool = False
    thorough: bool = False
    """Another test holds most of it already."""
    may_miss: bool = False
    """A pass may succeed between two of its moments."""


def uv_program(worlds: Path) -> str:
    """A uv that does in each world what that world's switch says; and has its cache, if any."""
    return f"""#!/bin/sh
world=$(printf '%s ' "$@" | sed -n 's|.*{worlds}/\\([^/ ]*\\)/disk/.*|{worlds}/\\1|p')
real={shlex.quote(str(uv_binary()))}
if [ -d "$world/cache" ]; then UV_CACHE_DIR=$world/cache; export UV_CACHE_DIR; fi
if [ -e "$world/uv-does" ]; then . "$world/uv-does"; fi
exec "$real" "$@"
"""


def mount_small(folder: Path, options: str) -> None:
    """Mount a small file system there."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"mode=755,{options}", "none", str(folder)]
    subprocess.run(command, check=True)


def unmount(folder: Path) -> None:
    """Unmount all that is mounted there."""
    while os.path.ismount(folder):
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_blocks(folder: Path) -> Path:
    """Use up the space of a file system; the file that does."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, _until_full():
        while True:
            file.write(bytes(4096))
    return ballast


def fill_inodes(folder: Path) -> list[Path]:
    """Use up the inodes of a file system; the files that do."""
    made: list[Path] = []
    with _until_full():
        while True:
            file = folder / f"ballast-{len(made)}"
            file.touch()
            made.append(file)
    return made


@contextlib.contextmanager
def _until_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def no_blocks(world: World) -> None:
    world.undo.callback(fill_blocks(world.disk).unlink)


def no_inodes(world: World) -> None:
    for file in fill_inodes(world.disk):
        world.undo.callback(file.unlink)


def no_blocks_for_the_cache(world: World) -> None:
    world.undo.callback(fill_blocks(world.cache).unlink)


def _read_only(folder: Path, world: World) -> None:
    # Mounted over itself, and made read-only elsewhere before: what has files that are open for
    # writing cannot be made read-only.
    beside = world.folder / f"{folder.name}-read-only"
    beside.mkdir()
    subprocess.run(["mount", "--bind", str(folder), str(beside)], check=True)
    world.undo.callback(subprocess.run, ["umount", "-l", str(beside)], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", str(beside)], check=True)
    subprocess.run(["mount", "--bind", str(beside), str(folder)], check=True)
    world.undo.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)


def read_only(world: World) -> None:
    _read_only(world.venv, world)


def read_only_cache(world: World) -> None:
    _read_only(world.cache, world)


def uv_does(script: str) -> Break:
    def happens(world: World) -> None:
        world.undo.callback(world.switch.unlink)
        world.switch.write_text(f"{script}\n")

    return happens


def index_down(world: World) -> None:
    world.index.down()
    world.undo.callback(world.index.up)


def index_fails(world: World) -> None:
    world.index.fail(500)
    world.undo.callback(world.index.heal)


def index_slow(world: World) -> None:
    world.index.slow(600)
    world.undo.callback(world.index.heal)


def index_garbage(world: World) -> None:
    world.index.garble()
    world.undo.callback(world.index.heal)


def index_refuses(world: World) -> None:
    world.undo.callback(setattr, world.index, "credentials", None)
    world.index.credentials = ("someone", "else")


def no_interpreter(world: World) -> None:
    python = world.venv / "bin/python"
    target = python.readlink()

    def restore() -> None:
        python.unlink()
        python.symlink_to(target)

    world.undo.callback(restore)
    python.unlink()
    python.symlink_to("/gone/python")


def locked_by_uv(world: World) -> None:
    lock = world.undo.enter_context((world.venv / ".lock").open("a"))
    fcntl.flock(lock, fcntl.LOCK_EX)


_LOOP = """
import pathlib, shutil, sys, time
info = pathlib.Path(sys.argv[1]) / "loop-1.0.dist-info"
while True:
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: loop\\nVersion: 1.0\\n")
    (info / "RECORD").write_text("loop-1.0.dist-info/METADATA,,\\nloop-1.0.dist-info/RECORD,,\\n")
    time.sleep(0.03)
    shutil.rmtree(info)
    time.sleep(0.03)
"""


def installer_in_a_loop(world: World) -> None:
    """Installs and removes a package, without uv's lock, as pip does."""
    site = site_packages(world.venv)
    loop = subprocess.Popen([sys.executable, "-c", _LOOP, str(site)])

    def end() -> None:
        loop.kill()
        loop.wait()
        subprocess.run(["rm", "-rf", str(site / "loop-1.0.dist-info")], check=True)

    world.undo.callback(end)


_FREE = "Free some space"
_WAITS: Table = {"timeout": f"{TIMEOUT}s"}

OF_ONE_ENVIRONMENT = (
    Fault("disk-full", no_blocks, "DiskFull", ("{world}/disk", _FREE), small="size=8m"),
    Fault("many-files", no_inodes, "DiskFull", ("{world}/disk", "inodes"), small="nr_inodes=300"),
    Fault("cache-full", no_blocks_for_the_cache, "DiskFull", ("{world}/cache", _FREE),
          small="cache:size=1m", thorough=True),
    Fault("read-only", read_only, "NotWritable",
          ("{world}/disk", "mount the file system writable")),
    Fault("cache-read-only", read_only_cache, "NotWritable", ("{world}/cache", "Make it writable"),
          small="cache:size=1m"),
    Fault("uv-crashes", uv_does("echo 'the sky has fallen' >&2; exit 101"), "UvFailed",
          ("the sky has fallen",)),
    Fault("uv-is-killed", uv_does("kill -9 $$"), "UvFailed", ("SIGKILL", "memory"),
          thorough=True),
    Fault("uv-says-nothing", uv_does("exit 3"), "UvFailed", ("exited with 3", "`uv`"),
          thorough=True),
    Fault("uv-prints-garbage", uv_does("echo '{]'; exit 0"), "UvFailed", ("dry run", "`uv`"),
          thorough=True),
    Fault("uv-installs-nothing",
          uv_does('case "$*" in *--dry-run*) ;; *) exit 0;; esac'), "UvFailed", ("alpha",)),
    Fault("uv-hangs", uv_does("exec sleep 600"), "TimedOut", ("uv took longer", "`timeout`"),
          keys=_WAITS),
    Fault("index-down", index_down, "NetworkTrouble", ("{index}", "proxy"), own_index=True),
    Fault("index-500", index_fails, "NetworkTrouble", ("{index}", "500"), own_index=True,
          thorough=True),
    Fault("index-401", index_refuses, "NetworkTrouble", ("{index}", "401", "credentials"),
          own_index=True, thorough=True),
    Fault("index-slow", index_slow, "NetworkTrouble", ("{index}", "UV_HTTP_TIMEOUT"),
          own_index=True, thorough=True),
    Fault("index-garbage", index_garbage, "NetworkTrouble", ("{index}", "proxy"), own_index=True),
    Fault("no-interpreter", no_interpreter, "InterpreterUnusable",
          ("{world}/disk/env/bin/python: ", "delete its folder"), thorough=True),
    Fault("uv-holds-the-lock", locked_by_uv, "Busy",
          ("{world}/disk/env/.lock", "process", "Wait for it"), keys=_WAITS),
    Fault("pip-in-a-loop", installer_in_a_loop, "KeepsChanging", ("site-packages", "retried"),
          may_miss=True),
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """What all environments of a service share."""

    uv: Path
    state: Path
    """A small file system."""


@dataclass(frozen=True)
class SharedFault:
    """One row of what happens to the service as a whole."""

    name: str
    happens: Callable[[Place, contextlib.ExitStack], None]
    reason: str
    words: tuple[str, ...]
    thorough: bool = False
    may_miss: bool = False


def uv_gone(place: Place, undo: contextlib.ExitStack) -> None:
    kept = place.uv.with_name("uv-kept")
    undo.callback(kept.rename, place.uv)
    place.uv.rename(kept)


def uv_not_executable(place: Place, undo: contextlib.ExitStack) -> None:
    undo.callback(place.uv.chmod, 0o755)
    place.uv.chmod(stat.S_IRUSR | stat.S_IWUSR)


def uv_no_program(place: Place, undo: contextlib.ExitStack) -> None:
    uv_gone(place, undo)
    undo.callback(place.uv.unlink)
    place.uv.write_bytes(b"\x7fELF of another machine")
    place.uv.chmod(0o755)


def history_locked(place: Place, undo: contextlib.ExitStack) -> None:
    locking = sqlite3.connect(place.state / "journal.sqlite3", isolation_level=None)
    undo.callback(locking.close)
    locking.execute("BEGIN EXCLUSIVE")


def history_full(place: Place, undo: contextlib.ExitStack) -> None:
    undo.callback(fill_blocks(place.state).unlink)


OF_THE_SERVICE = (
    SharedFault("uv-missing", uv_gone, "UvMissing", ("{uv}", "Correct `uv`")),
    SharedFault("uv-not-executable", uv_not_executable, "UvMissing", ("{uv}", "Correct `uv`"),
                thorough=True),
    SharedFault("uv-no-program", uv_no_program, "UvMissing", ("{uv}", "Correct `uv`"),
                thorough=True),
    SharedFault("history-locked", history_locked, "JournalFailed", ("locked", "tried again")),
    SharedFault("history-full", history_full, "JournalFailed", ("full", _FREE)),
)  # fmt: skip
