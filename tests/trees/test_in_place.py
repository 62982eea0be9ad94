"""A change in place, ended at every move: the old tree comes back, or the new one stays."""

import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.state.holds import HoldSet, hold_set
from reconciler.state.installed import InstalledReader
from reconciler.trees import in_place
from reconciler.trees.in_place import InPlaceChange, undo_interrupted
from reconciler.trees.tree import Tree
from reconciler.trees.workspace import Workspace
from tests.state.markers import LINUX_39

SITE = "lib/python3.9/site-packages"
MOVES = ("rename", "mkdir", "rmdir", "unlink")
"""What changes the disk, each a moment at which it may end."""


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch):
    """Nothing here loses power: writing everything out a thousand times would only cost time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def package(name: str, version: str, files: dict[str, str]) -> dict[str, str]:
    """The files of an installed package, its metadata included."""
    info = f"{SITE}/{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    listed = [*files, f"{info}/METADATA", f"{info}/INSTALLER", f"{info}/RECORD"]
    record = "".join(f"{os.path.relpath(path, SITE)},,\n" for path in listed)
    return {
        **files, f"{info}/METADATA": metadata, f"{info}/INSTALLER": "uv", f"{info}/RECORD": record,
    }  # fmt: skip


OLD = {
    **package("thing", "1.0", {
        f"{SITE}/thing/__init__.py": "1", f"{SITE}/thing/gone/a.py": "1", f"{SITE}/single.py": "1",
        f"{SITE}/turns/into/file.py": "1", f"{SITE}/folder_to_be": "1", "bin/say": "1",
        "share/thing/notes": "1",
    }),
    **package("same", "1.0", {f"{SITE}/same.py": "same"}),
    **package("leaving", "1.0", {f"{SITE}/leaving/x.py": "1", "etc/leaving.conf": "1"}),
    **package("torch", "2.3", {f"{SITE}/torch/__init__.py": "held", f"{SITE}/torch/lib/c.so": "h"}),
    f"{SITE}/thing/__pycache__/__init__.cpython-39.pyc": "compiled",
    f"{SITE}/thing/my_notes.txt": "mine",
}  # fmt: skip
NEW = {
    **package("thing", "2.0", {
        f"{SITE}/thing/__init__.py": "2", f"{SITE}/thing/fresh/b.py": "2",
        f"{SITE}/turns/into": "2",
        f"{SITE}/folder_to_be/__init__.py": "2", "bin/say": "2", "share/new/notes": "2",
    }),
    **package("same", "1.0", {f"{SITE}/same.py": "same"}),
    **package("coming", "1.0", {f"{SITE}/coming/__init__.py": "2"}),
}  # fmt: skip
GOING = frozenset({"thing", "same", "leaving"})


def write(folder: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def contents(folder: Path) -> dict[str, str]:
    """Every file and folder below, ours aside."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if ".reconciler" not in path.parts:
            name = str(path.relative_to(folder))
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            else:
                found[name] = "/" if path.is_dir() else path.read_text()
    return found


class Scene:
    """An environment, and a change of it that is ready."""

    def __init__(self, base: Path, incoming_on: Path | None = None) -> None:
        self.prefix = base / "env"
        write(self.prefix, OLD)
        self.workspace = Workspace(self.prefix)
        self.workspace.create()
        self.incoming = (incoming_on or self.workspace.new_work()) / "incoming"
        write(self.incoming, NEW)
        installed = InstalledReader([self.prefix / SITE]).read()
        holds = hold_set(["torch"], installed, LINUX_39) or HoldSet((), {})
        tree = Tree(self.prefix, self.prefix, installed, holds)
        self.change = InPlaceChange(self.workspace, tree, GOING, self.incoming)
        self.before = contents(self.prefix)
        self.held = {p: (self.prefix / p).stat().st_ino for p in OLD if "/torch" in p}

    def run(self) -> None:
        self.change.begin()
        self.change.commit()

    def assert_old(self) -> None:
        assert contents(self.prefix) == self.before
        self.assert_held()

    def assert_new(self) -> None:
        found = contents(self.prefix)
        assert {p: found.get(p) for p in NEW} == NEW
        gone = {*OLD} - {*NEW} - {p for p in OLD if "/torch" in p or "my_notes" in p}
        assert {p for p in gone if found.get(p, "/") != "/"} == set()
        assert found[f"{SITE}/thing/my_notes.txt"] == "mine"
        assert not {f"{SITE}/leaving", f"{SITE}/thing/gone"} & {*found}
        self.assert_held()

    def assert_held(self) -> None:
        assert {p: (self.prefix / p).stat().st_ino for p in self.held} == self.held

    def assert_nothing_left(self) -> None:
        self.workspace.clean_up()
        assert [p.name for p in self.workspace.root.iterdir()] == []


