"""The one door: every safety is asked for every kind of change, and no change goes around it."""

import ctypes
import errno
import fcntl
import itertools
import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from packaging.utils import NormalizedName

from reconciler.environment.environment import Environment
from reconciler.files.trust import Insecure
from reconciler.holds.monitor import HoldMonitor
from reconciler.passes.gates import Gates
from reconciler.passes.outcome import KeepsChanging, Outcome, Postponed
from reconciler.passes.prove import VerifyFailed
from reconciler.passes.publish import STARTS
from reconciler.passes.reconcile import reconcile
from reconciler.passes.recovery import recover
from reconciler.passes.restore import restore
from reconciler.passes.rollback import CannotExchange, roll_back
from reconciler.passes.running import Pass
from reconciler.passes.sweeping import sweep
from reconciler.processes import Cancellation, Cancelled
from reconciler.status import Reason, Result
from reconciler.trees import durability, exchange, generations, in_place
from reconciler.trees.durability import FileSystem
from reconciler.trees.workspace import Busy
from tests.support.environments import (
    assert_whole,
    install,
    site_packages,
    snapshot,
    strays,
    tree_fingerprint,
    uninstall,
)
from tests.support.passes import Follower, environment_for, locked
from tests.support.thorough import only
from tests.support.torch import gpu_stack
from tests.support.wheels import make_wheel

TORCH = NormalizedName("torch")
KINDS = ("reconcile, staged", "reconcile, in place", "restore, staged", "restore, in place",
         "rollback")  # fmt: skip
STAGED = tuple(kind for kind in KINDS if "in place" not in kind)
IN_PLACE = tuple(kind for kind in KINDS if "in place" in kind)


@dataclass
class Door:
    """A change that is ready to go live, and what is to be there before and after it."""

    kind: str
    environment: Environment
    venv: Path
    old: dict[str, str]
    new: dict[str, str]

    def go(
        self,
        *,
        gate: Gates | None = None,
        cancel: Cancellation | None = None,
        on_step: Callable[[str], None] | None = None,
    ) -> Outcome:
        """The whole pass."""
        return self.run(self.start(gate=gate, cancel=cancel, on_step=on_step))

    def start(
        self,
        *,
        gate: Gates | None = None,
        cancel: Cancellation | None = None,
        on_step: Callable[[str], None] | None = None,
    ) -> Pass:
        return Pass(self.environment, cancel or Cancellation(), Follower(on_step), gate)

    def run(self, running: Pass) -> Outcome:
        if self.kind.startswith("reconcile"):
            return reconcile(running, audit=True)
        return (
            restore(running, TORCH) if self.kind.startswith("restore") else roll_back(running, None)
        )

    def assert_old(self) -> None:
        assert snapshot(self.venv) == self.old
        assert strays(self.venv) == set()
        self.assert_nothing_left()

    def assert_new(self) -> None:
        assert snapshot(self.venv) == self.new
        assert_whole(self.venv)
        assert strays(self.venv) == set()
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        sweep(self.environment)
        left = {path.name for path in (self.venv / ".reconciler").iterdir()}
        assert left <= {
            "generations",
            "live.json",
            "pass.lock",
            "last-good-pyproject.toml",
        }


@pytest.fixture
def door(request, project, venv, index, tmp_path) -> Door:
    kind: str = request.param
    install(venv, *gpu_stack(tmp_path / "gpu", files=3))
    index.add(*(make_wheel(tmp_path, "thing", version) for version in ("1.0", "2.0", "3.0")))
    project.write(["thing==1.0"])
    environment = environment_for(project, keep_generations=1, timeout=20.0)
    for version in ("1.0", "2.0"):  # so that there is something to go back to, and to forget
        project.write([f"thing=={version}"])
        reconcile(Pass(environment, Cancellation(), Follower()), audit=True)
    with locked(environment) as lock:
        HoldMonitor(environment).keep(environment.look(), lock, compare=True)
    if "in place" in kind:
        environment.in_place = "the test says so"
    if kind.startswith("reconcile"):
        project.write(["thing==3.0"])
    if kind.startswith("restore"):
        uninstall(venv, "torch")
    old = snapshot(venv)
    changed = {"reconcile": {"thing": "3.0"}, "restore": {"torch": "2.3.1+rocm5.7"},
               "rollback": {"thing": "1.0"}}[kind.partition(",")[0]]  # fmt: skip
    return Door(kind, environment, venv, old, old | changed)


_TURN = itertools.count()


