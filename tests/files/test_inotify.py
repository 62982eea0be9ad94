"""What the kernel tells of watched folders: every kind of change, and folders that come later."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.files.inotify import Watches

ROOT = Path(__file__).parents[2]


@pytest.fixture
def watches():
    made = Watches()
    yield made
    made.close()


def test_every_kind_of_change_is_told_with_its_path(tmp_path, watches):
    old, new = tmp_path / "old", tmp_path / "new é"
    old.write_text("")
    watches.add(str(tmp_path))
    changes = {
        "written": lambda: old.write_text("x"),
        "touched": lambda: os.utime(old, (1, 1)),
        "protected": lambda: old.chmod(0o600),
        "renamed": lambda: old.rename(new),
        "created": lambda: old.symlink_to(new),
        "deleted": old.unlink,
    }
    found = {}
    for name, change in changes.items():
        change()
        found[name], _ = watches.read()
    assert found == {name: {str(old)} for name in changes} | {"renamed": {str(old), str(new)}}
    new.unlink()
    watches.read()
    tmp_path.rmdir()
    assert watches.read() == ({str(tmp_path)}, set())
    assert watches.read() == (set(), set())


def test_below_a_tree_folders_that_come_later_are_watched_too(tmp_path, watches):
    (tmp_path / "tree" / "one" / "two").mkdir(parents=True)
    (tmp_path / "tree" / "link").symlink_to(tmp_path)
    (tmp_path / "plain").mkdir()
    watches.add(str(tmp_path / "tree"), deep=True)
    watches.add(str(tmp_path / "plain"))
    watches.add(str(tmp_path / "nowhere"), deep=True)
    (tmp_path / "tree" / "one" / "two" / "file").write_text("")
    (tmp_path / "plain" / "folder").mkdir()
    (tmp_path / "tree" / "late" / "later").mkdir(parents=True)
    changed, fresh = watches.read()
    assert fresh == {str(tmp_path / "tree" / "late")}, "a plain folder is watched alone"
    assert str(tmp_path / "tree" / "one" / "two" / "file") in changed
    for folder in fresh:
        watches.add(folder, deep=True)
    (tmp_path / "tree" / "late" / "later" / "file").write_text("")
    changed, _ = watches.read()
    assert changed == {str(tmp_path / "tree" / "late" / "later" / "file")}


def test_more_than_the_kernel_keeps_is_told_as_such(tmp_path, watches):
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    watches.add(str(tmp_path))
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("")
    for _ in range(most // 2 + 10):  # equal ones in a row count as one
        one.rename(other)
        other.rename(one)
    changed, _ = watches.read()
    assert changed == {str(one), str(other)}
    assert watches.overflowed


def test_a_watcher_sleeps_until_something_happens(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.sleeping", tmp_path],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert int(ran.stdout) <= 2, "in a second; each costs a busy machine a switch"
