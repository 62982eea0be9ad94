"""Packages go out of a tree and into it whole."""

import os
import shutil
from pathlib import Path

import pytest

from reconciler.processes import Cancellation, Cancelled
from reconciler.trees.tree import recorded_paths
from tests.support.environments import (
    assert_whole,
    install,
    site_packages,
    snapshot,
    strays,
    tree_fingerprint,
)
from tests.support.staging import Staging

SITE = "lib/python3.11/site-packages"


@pytest.fixture
def staging(venv, tmp_path) -> Staging:
    return Staging(venv, tmp_path)


def site_of(folder: Path) -> Path:
    return site_packages(folder)


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


# Taking out


def test_a_removed_package_leaves_nothing_and_the_live_tree_keeps_it(staging):
    wheel = staging.wheel("thing", "1.0", scripts={"say": "thing:main"},
                          files={"thing/__init__.py": "", "thing/deep/m.py": "", "single.py": ""},
                          data={"share/thing/doc.txt": "x", "etc/thing.conf": "y"})  # fmt: skip
    empty = files_below(staging.venv)
    install(staging.venv, wheel, staging.wheel("other", "1.0"))
    before = files_below(staging.venv)
    tree = staging.tree()
    tree.remove(tree.installed.get("thing"), frozenset({"thing"}))
    gone = before - files_below(staging.stage) - {".lock", ".gitignore", "CACHEDIR.TAG"}
    assert {Path(p).name for p in gone} >= {"single.py", "m.py", "say", "doc.txt", "thing.conf"}
    assert not (site_of(staging.stage) / "thing").exists()
    assert not (staging.stage / "share" / "thing").exists()
    assert (site_of(staging.stage) / "other" / "__init__.py").is_file()
    assert tree.touched == {"lib", "bin", "share", "etc"}
    assert files_below(staging.venv) == before
    assert empty < before
    assert_whole(staging.venv)
    assert strays(staging.stage) == set()


def test_bytecode_goes_with_its_module_and_only_that(staging):
    install(staging.venv, staging.wheel("thing", "1.0", files={"a.py": "", "pkg/m.py": ""}),
            staging.wheel("other", "1.0", files={"ab.py": "", "pkg/n.py": ""}))  # fmt: skip
    site = site_of(staging.venv)
    for folder in (site, site / "pkg"):
        (folder / "__pycache__").mkdir()
    compiled = ["a.cpython-39.pyc", "a.cpython-39.opt-1.pyc", "ab.cpython-39.pyc"]
    for name in compiled:
        (site / "__pycache__" / name).touch()
    for name in ("m.cpython-39.pyc", "n.cpython-39.pyc"):
        (site / "pkg" / "__pycache__" / name).touch()
    tree = staging.tree()
    tree.remove(tree.installed.get("thing"), frozenset({"thing"}))
    staged = site_of(staging.stage)
    assert [p.name for p in (staged / "__pycache__").iterdir()] == ["ab.cpython-39.pyc"]
    assert [p.name for p in (staged / "pkg/__pycache__").iterdir()] == ["n.cpython-39.pyc"]
    assert len(list((site / "__pycache__").iterdir())) == 3


def test_a_folder_with_something_else_in_it_stays(staging):
    install(staging.venv, staging.wheel("thing", "1.0", files={"thing/m.py": ""}))
    (site_of(staging.venv) / "thing" / "my_notes.txt").write_text("mine")
    tree = staging.tree()
    tree.remove(tree.installed.get("thing"), frozenset({"thing"}))
    assert files_below(site_of(staging.stage) / "thing") == {"my_notes.txt"}


def test_a_file_that_another_package_owns_too_stays(staging):
    install(staging.venv, staging.wheel("one", "1.0", files={"shared/__init__.py": "s"}),
            staging.wheel("two", "1.0", files={"shared/__init__.py": "s", "2.py": ""}))  # fmt: skip
    tree = staging.tree()
    tree.remove(tree.installed.get("one"), frozenset({"one"}))
    assert (site_of(staging.stage) / "shared" / "__init__.py").is_file()
    tree.remove(tree.installed.get("two"), frozenset({"one", "two"}))
    assert not (site_of(staging.stage) / "shared").exists()