def kinds(*names: str) -> pytest.MarkDecorator:
    """All these kinds; an ordinary run takes one of them, the next one for the next test."""
    turn = next(_TURN)
    turned = [names[(turn + number) % len(names)] for number in range(len(names))]
    family = [turned[0], *(pytest.param(name, marks=only) for name in turned[1:])]
    return pytest.mark.parametrize("door", family, indirect=True)


@kinds(*KINDS)
def test_a_change_goes_live_and_the_oldest_tree_is_forgotten(door):
    outcome = door.go()
    assert outcome.result is Result.CHANGED
    assert outcome.atomic is ("in place" not in door.kind)
    door.assert_new()
    kept = generations.kept(door.environment.workspace)
    assert len(kept) == 1


@kinds(*KINDS)
def test_the_gate_is_asked_just_before(door):
    asked = []

    class Closing(Gates):
        """Closes while the change is prepared."""

        def wait_until_open(self, environment: Environment, cancel: Cancellation) -> None:
            asked.append(door.environment.look().installed)
            if len(asked) > (door.kind != "rollback"):
                raise Postponed(Reason.OUTSIDE_WINDOW, "the window has closed", 60.0)

    with pytest.raises(Postponed):
        door.go(gate=Closing())
    assert asked
    door.assert_old()


@kinds(*KINDS)
def test_another_uv_is_waited_for_only_so_long(door):
    config = door.environment.config
    with (door.venv / ".lock").open("a") as lock:

        def locking(step: str) -> None:
            if step == "exchange":
                door.environment.config = msgspec.structs.replace(config, timeout=0.3)
                fcntl.flock(lock, fcntl.LOCK_EX)

        with pytest.raises(Busy):
            door.go(on_step=locking)
    door.assert_old()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root refuses what others may write")
@kinds(*KINDS)
def test_who_may_write_is_asked_again(door):
    lib = door.venv / "lib"
    with pytest.raises(Insecure, match="writable by everyone"):
        door.go(on_step=lambda step: lib.chmod(0o777) if step == "exchange" else None)
    lib.chmod(0o755)
    door.assert_old()


@kinds(*KINDS)
def test_a_tree_that_somebody_changes_meanwhile_is_looked_at_again(door, tmp_path):
    stranger = make_wheel(tmp_path, "stranger", "1.0")
    times = []

    def changing(step: str) -> None:
        if step == "exchange" and not times:
            times.append(step)
            install(door.venv, stranger)

    outcome = door.go(on_step=changing)
    assert outcome.result is Result.CHANGED
    if door.kind == "rollback":  # whole trees: the other one, as it was
        assert snapshot(door.venv) == door.new
        [archived] = (door.venv / ".reconciler/generations").glob("*/lib/*/site-packages/stranger")
        assert archived.is_dir()
    else:
        assert snapshot(door.venv) == door.new | {"stranger": "1.0"}
    assert_whole(door.venv)


@kinds("reconcile, in place", "rollback")
def test_a_tree_that_keeps_changing_is_left_to_whoever_changes_it(door, tmp_path):
    site = site_packages(door.venv)
    times = []

    def changing(step: str) -> None:
        if step == "exchange":
            times.append(step)
            info = site / f"stranger-{len(times)}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Name: stranger-{len(times)}\nVersion: 1.0\n")
            (info / "RECORD").touch()

    with pytest.raises(KeepsChanging, match="Another installer"):
        door.go(on_step=changing)
    assert len(times) == STARTS
    assert snapshot(door.venv)["thing"] == door.old["thing"]


def unable(code: int) -> Callable[[Path, Path], None]:
    def rename_exchange(one: Path, other: Path) -> None:
        raise OSError(code, os.strerror(code), str(one), None, str(other))

    return rename_exchange


@kinds("reconcile, staged", "restore, staged")
def test_where_folders_cannot_be_exchanged_it_is_done_in_place(door, monkeypatch):
    monkeypatch.setattr(exchange, "rename_exchange", unable(errno.EXDEV))
    outcome = door.go()
    assert not outcome.atomic
    assert "cannot exchange these folders" in outcome.atomic_reason
    door.assert_new()
    assert recover(door.environment) is None


@kinds("rollback")
def test_where_folders_cannot_be_exchanged_there_is_no_way_back(door, monkeypatch):
    monkeypatch.setattr(exchange, "rename_exchange", unable(errno.EXDEV))
    with pytest.raises(CannotExchange, match="Nothing has changed"):
        door.go()
    door.assert_old()
    monkeypatch.undo()
    assert door.go().atomic
    door.assert_new()


