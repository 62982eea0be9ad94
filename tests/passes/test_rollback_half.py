"""Half a tree never goes live: each way in which an older tree can have lost something."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.environment.environment import Environment
from reconciler.holds.monitor import HoldMonitor
from reconciler.passes.reconcile import reconcile
from reconciler.passes.recovery import recover
from reconciler.passes.rollback import GenerationBroken, NoSuchGeneration, roll_back
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from tests.support.environments import install, snapshot, tree_fingerprint
from tests.support.passes import Follower, environment_for, locked
from tests.support.wheels import make_wheel


def running(environment: Environment) -> Pass:
    return Pass(environment, Cancellation(), Follower())


@pytest.fixture
def rolled_forward(project, venv, index, gpu_wheels, tmp_path) -> Environment:
    """thing 1.0 is generation 1, thing 2.0 is live, torch is held in both."""
    index.add(*(make_wheel(tmp_path, "thing", version) for version in ("1.0", "2.0")))
    # Copied, since one test edits a file in place: a link would lead into uv's cache.
    install(venv, "--link-mode", "copy", *gpu_wheels)
    environment = environment_for(project)
    with locked(environment) as lock:
        HoldMonitor(environment).keep(environment.look(audit_files=True), lock, compare=False)
    for version in ("1.0", "2.0"):
        project.write([f"thing=={version}", "torch"])
        reconcile(running(environment), audit=True)
    return environment


@contextmanager
def lost(path: Path, instead: str | None = None) -> Iterator[None]:
    """The file or folder is gone for a while, or another file is in its place."""
    aside = path.with_name(f"~{path.name}")
    path.rename(aside)
    if instead is not None:
        path.write_text(instead)
    yield
    if instead is not None:
        path.unlink()
    aside.rename(path)


def test_a_tree_that_has_lost_something_is_refused_and_a_whole_one_goes_live(rolled_forward, venv):
    folder = venv / ".reconciler/generations/1"
    (site,) = folder.glob("lib/python*/site-packages")
    torch = site / "torch/__init__.py"
    damages = {
        "label": (folder / "generation.json", None),
        "pyvenv.cfg": (folder / "pyvenv.cfg", None),
        "interpreter": (folder / "bin/python", None),
        "interpreter, another program": (folder / "bin/python", "#!/bin/false\n"),
        "module": (site / "thing/__init__.py", None),
        "RECORD": (site / "thing-1.0.dist-info/RECORD", None),
        "a whole package": (site / "thing-1.0.dist-info", None),
        "held file": (torch, None),
        "held file, same size": (torch, "#" * torch.stat().st_size),
    }
    before, found = tree_fingerprint(venv), {}
    for name, (path, instead) in damages.items():
        with lost(path, instead):
            try:
                roll_back(running(rolled_forward), 1)
                found[name] = "went live"
            except (GenerationBroken, NoSuchGeneration) as refused:
                found[name] = str(refused)
    assert {name: said for name, said in found.items() if "generation 1" not in said} == {}
    assert tree_fingerprint(venv) == before
    assert roll_back(running(rolled_forward), 1).generation == 1
    assert snapshot(venv)["thing"] == "1.0"


def test_what_both_trees_lack_does_not_keep_anyone_from_going_back(rolled_forward, venv):
    for tree in (venv, venv / ".reconciler/generations/1"):
        next(tree.glob("lib/python*/site-packages/torch/version.py")).unlink()
    edited = next(venv.glob("lib/python*/site-packages/torch/__init__.py"))
    with edited.open("a") as file:  # in place: one file, in both trees
        file.write("# edited\n")
    assert roll_back(running(rolled_forward), 1).generation == 1


@pytest.mark.parametrize("gone", ["generation.json", "pyvenv.cfg"])
def test_what_an_interrupted_removal_left_is_removed_at_the_next_start(rolled_forward, venv, gone):
    folder = venv / ".reconciler/generations/1"
    (folder / gone).unlink()
    assert recover(rolled_forward) == "unfinished work was removed (1 folder)"
    assert not os.path.lexists(folder)
    assert recover(rolled_forward) is None
