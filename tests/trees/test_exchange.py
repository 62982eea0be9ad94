"""After an exchange, and after its death at any step, the tree is wholly the old or the new."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.trees import exchange as module
from reconciler.trees.exchange import (
    ExchangeImpossible,
    Intent,
    Root,
    exchange,
    finish_interrupted,
)
from reconciler.trees.workspace import META
from tests.support.dying import NEW, OLD, ROOTS, build, contents
from tests.support.thorough import sample

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pair(tmp_path):
    return build(tmp_path / "env")


def go(workspace, stage, roots=ROOTS) -> None:
    exchange(workspace, stage, roots, live={"number": 2}, old={"number": 1},
             archive=workspace.generations / "1")  # fmt: skip


def archived(workspace) -> dict[str, str]:
    return {p: t for p, t in contents(workspace.generations / "1").items() if p != META}


def inodes(folder: Path) -> dict[str, int]:
    return {path: (folder / path).stat().st_ino for path in contents(folder)}


# Death at every step


@pytest.mark.parametrize(
    ("kind", "twice"),
    sample(
        [
            ("native", "twice"),
            ("native", "once"),
            ("ENOSYS", "once"),
            ("EINVAL", "once"),
            ("EINVAL", "twice"),
        ],
        every=4,
    ),
)
def test_death_at_every_step_leaves_the_old_or_the_new(tmp_path, kind, twice):
    command = [sys.executable, "-m", "tests.support.dying", str(tmp_path), kind, twice]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr
    reports = json.loads(answer.stdout)
    steps = 15 if kind == "native" else 19
    assert len(reports) >= (steps if twice == "once" else 3 * steps)
    seen = set()
    for report in reports:
        is_new = report["number"] == 2
        assert report["live"] == (NEW if is_new else OLD), report
        assert report["again"] is None, report
        assert set(report["left"]) <= {"live.json", "live.json.new", "intent.json.new",
                                       "generations"}, report  # fmt: skip
        if is_new:
            kept = {p: t for p, t in report["archived"].items() if not p.startswith(META)}
            assert kept == OLD, report
        else:
            assert not report["archived"], report
        seen.add(is_new)
    assert seen == {False, True}


# Without dying


def test_an_exchange_makes_the_staged_tree_live_and_keeps_the_old_one(pair):
    workspace, stage = pair
    old, new = inodes(workspace.prefix), inodes(stage)
    go(workspace, stage)
    assert contents(workspace.prefix) == NEW
    assert archived(workspace) == OLD
    assert inodes(workspace.prefix) == new
    assert {p: i for p, i in inodes(workspace.generations / "1").items() if p != META} == old
    assert json.loads(workspace.live.read_text()) == {"number": 2}
    assert json.loads((workspace.generations / "1" / META).read_text()) == {"number": 1}
    assert not stage.exists()
    assert not workspace.intent.exists()
    assert finish_interrupted(workspace) is None


def test_only_the_named_roots_change_places(pair):
    workspace, stage = pair
    go(workspace, stage, ["lib"])
    assert contents(workspace.prefix) == {**{p: t for p, t in OLD.items() if p != "lib/old.py"},
                                          "lib/new.py": "new"}  # fmt: skip


def test_without_roots_only_the_label_changes(pair):
    workspace, stage = pair
    go(workspace, stage, [])
    assert contents(workspace.prefix) == OLD
    assert json.loads(workspace.live.read_text()) == {"number": 2}


def test_an_intent_without_roots_is_finished(pair):
    workspace, stage = pair
    intent = Intent(stage.name, (), {"number": 2}, {"number": 1}, "1")
    workspace.intent.write_text(intent.to_json())
    assert finish_interrupted(workspace) == "an interrupted exchange was completed"
    assert finish_interrupted(workspace) is None


def test_an_empty_file_or_folder_of_a_package_is_no_stand_in(pair):
    workspace, stage = pair
    for folder in (workspace.prefix, stage):
        (folder / "empty.txt").touch()
        (folder / "include").mkdir()
    (stage / "fresh-empty.txt").touch()
    (stage / "fresh-include").mkdir()
    roots = [*ROOTS, "empty.txt", "include", "fresh-empty.txt", "fresh-include"]
    go(workspace, stage, roots)
    for name in ("empty.txt", "fresh-empty.txt"):
        assert (workspace.prefix / name).is_file()
    for name in ("include", "fresh-include"):
        assert (workspace.prefix / name).is_dir()


def test_what_goes_leaves_nothing_behind(pair):
    workspace, stage = pair
    go(workspace, stage)
    assert not (workspace.prefix / "was.txt").exists()
    assert not (workspace.prefix / "gone").exists()
    assert not (workspace.generations / "1" / "is.txt").exists()


def test_an_intent_survives_being_written(pair):
    intent = Intent("stage-x", (Root("bin", 1, 0), Root("lib", 2, 3)), {"a": 1}, {"b": 2}, "7")
    workspace, _ = pair
    workspace.intent.write_text(intent.to_json())
    assert Intent.read(workspace.intent) == intent


# Where it cannot be done


class Failing:
    """Lets the n-th call of a function fail with an error of the system, once or for good."""

    def __init__(self, function, number: int, code: int, *, for_good: bool) -> None:
        self.function = function
        self.left = number
        self.code = code
        self.for_good = for_good

    def __call__(self, *arguments, **options):
        self.left -= 1
        if self.left == 0 or (self.for_good and self.left < 0):
            raise OSError(self.code, "the test wants this to fail", str(arguments[0]))
        return self.function(*arguments, **options)

    def method(self):
        """The same as a method: a plain object would not be given its `self`."""

        def method(*arguments):
            return self(*arguments)

        return method


def unable(*_: object) -> None:
    raise OSError(errno.EINVAL, "no exchange here")


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EBUSY])
@pytest.mark.parametrize("number", [1, 2])
def test_where_nothing_can_be_exchanged_nothing_has_changed(pair, monkeypatch, code, number):
    workspace, stage = pair
    failing = Failing(module.rename_exchange, number, code, for_good=False)
    monkeypatch.setattr(module, "rename_exchange", failing)
    before = inodes(workspace.prefix)
    with pytest.raises(ExchangeImpossible):
        go(workspace, stage)
    assert contents(workspace.prefix) == OLD
    assert inodes(workspace.prefix) == before
    assert contents(stage) == NEW
    assert not workspace.intent.exists()


@pytest.mark.parametrize("number", range(1, 12))
def test_a_failing_rename_is_undone(pair, monkeypatch, number):
    # Two renames in place of an exchange: the tree must not stay away between them.
    workspace, stage = pair
    monkeypatch.setattr(module, "rename_exchange", unable)
    failing = Failing(Path.rename, number, errno.EIO, for_good=False)
    monkeypatch.setattr(Path, "rename", failing.method())
    try:
        go(workspace, stage)
    except OSError as error:
        assert error.errno == errno.EIO
        finish_interrupted(workspace)
    assert contents(workspace.prefix) in (OLD, NEW)
    assert not workspace.intent.exists()


@pytest.mark.parametrize("number", range(1, 12))
def test_if_not_even_undoing_works_the_next_start_does_it(pair, monkeypatch, number):
    workspace, stage = pair
    with monkeypatch.context() as patch:
        patch.setattr(module, "rename_exchange", unable)
        failing = Failing(Path.rename, number, errno.EIO, for_good=True)
        patch.setattr(Path, "rename", failing.method())
        with pytest.raises(OSError, match="wants this to fail"):
            go(workspace, stage)
    finish_interrupted(workspace)
    assert contents(workspace.prefix) in (OLD, NEW)
    assert not workspace.intent.exists()
    assert finish_interrupted(workspace) is None


def test_a_full_disk_before_the_exchange_changes_nothing(pair, monkeypatch):
    workspace, stage = pair
    failing = Failing(module.write_durably, 1, errno.ENOSPC, for_good=False)
    monkeypatch.setattr(module, "write_durably", failing)
    with pytest.raises(OSError, match="wants this to fail"):
        go(workspace, stage)
    assert contents(workspace.prefix) == OLD
    assert finish_interrupted(workspace) is None


def test_nothing_to_recover_is_no_error(pair):
    workspace, _ = pair
    assert finish_interrupted(workspace) is None
    assert contents(workspace.prefix) == OLD