@kinds(*STAGED)
def test_two_renames_are_reported_as_not_atomic(door, monkeypatch):
    monkeypatch.setattr(exchange, "rename_exchange", unable(errno.EINVAL))
    outcome = door.go()
    assert not outcome.atomic
    assert "two renames" in outcome.atomic_reason
    door.assert_new()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
@kinds("reconcile, staged", "restore, staged", "rollback")
def test_a_mount_point_inside_is_never_taken_along(door):
    """Also one that no hard link crosses: a bind mount of the same file system."""
    point, source = door.venv / "lib" / "mounted", door.venv.parent / "source"
    point.mkdir()
    source.mkdir()
    (source / "precious").write_text("mine")
    with mounted(source, point):
        if door.kind == "rollback":
            with pytest.raises(CannotExchange, match="mount point"):
                door.go()
        else:
            outcome = door.go()
            assert not outcome.atomic
            assert "is a mount point" in outcome.atomic_reason
            assert snapshot(door.venv) == door.new
        assert (point / "precious").read_text() == "mine"


class mounted:  # noqa: N801 -- reads as a statement
    def __init__(self, source: Path, point: Path) -> None:
        self.source, self.point = source, point

    def __enter__(self) -> None:
        subprocess.run(["mount", "--bind", self.source, self.point], check=True)

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", self.point], check=True)


@kinds("reconcile, staged", "reconcile, in place", "restore, staged", "restore, in place")
def test_held_files_are_compared_before_the_commit(door):
    held = site_packages(door.venv) / "torchvision" / "__init__.py"

    def changing(step: str) -> None:
        """Replace a file of a hold, as a careless build backend may, with the very same bytes."""
        if step != "exchange":
            return
        file = held
        if "staged" in door.kind:
            [file] = (door.venv / ".reconciler").glob(f"work-*/stage/{held.relative_to(door.venv)}")
        text = file.read_bytes()
        file.unlink()
        file.write_bytes(text)

    with pytest.raises(VerifyFailed, match="files of a held package would change"):
        door.go(on_step=changing)
    assert snapshot(door.venv) == door.old


@kinds(*KINDS)
def test_a_stop_before_the_first_write_changes_nothing(door):
    cancel = Cancellation()
    with pytest.raises(Cancelled):
        door.go(cancel=cancel, on_step=lambda s: cancel.cancel() if s == "exchange" else None)
    door.assert_old()


@kinds(*KINDS)
def test_a_stop_after_the_first_write_leaves_the_old_tree_or_the_new_one(door, monkeypatch):
    cancel = Cancellation()
    for module, name in ((in_place.InPlaceChange, "_put_aside"), (exchange, "_swap")):
        real = getattr(module, name)

        def stopping(*arguments, real=real):
            cancel.cancel()
            return real(*arguments)

        monkeypatch.setattr(module, name, stopping)
    try:
        outcome = door.go(cancel=cancel)
    except Cancelled:
        door.assert_old()
    else:
        assert outcome.result is Result.CHANGED
        door.assert_new()
    assert cancel.cancelled


@kinds(*IN_PLACE)
def test_a_full_disk_in_place_puts_the_old_files_back(door, monkeypatch):
    """At the third new file; the undoing needs no space."""
    rename, left = os.rename, [3]

    def filling(source: str, target: str) -> None:
        if "/incoming" in str(source):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        rename(source, target)

    before = tree_fingerprint(door.venv)
    monkeypatch.setattr(os, "rename", filling)
    with pytest.raises(OSError, match="No space left"):
        door.go()
    assert tree_fingerprint(door.venv) == before
    door.assert_old()


