"""Indexes and workspaces that sources refer to: where bare uv works, we plan the same."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler.config import EnvironmentConfig
from reconciler.daemon.watched import targets_of
from reconciler.environment.environment import Environment
from reconciler.passes.outcome import Outcome
from reconciler.passes.reconcile import plan
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import Reason, Result
from tests.support.environments import install, snapshot, uv_binary
from tests.support.index import PackageIndex
from tests.support.passes import FAST, Follower, reconcile
from tests.support.projects import Project
from tests.support.wheels import make_sdist, make_wheel, unpack

NAMES = ("alpha", "beta", "gamma", "delta", "six")


class Ground:
    """A folder for whole workspaces: a main index with everything, and one called house."""

    def __init__(self, project: Project, index: PackageIndex, house: PackageIndex) -> None:
        self.project, self.house = project, house
        self.root = project.directory
        wheels = self.root.parent / "wheels"
        index.add(*(make_wheel(wheels, name, "9.0") for name in NAMES))
        index.add(make_wheel(wheels, "six", "1.0"))
        house.add(make_wheel(wheels / "house", "gamma", "1.0"))
        make_wheel(self.root.parent / "flat", "gamma", "2.0")
        self.main = f'[[tool.uv.index]]\nname = "main"\nurl = "{index.url}"\ndefault = true\n'
        self.index = f'[[tool.uv.index]]\nname = "house"\nurl = "{house.url}"\n'
        self.flat = '[[tool.uv.index]]\nname = "flat"\nurl = "../flat"\nformat = "flat"\n'

    def write(self, folder: str, requires: list[str], tables: str = "", name: str = "") -> None:
        """A project that builds without a network."""
        place = self.root / folder
        place.mkdir(parents=True, exist_ok=True)
        name = name or place.name
        made = unpack(make_sdist(self.root.parent / "sdists", name, "0.1", requires=requires))
        backend = (made / "backend.py").read_text()
        (place / "backend.py").write_text(f"{backend}\n\nbuild_editable = build_wheel\n")
        (place / "pyproject.toml").write_text(
            f'[project]\nname = "{name}"\nversion = "0.1"\ndependencies = {requires!r}\n'
            f"{(made / 'pyproject.toml').read_text()}\n{tables}\n"
        )
        shutil.rmtree(made)

    def member(self, folder: str) -> Project:
        return Project(self.root / folder, self.project.index_url)


@pytest.fixture
def ground(project: Project, venv: Path, index: PackageIndex) -> Ground:
    with PackageIndex() as house:
        yield Ground(project, index, house)


def planned_by_uv(project: Project, venv: Path, *groups: str) -> dict[str, str]:
    command = [uv_binary(), "pip", "install", "--dry-run", "-p", venv]
    command += [f"--group={g}" for g in groups] or ["-r", "pyproject.toml"]
    said = subprocess.run(
        command, cwd=project.directory, capture_output=True, text=True, timeout=60, check=False
    )
    assert said.returncode == 0, said.stderr
    found = re.findall(r"^ \+ (\S+?)(?:==| @ )(\S+)", said.stderr, re.MULTILINE)
    return dict(found)


def environment_of(project: Project, venv: Path, **settings: object) -> Environment:
    python = venv / "bin" / "python"
    config = EnvironmentConfig(name="studio", pyproject=project.path, python=python, **settings)
    return Environment(config, {**os.environ, **FAST})


def plan_of(project: Project, venv: Path, **settings: object) -> Outcome:
    environment = environment_of(project, venv, **settings)
    return plan(Pass(environment, Cancellation(), Follower()))


def planned(outcome: Outcome) -> dict[str, str]:
    assert outcome.failed == (), outcome.failed
    return {change.name: change.to for change in outcome.plan}


WORKSPACE = '[tool.uv.workspace]\nmembers = ["packages/*"]\nexclude = ["packages/out"]\n'
SOURCES = '[tool.uv.sources]\nalpha = { workspace = true }\ngamma = { index = "house" }\n'
SIX = '[tool.uv]\nconstraint-dependencies = ["six<2"]\n'


def test_sources_name_an_index_of_the_same_file(ground, project, venv):
    wrong = {}
    explicit = ground.index + "explicit = true\n"
    list_of_two = """gamma = [
        { index = "house", marker = "sys_platform == 'linux'" },
        { index = "main", marker = "sys_platform == 'win32'" }]"""
    cases = {
        "plain": 'gamma = { index = "house" }\n' + ground.index + ground.main,
        "explicit": 'gamma = { index = "house" }\n' + explicit + ground.main,
        "flat": 'gamma = { index = "flat" }\n' + ground.flat + ground.main,
        "list": f"{list_of_two}\n" + explicit + ground.main,
        "for another platform": "gamma = [{ index = 'house', marker = 'os_name==\"nt\"' }]\n"
        + explicit + ground.main,
        "with a URL beside it": 'six = { index = "main" }\n' + ground.main,
        "unmanaged": 'gamma = { index = "house" }\n[tool.uv]\nmanaged = false\n'
        + explicit + ground.main,
    }  # fmt: skip
    for case, tables in cases.items():
        ground.write(".", ["gamma", "delta", "six"], f"[tool.uv.sources]\n{tables}", name="studio")
        ours, theirs = planned(plan_of(project, venv)), planned_by_uv(project, venv)
        if ours != theirs:
            wrong[case] = ours, theirs
    assert wrong == {}


def test_members_take_sources_indexes_and_settings_from_the_root(ground, venv):
    root = WORKSPACE + SOURCES + SIX + ground.index + "explicit = true\n" + ground.main
    ground.write(".", ["alpha", "gamma"], root, name="studio")
    ground.write("packages/alpha", ["six"])
    ground.write("packages/beta", ["alpha", "gamma", "six"])
    ground.write("packages/own", ["alpha", "gamma"], '[tool.uv.sources]\ngamma = {index="main"}\n')
    ground.write("packages/apart", ["alpha"], "[tool.uv]\npackage = false\n")
    ground.write("packages/out", ["alpha", "gamma"])
    ground.write("nested", ["alpha"])
    named = "[tool.uv.sources]\nalpha = { workspace = '..' }\n" + ground.main
    ground.write("other", ["alpha"], named)
    wrong = {}
    for folder in (".", "packages/beta", "packages/own", "packages/apart", "packages/out",
                   "nested", "other"):  # fmt: skip
        member = ground.member(folder)
        ours, theirs = planned(plan_of(member, venv)), planned_by_uv(member, venv)
        if ours != theirs or not ours:
            wrong[folder] = ours, theirs
    assert wrong == {}


def test_a_member_is_installed_from_its_folder_and_both_agree_afterwards(ground, venv):
    root = WORKSPACE + SOURCES + ground.index + "explicit = true\n" + ground.main
    ground.write(".", [], root, name="studio")
    # What only another member requires comes from the root's index too.
    ground.write("packages/alpha", ["gamma"])
    ground.write("packages/beta", ["alpha"])
    install(venv, make_wheel(ground.root.parent / "old", "alpha", "9.0"))
    member = ground.member("packages/beta")
    environment = environment_of(member, venv)
    assert [r.status for r in environment.look().drift.rows if r.name == "alpha"] == ["mismatch"]
    outcome = reconcile(environment)
    assert (outcome.result, outcome.failed) == (Result.CHANGED, ())
    assert snapshot(venv) == {"alpha": "0.1", "gamma": "1.0"}
    assert environment.look().drift.in_sync
    assert planned_by_uv(member, venv) == {}
    before = environment.look()
    watched = targets_of(environment.config, before)
    assert all(watched.matters(str(file)) for file in before.desired.workspace.files)
    assert ground.root / "packages/alpha/pyproject.toml" in before.desired.workspace.files
    (ground.root / "pyproject.toml").write_text(
        (ground.root / "pyproject.toml").read_text().replace("true }", "true, editable = false }")
    )
    after = environment.look()
    assert after.revision != before.revision
    assert [r.status for r in after.drift.rows] == ["mismatch"]
    assert reconcile(environment).result is Result.CHANGED
    assert planned_by_uv(member, venv) == {}


def test_a_root_without_a_project_has_its_groups(ground, project, venv):
    ground.write("packages/alpha", ["six"])
    (ground.root / "pyproject.toml").write_text(
        '[dependency-groups]\ndev = ["gamma", "alpha"]\n'
        + WORKSPACE
        + SOURCES
        + ground.index
        + ground.main
    )
    ours = planned(plan_of(project, venv, groups=("dev",)))
    assert ours == planned_by_uv(project, venv, "dev")
    assert set(ours) == {"alpha", "gamma", "six"}
    problem = environment_of(project, venv).look().problem
    assert "no [project] table" in problem.reason
    assert "groups" in problem.fix


def test_a_source_that_cannot_be_used_costs_its_requirement_only(ground, project, venv):
    bad = {
        'a = { index = "nowhere" }': "which is not declared",
        "a = { workspace = true }": "no such member",
        'a = { path = "gone" }': "does not exist",
        "a = { }": "exactly one of",
        'a = { index = "house", rev = "x" }': "both `index` and `rev`",
        "a = 3": "must be a table",
    }
    wrong = {}
    install(venv, make_wheel(ground.root.parent / "old", "gamma", "9.0"))
    for entry, words in bad.items():
        source = entry.replace("a =", "gamma =", 1)
        ground.write(".", ["gamma", "delta"], f"[tool.uv.sources]\n{source}\n{ground.index}"
                     + ground.main, name="studio")  # fmt: skip
        outcome = plan_of(project, venv)
        [failure] = outcome.failed or [None]
        row = outcome.snapshot.drift.rows[0]
        place = f"{project.path}:"
        if not (
            failure
            and (failure.name, failure.reason) == ("gamma", Reason.BAD_SOURCE)
            and words in failure.message
            and failure.message.startswith(place)
            and [c.name for c in outcome.plan] == ["delta"]
            and row.status == "failed"
            and outcome.snapshot.problem is None
        ):
            wrong[entry] = outcome.failed, outcome.plan, row
    assert wrong == {}
    # What only uv finds wrong costs no more.
    source = 'gamma = { url = "git+http://127.0.0.1:9/x" }'
    ground.write(".", ["gamma", "delta"], f"[tool.uv.sources]\n{source}\n{ground.main}", "studio")
    outcome = plan_of(project, venv)
    assert [(f.name, f.reason) for f in outcome.failed] == [("gamma", Reason.BAD_SOURCE)]
    assert [change.name for change in outcome.plan] == ["delta"]
    # It is not removed either, and it is healed without an edit once the path is there.
    environment = environment_of(project, venv, prune=True)
    ground.write(".", ["gamma"], f'[tool.uv.sources]\ngamma = {{ path = "gone" }}\n{ground.main}',
                 name="studio")  # fmt: skip
    assert reconcile(environment).result is Result.PARTIAL
    assert snapshot(venv) == {"gamma": "9.0"}
    ground.write("gone", [], name="gamma")
    assert reconcile(environment).result is Result.CHANGED
    assert snapshot(venv) == {"gamma": "0.1"}


def test_a_hold_leaves_a_dependency_its_workspace(ground, project, venv, gpu_wheels):
    # uv-facts 12d: `--no-sources-package` would cost the dependency its workspace.
    install(venv, *gpu_wheels)
    other = ground.root.parent / "other"
    ground.root, kept = other, ground.root
    sources = '[tool.uv.sources]\nbeta = { workspace = true }\ntorch = { index = "down" }\n'
    down = '[[tool.uv.index]]\nname = "down"\nurl = "http://127.0.0.1:9/"\nexplicit = true\n'
    ground.write(".", [], WORKSPACE + sources + down, name="outer")
    ground.write("packages/alpha", ["beta", "torch"])
    ground.write("packages/beta", [])
    ground.root = kept
    path = f'[tool.uv.sources]\nalpha = {{ path = "{other}/packages/alpha" }}\n'
    ground.write(".", ["alpha", "torch"], path + ground.main, name="studio")
    outcome = reconcile(environment_of(project, venv))
    assert outcome.failed == ()
    assert {c.name for c in outcome.changes} == {"alpha", "beta"}
    # A place for torch itself is ignored where it gets in the way.
    ground.root = other
    away = 'torch = { url = "http://127.0.0.1:9/torch-2.9.0-py3-none-any.whl" }\n'
    ground.write("packages/alpha", ["torch"], f"[tool.uv.sources]\n{away}")
    ground.root = kept
    install(venv, make_wheel(kept.parent / "old", "alpha", "9.0"))
    outcome = reconcile(environment_of(project, venv))
    assert outcome.failed == ()
    assert {c.name for c in outcome.changes} == {"alpha"}
