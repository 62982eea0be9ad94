"""What is said, and not retried, if we see drift about which uv has nothing to do."""

import os
from pathlib import Path

from reconciler.daemon.watched import targets_of
from reconciler.passes.agreement import disagreements, only_disagreements
from reconciler.status import Reason, Result
from tests.support.environments import site_packages
from tests.support.local_project import write_local_project
from tests.support.passes import environment_for, reconcile


def local(project, tmp_path: Path) -> Path:
    folder = write_local_project(tmp_path / "thing", "thing")
    source = f'[tool.uv.sources]\nthing = {{ path = "{folder}", editable = true }}\n'
    project.write_text(project.text(["thing"]) + source)
    return folder


def test_drift_that_stays_the_same_is_named_and_what_changed_meanwhile_is_not(
    project, venv, tmp_path
):
    folder = local(project, tmp_path)
    environment = environment_for(project)
    before = environment.look()

    [failure] = disagreements(before, before)

    assert (failure.name, failure.reason) == ("thing", Reason.DISAGREEMENT)
    assert "not installed; but uv has nothing to do" in failure.message
    assert only_disagreements([failure])
    assert not only_disagreements([])
    project.write(["other"])
    assert disagreements(before, environment.look()) == ()
    assert folder.is_dir()


def test_a_changed_local_project_is_reinstalled_and_then_in_sync(project, venv, tmp_path):
    folder = local(project, tmp_path)
    environment = environment_for(project)
    assert reconcile(environment).result is Result.CHANGED
    os.utime(folder / "pyproject.toml")
    [row] = environment.look().drift.drifted
    assert row.name == "thing"
    write_local_project(folder, "thing", "2.0")

    outcome = reconcile(environment)

    assert (outcome.result, outcome.failed) == (Result.CHANGED, ())
    assert outcome.snapshot.drift.in_sync
    assert list(site_packages(venv).glob("thing-2.0.dist-info"))
    assert reconcile(environment).result is Result.UNCHANGED


def test_the_files_that_decide_about_a_local_project_are_watched(project, venv, tmp_path):
    folder = local(project, tmp_path)
    environment = environment_for(project)
    reconcile(environment)

    targets = targets_of(environment.config, environment.look())

    assert targets.matters(str(folder / "pyproject.toml"))
    assert targets.matters(str(folder / "setup.py"))
    assert not targets.matters(str(folder / "content.py"))
    assert folder in targets.folders