@kinds(*IN_PLACE)
def test_what_cannot_be_made_durable_in_place_is_undone(door, monkeypatch):
    def failing(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    before = tree_fingerprint(door.venv)
    real, calls = in_place.sync_folders, []

    def once(prefix: Path, folders: object) -> None:
        calls.append(prefix)
        (failing if len(calls) == 1 else real)(prefix, folders)

    monkeypatch.setattr(in_place, "sync_folders", once)
    running = door.start()
    with pytest.raises(OSError, match="Input/output error"):
        door.run(running)
    assert running.untouched
    assert tree_fingerprint(door.venv) == before
    door.assert_old()


@kinds(*STAGED)
def test_an_error_after_the_exchange_does_not_say_that_nothing_changed(door, monkeypatch):
    sync = exchange.sync_folder
    root = door.environment.workspace.root

    def failing(folder: Path) -> None:
        if folder == root and not door.environment.workspace.intent.exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(folder)

    monkeypatch.setattr(exchange, "sync_folder", failing)
    running = door.start()
    with pytest.raises(OSError, match="Input/output error"):
        door.run(running)
    assert not running.untouched
    door.assert_new()


@kinds("reconcile, in place")
def test_verify_commands_run_in_place_too_and_a_failure_puts_the_old_files_back(door):
    code = "import thing; assert thing.__version__ != '3.0', 'no good'"
    door.environment.config = msgspec.structs.replace(
        door.environment.config, verify=(("python", "-c", code),)
    )
    before = tree_fingerprint(door.venv)
    with pytest.raises(VerifyFailed, match="exited with 1"):
        door.go()
    assert tree_fingerprint(door.venv) == before
    door.assert_old()


def test_after_a_rollback_and_an_edit_it_goes_back_to_the_good_tree(project, venv, index, tmp_path):
    """Good 1, bad 2, rollback, an edit makes 3: rollback goes to 1, not to the higher number."""
    index.add(*(make_wheel(tmp_path, "thing", version) for version in ("1.0", "2.0", "3.0")))
    environment = environment_for(project, keep_generations=1)

    def running() -> Pass:
        return Pass(environment, Cancellation(), Follower())

    for version in ("1.0", "2.0"):
        project.write([f"thing=={version}"])
        reconcile(running(), audit=True)
    roll_back(running(), None)
    assert snapshot(venv)["thing"] == "1.0"
    project.write(["thing==3.0"])
    assert reconcile(running(), audit=True).generation == 3
    assert roll_back(running(), None).generation == 1
    assert snapshot(venv)["thing"] == "1.0"


class Disk:
    """Stands for the C library: `answer` is what syncfs(2) does."""

    def __init__(self, venv: Path, answer: Callable[[], int]) -> None:
        self.venv, self.answer, self.calls = venv, answer, 0

    def syncfs(self, _descriptor: int) -> int:
        self.calls += 1
        with (self.venv / ".lock").open("a") as lock:  # BlockingIOError if it is held
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        number = self.answer()
        ctypes.set_errno(number)
        return -1 if number else 0


@kinds(*KINDS)
def test_what_may_not_be_on_the_disk_does_not_go_live(door, monkeypatch):
    everything = []
    monkeypatch.setattr(os, "sync", lambda: everything.append("os.sync"))
    fingerprint = tree_fingerprint(door.venv)

    failing = Disk(door.venv, lambda: errno.EIO)
    monkeypatch.setattr(durability, "_libc", failing)
    running = door.start()
    with pytest.raises(OSError, match="Input/output error"):
        door.run(running)
    assert (failing.calls, everything, running.untouched) == (1, [], True)
    assert tree_fingerprint(door.venv) == fingerprint
    door.assert_old()

    cancel, done, cancelled_at = Cancellation(), threading.Event(), [0.0]

    def waiting() -> int:
        """Minutes: someone else has written a lot."""
        cancelled_at[0] = time.monotonic()
        cancel.cancel()
        done.wait(60)
        return 0

    monkeypatch.setattr(durability, "_libc", Disk(door.venv, waiting))
    with pytest.raises(Cancelled):
        door.go(cancel=cancel)
    assert time.monotonic() - cancelled_at[0] < 5
    done.set()
    door.assert_old()

    unknown = Disk(door.venv, lambda: errno.ENOSYS)
    monkeypatch.setattr(durability, "_libc", unknown)
    assert door.go().result is Result.CHANGED
    assert (unknown.calls, everything) == (1, ["os.sync"])
    door.assert_new()


@kinds(*STAGED)
def test_an_error_that_others_were_told_of_counts(door, monkeypatch):
    """The file system is opened before the first write (syncfs(2)): here, before uv's."""
    opened = []
    real = FileSystem.__init__

    def noting(self: FileSystem, folder: Path) -> None:
        opened.append(door.environment.look().installed)
        real(self, folder)

    steps: list[str] = []
    monkeypatch.setattr(FileSystem, "__init__", noting)
    door.go(on_step=lambda step: steps.append(step) if opened else None)
    assert len(opened) == 1
    assert steps[0] == (
        "exchange" if door.kind == "rollback" else "plan" if "reconcile" in door.kind else "check"
    )
