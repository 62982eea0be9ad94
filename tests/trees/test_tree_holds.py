"""No package that comes or goes takes a file of a held one along."""

from pathlib import Path

import pytest

from reconciler.trees.fingerprints import fingerprints
from reconciler.trees.tree import HoldConflict, Tree
from tests.support.environments import (
    assert_whole,
    install,
    site_packages,
)
from tests.support.staging import Staging
from tests.support.torch import fake_triton

SITE = "lib/python3.11/site-packages"


@pytest.fixture
def staging(venv, tmp_path) -> Staging:
    return Staging(venv, tmp_path)


def site_of(folder: Path) -> Path:
    return site_packages(folder)


@pytest.fixture
def held(staging) -> Staging:
    install(staging.venv, fake_triton(staging.tmp_path / "gpu", "pytorch-triton-rocm"),
            staging.wheel("ground", "1.0", files={"triton/plugin.py": "p"}))  # fmt: skip
    return staging


def conflict(staging: Staging, tree: Tree, **options) -> HoldConflict | None:
    packages = staging.unpack(staging.wheel("triton", "3.0", **options))
    return tree.conflict(staging.incoming, packages)


def test_a_package_that_would_overwrite_a_held_file_is_found(held):
    tree = held.tree("pytorch-triton-rocm")
    found = conflict(held, tree, files={"triton/new.py": "", "triton/language.py": "other"})
    assert (found.package, found.hold) == ("triton", "pytorch-triton-rocm")
    assert found.path == f"{SITE}/triton/language.py"
    assert "Remove triton" in str(found)


def test_a_package_that_brings_the_same_bytes_is_no_conflict_and_the_held_inode_stays(held):
    tree = held.tree("pytorch-triton-rocm")
    before = fingerprints(tree.held_files, held.venv)
    same = (site_of(held.venv) / "triton" / "language.py").read_text()
    assert conflict(held, tree, files={"triton/language.py": same, "triton/x.py": ""}) is None
    held.replace(tree)
    assert fingerprints(tree.held_files, held.stage) == before
    assert (site_of(held.stage) / "triton" / "x.py").is_file()
    assert_whole(held.stage)


def test_a_package_that_adds_files_beside_held_ones_is_no_conflict(held):
    tree = held.tree("pytorch-triton-rocm")
    before = fingerprints(tree.held_files, held.venv)
    assert conflict(held, tree, files={"triton/extra/m.py": "", "triton/plugin.py": "new"}) is None
    held.replace(tree)
    assert fingerprints(tree.held_files, held.stage) == before
    assert (site_of(held.stage) / "triton" / "plugin.py").read_text() == "new"


@pytest.mark.parametrize(
    "files",
    [
        {"triton": "a file where the held folder is"},
        {"triton/language.py/m.py": "a folder where a held file is"},
        {"triton/__init__.py": ""},
    ],
)
@pytest.mark.parametrize("in_place", [False, True])
def test_whatever_would_put_a_held_file_away_is_a_conflict(held, files, in_place):
    tree = held.tree("pytorch-triton-rocm", in_place=in_place)
    found = conflict(held, tree, files=files)
    assert found is not None
    assert (found.package, found.hold) == ("triton", "pytorch-triton-rocm")


def test_a_held_script_is_protected_as_well(staging):
    install(staging.venv, staging.wheel("torch", "1.0", scripts={"torchrun": "torch:main"}))
    tree = staging.tree("torch")
    found = conflict(staging, tree, raw_scripts={"torchrun": "#!python\n"})
    assert found.path == "bin/torchrun"


def test_removing_a_package_never_takes_a_held_file(held):
    shared = held.wheel("sharing", "1.0",
                        files={"triton/language.py": _text(held, "triton/language.py"),
                               "triton/mine.py": ""})  # fmt: skip
    install(held.venv, shared)
    tree = held.tree("pytorch-triton-rocm")
    before = fingerprints(tree.held_files, held.venv)
    tree.remove(tree.installed.get("sharing"), frozenset({"sharing"}))
    assert fingerprints(tree.held_files, held.stage) == before
    assert not (site_of(held.stage) / "triton" / "mine.py").exists()


def _text(staging: Staging, path: str) -> str:
    return (site_of(staging.venv) / path).read_text()


def test_bytecode_of_a_hold_may_be_written_anew(staging):
    # pip lists it in RECORD, and a program that imports torch may replace it at any time.
    install(staging.venv, staging.wheel("torch", "1.0", files={"torch.py": "1"}))
    record = site_of(staging.venv) / "torch-1.0.dist-info" / "RECORD"
    compiled = site_of(staging.venv) / "__pycache__" / "torch.cpython-311.pyc"
    compiled.parent.mkdir(exist_ok=True)
    compiled.write_text("old")
    with record.open("a") as file:
        file.write("__pycache__/torch.cpython-311.pyc,sha256=abc,3\n")
    tree = staging.tree("torch")
    before = fingerprints(tree.held_files, staging.venv)
    fresh = compiled.with_name("fresh")
    fresh.write_text("new")
    fresh.replace(compiled)
    assert fingerprints(tree.held_files, staging.venv) == before


def test_fingerprints_tell_every_change_of_a_held_file(held):
    tree = held.tree("pytorch-triton-rocm")
    before = fingerprints(tree.held_files, held.venv)
    assert fingerprints(tree.held_files, held.stage) == before
    assert len(before) == len(tree.held_files)
    file = site_of(held.venv) / "triton" / "language.py"
    text = file.read_text()
    file.unlink()
    assert fingerprints(tree.held_files, held.venv) != before
    file.write_text(text)
    assert fingerprints(tree.held_files, held.venv) != before
