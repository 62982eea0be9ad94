"""What the configuration makes of a pass: updates, pruning, builds, old trees."""

from pathlib import Path

import pytest

from reconciler.config import Build, Update
from reconciler.passes.reconcile import plan
from reconciler.passes.running import Pass
from reconciler.passes.sweeping import sweep
from reconciler.processes import Cancellation
from reconciler.status import Result
from reconciler.trees import generations
from reconciler.trees.workspace import Workspace
from tests.support.environments import (
    assert_whole,
    install,
    snapshot,
    strays,
    tree_fingerprint,
)
from tests.support.passes import Follower, environment_for, reconcile, start
from tests.support.projects import Project
from tests.support.wheels import make_sdist, make_wheel


@pytest.fixture
def held(project: Project, venv: Path, universe: object, gpu_wheels: list[Path]) -> Path:
    install(venv, *gpu_wheels)
    return venv


@pytest.fixture
def settled(project, held):
    """An environment that has been reconciled once."""
    project.write(["pandas", "transformers", "numpy<2"])
    environment = environment_for(project)
    reconcile(environment)
    return environment


def changes(outcome) -> dict[str, str]:
    return {change.name: change.action for change in outcome.changes}


def left_over(venv: Path) -> set[str]:
    """What of ours lies in the environment beside what is to be kept."""
    kept = {"generations", "live.json", "pass.lock", "last-good-pyproject.toml"}
    folder = venv / ".reconciler"
    return {p.name for p in folder.iterdir()} - kept if folder.exists() else set()


# Settings


def test_update_latest_upgrades_what_is_satisfied(project, settled, held):
    project.write(["transformers==4.43.3", "pandas", "numpy<2"])
    reconcile(settled)
    project.write(["transformers", "pandas", "numpy<2"])
    assert reconcile(settled).result is Result.UNCHANGED
    latest = environment_for(project, update=Update.LATEST)
    assert changes(reconcile(latest)) == {"transformers": "upgrade"}
    outcome = reconcile(latest)
    assert (outcome.result, outcome.changes) == (Result.UNCHANGED, ())


def test_prune_removes_what_nothing_needs(project, settled, held):
    before = tree_fingerprint(held, "torch")
    project.write(["numpy<2"])
    assert reconcile(settled).result is Result.UNCHANGED
    pruning = environment_for(project, prune=True)
    outcome = reconcile(pruning)
    assert changes(outcome)["pandas"] == "remove"
    assert set(snapshot(held)) == {"numpy", "torch", "torchvision", "pytorch-triton-rocm"}
    assert tree_fingerprint(held, "torch") == before
    assert strays(held) == set()
    assert reconcile(pruning).result is Result.UNCHANGED


def test_prune_keeps_what_a_new_package_will_need(project, venv, index, tmp_path):
    needed = make_wheel(tmp_path, "needed", "1.0")
    install(venv, needed)
    index.add(needed, make_wheel(tmp_path, "new", "1.0", requires=["needed"]))
    before = tree_fingerprint(venv, "needed")
    project.write(["new"])
    outcome = reconcile(environment_for(project, prune=True))
    assert changes(outcome) == {"new": "install"}
    assert outcome.snapshot.drift.in_sync
    assert tree_fingerprint(venv, "needed") == before


def test_prune_removes_what_an_upgrade_needs_no_more(project, venv, index, tmp_path):
    index.add(make_wheel(tmp_path, "a", "1.0", requires=["b"]), make_wheel(tmp_path, "b", "1.0"),
              make_wheel(tmp_path, "a", "2.0"))  # fmt: skip
    environment = environment_for(project, prune=True)
    project.write(["a==1.0"])
    reconcile(environment)
    project.write(["a==2.0"])
    assert changes(reconcile(environment)) == {"a": "upgrade", "b": "remove"}
    assert set(snapshot(venv)) == {"a"}
    assert reconcile(environment).result is Result.UNCHANGED


def test_prune_leaves_the_tools_of_the_environment_itself(project, venv, index, tmp_path):
    # Whoever asked for pip in the environment (venv, or uv venv --seed) wants to keep it.
    config = venv / "pyvenv.cfg"
    config.write_text("\n".join(
        line for line in config.read_text().splitlines() if not line.startswith("uv")
    ))  # fmt: skip
    for name in ("pip", "setuptools", "wheel", "stray"):
        install(venv, make_wheel(tmp_path, name, "1.0"))
    project.write([])
    environment = environment_for(project, prune=True)
    assert changes(reconcile(environment)) == {"stray": "remove"}
    assert set(snapshot(venv)) == {"pip", "setuptools", "wheel"}
    assert reconcile(environment).result is Result.UNCHANGED


def test_without_builds_only_wheels_are_installed(project, venv, index, tmp_path):
    index.add(make_sdist(tmp_path, "source", "1.0"), make_wheel(tmp_path, "wheel-only", "1.0"))
    project.write(["source", "wheel-only"])
    never = environment_for(project, build=Build.NEVER)
    outcome = reconcile(never)
    assert outcome.result is Result.PARTIAL
    assert snapshot(venv) == {"wheel-only": "1.0"}
    assert [f.name for f in outcome.failed] == ["source"]
    assert changes(reconcile(environment_for(project))) == {"source": "install"}


# Planning without changing


def test_a_plan_says_what_would_change_and_changes_nothing(project, held):
    project.write(["accelerate", "numpy<2", "gone-forever"])
    before = tree_fingerprint(held)
    environment = environment_for(project)
    outcome = plan(Pass(environment, Cancellation(), Follower()))
    sweep(environment)
    assert {c.name for c in outcome.plan} == {"accelerate", "numpy", "packaging"}
    assert [f.name for f in outcome.failed] == ["gone-forever"]
    assert [b.name for b in outcome.held_back] == ["accelerate"]
    assert not outcome.attempted
    assert tree_fingerprint(held) == before
    assert left_over(held) == set()


# Generations


def test_old_trees_are_kept_as_many_as_configured(project, venv, index, tmp_path):
    index.add(*(make_wheel(tmp_path, "thing", f"{n}.0") for n in range(1, 7)))
    environment = environment_for(project, keep_generations=2)
    for number in range(1, 7):
        project.write([f"thing=={number}.0"])
        assert reconcile(environment).generation == number
    workspace = Workspace(venv.resolve())
    assert generations.live(workspace).number == 6
    assert [g.number for g in generations.kept(workspace)] == [5, 4]
    for number in (5, 4):
        folder = generations.folder_of(workspace, number)
        assert snapshot(folder) == {"thing": f"{number}.0"}
        assert_whole(folder)
    assert left_over(venv) == set()
    assert start(environment).result is Result.UNCHANGED