def test_a_package_without_record_loses_its_folder_of_metadata(staging):
    install(staging.venv, staging.wheel("thing", "1.0"))
    (site_of(staging.venv) / "thing-1.0.dist-info" / "RECORD").unlink()
    tree = staging.tree()
    tree.remove(tree.installed.get("thing"), frozenset({"thing"}))
    assert not list(site_of(staging.stage).glob("thing-*"))


def test_files_outside_the_environment_are_left_alone(staging):
    install(staging.venv, staging.wheel("thing", "1.0"))
    outside = staging.tmp_path / "outside.txt"
    outside.write_text("mine")
    record = site_of(staging.venv) / "thing-1.0.dist-info" / "RECORD"
    with record.open("a") as file:
        file.write(f"{outside},,\n../../../../../outside.txt,,\n")
    tree = staging.tree()
    thing = tree.installed.get("thing")
    assert all(not p.startswith(("/", "..")) for p in recorded_paths(thing, staging.venv))
    tree.remove(thing, frozenset({"thing"}))
    assert outside.read_text() == "mine"


def test_what_is_not_there_is_as_good_as_removed(staging):
    install(staging.venv, staging.wheel("thing", "1.0", files={"thing/a.py": "", "b.py": ""}))
    shutil.rmtree(site_of(staging.venv) / "thing")
    (site_of(staging.venv) / "b.py").unlink()
    (site_of(staging.venv) / "b.py").mkdir()
    tree = staging.tree()
    tree.remove(tree.installed.get("thing"), frozenset({"thing"}))
    assert not list(site_of(staging.stage).glob("thing*"))


def test_an_egg_info_goes(staging):
    egg = site_of(staging.venv) / "old-1.0-py3.11.egg-info"
    egg.write_text("Name: old\nVersion: 1.0\n")
    tree = staging.tree()
    tree.remove(tree.installed.get("old"), frozenset({"old"}))
    assert not (site_of(staging.stage) / egg.name).exists()
    assert egg.exists()


# Putting in


def test_an_upgrade_leaves_the_live_tree_and_everything_else_alone(staging):
    install(staging.venv, staging.wheel("thing", "1.0", files={"thing/old.py": "", "t.py": "1"}),
            staging.wheel("other", "1.0"))  # fmt: skip
    before = tree_fingerprint(staging.venv)
    tree = staging.tree()
    staging.unpack(staging.wheel("thing", "2.0", files={"thing/new.py": "", "t.py": "2"}))
    staging.replace(tree, "thing")
    assert tree_fingerprint(staging.venv) == before
    assert snapshot(staging.stage) == {"thing": "2.0", "other": "1.0"}
    assert_whole(staging.stage)
    assert strays(staging.stage) == set()
    assert (site_of(staging.stage) / "t.py").read_text() == "2"
    assert tree_fingerprint(staging.stage, "other") == tree_fingerprint(staging.venv, "other")
    assert tree.touched == {"lib"}


def test_scripts_and_data_come_in_and_are_touched(staging):
    tree = staging.tree()
    staging.unpack(staging.wheel("thing", "1.0", scripts={"say": "thing:main"},
                                 raw_scripts={"raw": "#!python\nprint(1)\n"},
                                 data={"share/thing/doc": "x", "top.txt": "y"}))  # fmt: skip
    staging.replace(tree)
    assert tree.touched == {"lib", "bin", "share", "top.txt"}
    assert os.access(staging.stage / "bin" / "say", os.X_OK)
    assert os.access(staging.stage / "bin" / "raw", os.X_OK)
    assert (staging.stage / "share/thing/doc").read_text() == "x"
    assert (staging.stage / "top.txt").read_text() == "y"
    assert not (staging.stage / ".lock").exists()
    assert_whole(staging.stage)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"thing.py": "1"}, {"thing/__init__.py": "2"}),
        ({"thing/__init__.py": "1"}, {"thing.py": "2"}),
        ({"thing": "a file"}, {"thing/__init__.py": "2"}),
        ({"thing/__init__.py": "1", "thing/m.py": "1"}, {"thing": "a file"}),
        ({"thing/sub.py": "1"}, {"thing/sub/__init__.py": "2"}),
        ({"thing/sub/a/b.py": "1"}, {"thing/sub": "a file"}),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_modules_become_packages_and_back(staging, before, after, compiled):
    install(staging.venv, staging.wheel("thing", "1.0", files=before))
    if compiled:
        for path in before:
            folder = (site_of(staging.venv) / path).parent / "__pycache__"
            folder.mkdir(exist_ok=True)
            (folder / f"{Path(path).stem}.cpython-311.pyc").write_text("old")
    tree = staging.tree()
    staging.unpack(staging.wheel("thing", "2.0", files=after))
    staging.replace(tree, "thing")
    assert_whole(staging.stage)
    assert strays(staging.stage) == set()
    assert_whole(staging.venv)
    for path, text in after.items():
        assert (site_of(staging.stage) / path).read_text() == text


