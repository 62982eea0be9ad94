"""Where nothing can be staged the environment is changed in place, says so, and is mended after."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from reconciler.passes.recovery import recover
from reconciler.status import Result
from reconciler.trees import exchange
from tests.support.environments import (
    assert_whole,
    install,
    pythons,
    run_python,
    site_packages,
    snapshot,
    strays,
    tree_fingerprint,
)
from tests.support.passes import FAST, environment_for, reconcile, start
from tests.support.privileges import give_away, run_without_powers
from tests.support.thorough import sample
from tests.support.torch import fake_triton, gpu_stack
from tests.support.wheels import bulk_files, make_wheel

ROOT = Path(__file__).parents[2]


def unable(code: int):
    def rename_exchange(one: Path, other: Path) -> None:
        raise OSError(code, os.strerror(code), str(one), None, str(other))

    return rename_exchange


# A whole Python


@pytest.fixture
def whole_python(tmp_path) -> Path:
    """An interpreter that is no venv, in a folder that the test may change."""
    for interpreter in pythons().values():
        prefix = interpreter.resolve().parent.parent
        if str(prefix).startswith("/usr") or not (prefix / "lib").is_dir():
            continue
        copy = tmp_path / "python"
        try:
            shutil.copytree(prefix, copy, symlinks=True, copy_function=os.link)
        except OSError:
            shutil.rmtree(copy, ignore_errors=True)
            continue
        python = copy / "bin" / interpreter.resolve().name
        said = subprocess.run([python, "-c", "import sys; print(sys.prefix)"],
                              capture_output=True, text=True, check=False)  # fmt: skip
        if said.stdout.strip() == str(copy):
            return python
        shutil.rmtree(copy)
    pytest.skip("no Python here that can be copied")


def test_a_whole_python_is_changed_in_place_and_it_says_why(whole_python, project, index, tmp_path):
    prefix = whole_python.parent.parent
    index.add(make_wheel(tmp_path, "thing", "1.0", requires=["needed"],
                         scripts={"say-thing": "thing:main"}, data={"share/thing/x": "1"}),
              make_wheel(tmp_path, "needed", "1.0"))  # fmt: skip
    install(whole_python, *gpu_stack(tmp_path / "gpu", files=3))
    before = tree_fingerprint(prefix, "torch")
    project.write(["thing", "torch"])
    config = EnvironmentConfig(name="whole", pyproject=project.path, python=whole_python)
    environment = Environment(config, {**os.environ, **FAST})
    outcome = reconcile(environment)
    assert outcome.result is Result.CHANGED
    assert not outcome.atomic
    assert "not a virtual environment" in outcome.atomic_reason
    assert outcome.snapshot.drift.in_sync
    said = subprocess.check_output([prefix / "bin" / "say-thing"], text=True)
    assert said.strip() == "1.0"
    assert (prefix / "share/thing/x").read_text() == "1"
    assert tree_fingerprint(prefix, "torch") == before
    index.add(make_wheel(tmp_path, "thing", "2.0"))
    project.write(["thing>=2"])
    assert reconcile(environment).result is Result.CHANGED
    assert not (prefix / "bin" / "say-thing").exists()
    assert snapshot(prefix)["thing"] == "2.0"


# Files of others


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_files_of_another_owner_are_changed_in_place_and_it_says_why(
    project, venv, index, tmp_path
):
    if Path("/proc/sys/fs/protected_hardlinks").read_text().strip() != "1":
        pytest.skip("this kernel lets everybody link everything")
    install(venv, make_wheel(tmp_path, "old", "1.0"), *gpu_stack(tmp_path / "gpu", files=3))
    give_away(site_packages(venv))
    before = tree_fingerprint(venv, "torch")
    index.add(make_wheel(tmp_path, "new", "1.0"), make_wheel(tmp_path, "old", "2.0"))
    project.write(["new", "old>=2"])
    answer = run_without_powers(_PASS, ROOT, project.path, venv / "bin" / "python")
    if answer.returncode == 77:
        pytest.skip("the powers of root cannot be laid down here")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-2:][0] == "changed False", answer.stdout
    assert "belongs to another user" in answer.stdout.splitlines()[-1]
    assert snapshot(venv)["new"] == "1.0"
    assert snapshot(venv)["old"] == "2.0"
    assert tree_fingerprint(venv, "torch") == before
    assert_whole(venv)


_PASS = """
import os
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from tests.support.passes import reconcile
config = EnvironmentConfig(name="x", pyproject=Path(sys.argv[2]), python=Path(sys.argv[3]))
outcome = reconcile(Environment(config, dict(os.environ)))
print(outcome.result, outcome.atomic)
print(outcome.atomic_reason)
"""


# File systems that cannot exchange


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EBUSY])
def test_where_folders_cannot_be_exchanged_it_is_done_in_place(
    project, venv, index, tmp_path, monkeypatch, code
):
    index.add(make_wheel(tmp_path, "thing", "1.0", scripts={"say": "thing:main"}),
              make_wheel(tmp_path, "thing", "2.0"))  # fmt: skip
    install(venv, *gpu_stack(tmp_path / "gpu", files=3))
    before = tree_fingerprint(venv, "torch")
    project.write(["thing==1.0"])
    environment = environment_for(project)
    monkeypatch.setattr(exchange, "rename_exchange", unable(code))
    outcome = reconcile(environment)
    assert outcome.result is Result.CHANGED
    assert not outcome.atomic
    assert "cannot exchange" in outcome.atomic_reason
    assert snapshot(venv)["thing"] == "1.0"
    project.write(["thing==2.0"])
    outcome = reconcile(environment)
    assert not outcome.atomic
    assert snapshot(venv)["thing"] == "2.0"
    assert not (venv / "bin" / "say").exists()
    assert tree_fingerprint(venv, "torch") == before
    assert_whole(venv)
    assert strays(venv) == set()
    start(environment)
    kept = {p.name for p in (venv / ".reconciler").iterdir()}
    assert not {name for name in kept if name.startswith(("stage-", "work-", "intent"))}


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS])
def test_where_two_renames_do_it_the_tree_is_whole_and_it_says_so(
    project, venv, index, tmp_path, monkeypatch, code
):
    index.add(make_wheel(tmp_path, "thing", "1.0", scripts={"say": "thing:main"}))
    install(venv, *gpu_stack(tmp_path / "gpu", files=3))
    before = tree_fingerprint(venv, "torch")
    project.write(["thing"])
    environment = environment_for(project)
    monkeypatch.setattr(exchange, "rename_exchange", unable(code))
    outcome = reconcile(environment)
    assert outcome.result is Result.CHANGED
    assert outcome.generation == 1
    assert not outcome.atomic
    assert "two renames" in outcome.atomic_reason
    assert tree_fingerprint(venv, "torch") == before
    assert_whole(venv)
    monkeypatch.undo()
    project.write([])
    reconcile(environment)
    index.add(make_wheel(tmp_path, "thing", "2.0"))
    project.write(["thing>=2"])
    assert reconcile(environment).atomic


# Holds and crashes, in place


@pytest.fixture
def in_place(project, venv, universe, gpu_wheels, tmp_path) -> Environment:
    install(venv, *gpu_wheels)
    environment = environment_for(project)
    environment.in_place = "the test wants it so"
    return environment


def test_a_held_file_is_as_safe_in_place(in_place, project, venv, index, tmp_path):
    before = {name: tree_fingerprint(venv, name) for name in ("torch", "pytorch-triton-rocm")}
    index.add(fake_triton(tmp_path, "triton", "9.0"),
              make_wheel(tmp_path, "shadow", "1.0", files={"torch": "a file"}))  # fmt: skip
    project.write(["triton-user", "shadow", "numpy<2"])
    index.add(make_wheel(tmp_path, "triton-user", "1.0", requires=["triton>=9"]))
    outcome = reconcile(in_place)
    assert {f.name for f in outcome.failed} >= {"shadow", "triton-user"}
    assert {name: tree_fingerprint(venv, name) for name in before} == before
    assert "numpy" in snapshot(venv)
    assert_whole(venv)


@pytest.mark.parametrize("number", sample([30, 2, 150, 90, 1000], every=2))
def test_a_death_in_place_is_undone_by_the_next_start(
    in_place, project, venv, index, tmp_path, number
):
    """At the number-th move of a file; 1000: none is left, and the new tree stays."""
    for version in ("1.0", "2.0"):
        files = {"big/__init__.py": "", **bulk_files("big", 120, mark=version)}
        index.add(make_wheel(tmp_path / version, "big", version, files=files))
    project.write(["big==1.0", "numpy<2"])
    reconcile(in_place)
    before = tree_fingerprint(venv)
    project.write(["big==2.0", "numpy<2"])
    child = subprocess.run(
        [sys.executable, "-c", _DYING_PASS, project.path, venv / "bin" / "python", str(number)],
        cwd=ROOT, env={**os.environ, **FAST}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert recover(in_place) == (
        "an interrupted change in place was undone" if number < 1000
        else "unfinished work was removed (1 folder)"
    )  # fmt: skip
    if number < 1000:
        assert tree_fingerprint(venv) == before
    outcome = start(in_place)
    assert outcome.snapshot.drift.in_sync
    assert snapshot(venv)["big"] == "2.0"
    assert run_python(venv, "import big.part_000.module_00000 as m; print(m.MARK)") == "2.0"
    assert_whole(venv)
    assert strays(venv) == set()


_DYING_PASS = """
import os, signal, sys
from pathlib import Path
from reconciler.trees import in_place as module
from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from tests.support.passes import reconcile

left = int(sys.argv[3])
config = EnvironmentConfig(name="x", pyproject=Path(sys.argv[1]), python=Path(sys.argv[2]))
environment = Environment(config, dict(os.environ))
environment.in_place = "the test wants it so"
begin, rename, commit = module.InPlaceChange.begin, os.rename, module.InPlaceChange.commit

def dying(*arguments):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(*arguments)

def beginning(change):
    os.rename = dying
    begin(change)
    os.rename = rename

def committing(change):
    commit(change)
    os.kill(os.getpid(), signal.SIGKILL)

module.InPlaceChange.begin, module.InPlaceChange.commit = beginning, committing
reconcile(environment)
"""