@contextmanager
def counting(at: int, event: Callable[[], None]) -> Iterator[list[int]]:
    """Let `event` happen just before the at-th change of the disk."""
    count = [0]
    real = {name: getattr(os, name) for name in MOVES}

    def wrapped(name: str) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            count[0] += 1
            if count[0] == at:
                event()
            return real[name](*arguments, **options)

        return call

    for name in MOVES:
        setattr(os, name, wrapped(name))
    try:
        yield count
    finally:
        for name in MOVES:
            setattr(os, name, real[name])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_child(action: Callable[[], None]) -> bool:
    """Whether it came to its end, rather than dying."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    return os.WIFEXITED(os.waitpid(child, 0)[1])


def moves_of(base: Path, *, commit: bool = True) -> int:
    scene = Scene(base / f"count-{commit}")
    with counting(0, die) as count:
        scene.change.begin()
        if commit:
            scene.change.commit()
    return count[0]


def test_the_new_tree_is_whole_and_the_held_files_are_the_same(tmp_path):
    scene = Scene(tmp_path)
    scene.run()
    scene.assert_new()
    scene.assert_nothing_left()


def test_the_metadata_goes_last(tmp_path):
    """Until every new file is there, every tool sees the old packages."""
    scene = Scene(tmp_path)
    seen: list[bool] = []

    def look() -> None:
        old = (scene.prefix / SITE / "thing-1.0.dist-info/RECORD").exists()
        new = all((scene.prefix / p).exists() for p in NEW if ".dist-info" not in p)
        seen.append(old or new)

    for at in range(1, moves_of(tmp_path)):
        again = Scene(tmp_path / str(at))
        scene = again
        with counting(at, look):
            again.run()
    assert len(seen) > 30
    assert all(seen)


def test_death_at_every_move_is_undone_by_the_next_start(tmp_path):
    old = new = 0
    for at in range(1, moves_of(tmp_path) + 1):
        scene = Scene(tmp_path / str(at))

        def dying(at: int = at, scene: Scene = scene) -> None:
            with counting(at, die):
                scene.run()

        assert not in_a_child(dying)
        complete = not scene.workspace.in_place.exists() and at > 3
        undo_interrupted(scene.workspace)
        if complete:
            scene.assert_new()
            new += 1
        else:
            scene.assert_old()
            old += 1
        scene.assert_nothing_left()
        shutil.rmtree(scene.prefix)
    assert old > 30
    assert new > 0


def test_death_at_every_move_of_the_undoing_too(tmp_path):
    middle = moves_of(tmp_path, commit=False) * 3 // 4
    deaths, ended = 0, False
    while not ended:
        scene = Scene(tmp_path / f"again-{deaths}")

        def dying(scene: Scene = scene) -> None:
            with counting(middle, die):
                scene.run()

        def dying_again(at: int = deaths + 1, scene: Scene = scene) -> None:
            with counting(at, die):
                undo_interrupted(scene.workspace)

        assert not in_a_child(dying)
        ended = in_a_child(dying_again)
        undo_interrupted(scene.workspace)
        scene.assert_old()
        scene.assert_nothing_left()
        shutil.rmtree(scene.prefix)
        deaths += 1
    assert deaths > 15


def test_a_full_disk_at_every_move_is_undone_at_once(tmp_path):
    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    failures = 0
    for at in range(1, moves_of(tmp_path) + 1):
        scene = Scene(tmp_path / str(at))
        try:
            with counting(at, fail):
                scene.change.begin()
        except OSError:
            failures += 1
            scene.change.undo()
            scene.assert_old()
        else:
            scene.change.commit()
            scene.assert_new()
        scene.assert_nothing_left()
        shutil.rmtree(scene.prefix)
    assert failures > 30


def test_what_a_program_writes_meanwhile_is_no_hindrance(tmp_path):
    scene = Scene(tmp_path)
    scene.change.begin()
    compiled = scene.prefix / SITE / "coming/__pycache__"
    compiled.mkdir()
    (compiled / "__init__.cpython-39.pyc").touch()
    scene.change.undo()
    scene.assert_old()


def test_a_link_out_of_the_environment_is_not_written_through(tmp_path):
    scene = Scene(tmp_path)
    outside = tmp_path / "checkout"
    shutil.move(scene.prefix / SITE / "thing", outside)
    (scene.prefix / SITE / "thing").symlink_to(outside)
    before, checkout = contents(scene.prefix), contents(outside)
    scene.change.begin()
    assert (scene.prefix / SITE / "thing/__init__.py").read_text() == "2"
    assert contents(outside) == checkout
    scene.change.undo()
    assert contents(scene.prefix) == before
    assert contents(outside) == checkout


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_files_that_come_from_another_file_system_are_copied(tmp_path, monkeypatch):
    elsewhere = Path("/dev/shm") / f"reconciler-{os.getpid()}"
    elsewhere.mkdir()
    try:
        assert elsewhere.stat().st_dev != tmp_path.stat().st_dev
        scene = Scene(tmp_path / "whole", elsewhere)
        scene.run()
        scene.assert_new()
        shutil.rmtree(elsewhere / "incoming")
        scene = Scene(tmp_path / "halfway", elsewhere)

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        copy, left = shutil.copy2, [4]

        def filling(source: str, target: str, **options: bool) -> str:
            left[0] -= 1
            copied = copy(source, target, **options)
            if left[0] == 0:
                full()
            return str(copied)

        monkeypatch.setattr(in_place.shutil, "copy2", filling)
        with pytest.raises(OSError, match="No space"):
            scene.change.begin()
        scene.change.undo()
        scene.assert_old()
    finally:
        shutil.rmtree(elsewhere)