def test_namespace_packages_are_merged(staging):
    install(staging.venv, staging.wheel("google-a", "1.0", files={"google/a/m.py": "a"}),
            staging.wheel("google-b", "1.0", files={"google/b/m.py": "b"}))  # fmt: skip
    tree = staging.tree()
    staging.unpack(staging.wheel("google-b", "2.0", files={"google/b/m.py": "2"}),
                   staging.wheel("google-c", "1.0", files={"google/c/m.py": "c"}))  # fmt: skip
    staging.replace(tree, "google-b")
    assert files_below(site_of(staging.stage) / "google") == {"a/m.py", "b/m.py", "c/m.py"}
    assert_whole(staging.stage)
    assert_whole(staging.venv)


def test_what_somebody_left_in_the_way_is_replaced_in_the_stage_only(staging):
    left = site_of(staging.venv) / "thing"
    left.mkdir()
    (left / "mine.txt").write_text("mine")
    tree = staging.tree()
    staging.unpack(staging.wheel("thing", "1.0", files={"thing": "a file"}))
    staging.replace(tree)
    assert (site_of(staging.stage) / "thing").read_text() == "a file"
    assert (left / "mine.txt").read_text() == "mine"


def test_a_link_in_the_way_is_replaced_and_not_followed(staging):
    outside = staging.tmp_path / "outside"
    outside.mkdir()
    (outside / "keep.txt").write_text("mine")
    (site_of(staging.venv) / "thing").symlink_to(outside)
    tree = staging.tree()
    staging.unpack(staging.wheel("thing", "1.0", files={"thing/__init__.py": "1"}))
    staging.replace(tree)
    assert files_below(outside) == {"keep.txt"}
    assert_whole(staging.stage)


def test_a_link_out_of_the_environment_is_not_followed_by_a_removal(staging):
    install(staging.venv, staging.wheel("thing", "1.0", files={"thing/a.py": "", "b.py": ""}))
    outside = staging.tmp_path / "outside"
    (site_of(staging.venv) / "thing").rename(outside)
    (site_of(staging.venv) / "thing").symlink_to(outside)
    tree = staging.tree()
    staging.unpack(staging.wheel("thing", "2.0", files={"thing/a.py": "2"}))
    staging.replace(tree, "thing")
    assert (outside / "a.py").read_text() == ""
    assert (site_of(staging.venv) / "thing").is_symlink()
    assert (site_of(staging.stage) / "thing" / "a.py").read_text() == "2"
    assert_whole(staging.stage)


def test_a_link_within_the_environment_is_not_followed_either(staging):
    """It may lead to the files of another package."""
    install(staging.venv, staging.wheel("thing", "1.0", files={"thing/a.py": ""}))
    site = site_of(staging.venv)
    (site / "thing").rename(site / "real")
    (site / "thing").symlink_to("real")
    tree = staging.tree()
    tree.remove(tree.installed.get("thing"), frozenset({"thing"}))
    assert (site_of(staging.stage) / "real" / "a.py").exists()
    assert (site / "real" / "a.py").exists()


def test_adding_ends_when_it_is_told_to(staging):
    tree = staging.tree()
    staging.unpack(staging.wheel("thing", "1.0"))
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(Cancelled):
        tree.add(staging.incoming, cancel)


def test_lib64_of_some_venvs_means_lib(staging):
    (staging.venv / "lib64").unlink(missing_ok=True)
    (staging.venv / "lib64").symlink_to("lib")
    tree = staging.tree()
    (staging.incoming / "lib64" / "python3.11" / "site-packages").mkdir(parents=True)
    (staging.incoming / "lib64" / "python3.11" / "site-packages" / "x.py").write_text("1")
    tree.add(staging.incoming, Cancellation())
    assert tree.touched == {"lib"}
    assert (staging.stage / SITE / "x.py").is_file()
    assert (staging.stage / "lib64").is_symlink()
