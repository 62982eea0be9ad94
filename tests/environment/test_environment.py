"""Looking at an environment: what has changed is seen, what is bad changes nothing."""

import os
import sys
from pathlib import Path

import pytest

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from reconciler.environment.interpreter import InterpreterError
from tests.support.environments import install, make_venv, pythons, site_packages, uninstall
from tests.support.projects import Project
from tests.support.wheels import make_wheel


@pytest.fixture
def environment(project: Project, venv: Path, tmp_path: Path) -> Environment:
    return make(project, tmp_path)


def make(project: Project, tmp_path: Path, **settings: object) -> Environment:
    """A service's view of the environment, with a user of its own."""
    config = EnvironmentConfig(
        name="studio", pyproject=project.path, python=project.venv / "bin" / "python", **settings
    )
    home = tmp_path / "user"
    return Environment(config, {**os.environ, "XDG_CONFIG_HOME": str(home)})


def user_settings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "user" / "uv" / "uv.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def declared(environment: Environment) -> list[str]:
    snapshot = environment.look()
    return [d.text for d in snapshot.desired.requirements] if snapshot.desired else ["nothing"]


# What has changed is seen


def test_looking_again_at_an_unchanged_environment_is_the_same_look(environment, project):
    project.write(["six"])
    assert environment.look() is environment.look()
    assert environment.look(refresh=True) is not environment.look(refresh=True)


def test_a_file_that_was_only_touched_declares_the_same(environment, project):
    project.write(["six"])
    before = environment.look().desired
    os.utime(project.path)
    assert environment.look().desired is before
    project.save(["six"])
    assert environment.look().desired is before


def test_an_edit_is_seen_in_place_by_rename_and_through_a_link(environment, project, tmp_path):
    project.write(["one"])
    assert declared(environment) == ["one"]
    project.write(["two"])
    assert declared(environment) == ["two"]
    project.save(["three"])
    assert declared(environment) == ["three"]
    for name in ("four", "five"):
        (tmp_path / name).write_text(project.text([name]))
        project.path.unlink()
        project.path.symlink_to(tmp_path / name)
        assert declared(environment) == [name]


def test_an_installation_and_a_removal_are_seen(environment, project, venv, tmp_path):
    project.write(["thing"])
    assert [r.status for r in environment.look().drift.rows] == ["missing"]
    install(venv, make_wheel(tmp_path, "thing", "1.0"))
    assert [r.status for r in environment.look().drift.rows] == ["ok"]
    uninstall(venv, "thing")
    assert [r.status for r in environment.look().drift.rows] == ["missing"]


def test_a_missing_file_is_seen_by_an_audit_only_and_remembered(
    environment, project, venv, tmp_path
):
    project.write(["thing"])
    install(venv, make_wheel(tmp_path, "thing", "1.0"))
    (site_packages(venv) / "thing" / "__init__.py").unlink()
    assert environment.look().drift.in_sync
    assert environment.audited_at is None
    assert [r.status for r in environment.look(audit_files=True).drift.rows] == ["broken"]
    assert environment.audited_at is not None
    assert [r.status for r in environment.look().drift.rows] == ["broken"]
    environment.forget_broken(["thing"])
    assert environment.look().drift.in_sync


def test_another_interpreter_in_the_same_place_is_seen(environment, project, venv, tmp_path):
    others = [short for short in pythons() if short != f"3.{sys.version_info.minor}"]
    if not others:
        pytest.skip("no second Python here")
    project.write([f"thing; python_version == '{others[0]}'"])
    assert environment.look().drift.rows == ()
    venv.rename(tmp_path / "away")
    make_venv(venv, others[0])
    snapshot = environment.look()
    assert [r.name for r in snapshot.drift.rows] == ["thing"]
    assert snapshot.interpreter.markers["python_version"] == others[0]


def test_the_users_uv_settings_are_read_anew_when_they_change(environment, project, tmp_path):
    # Else a mended index address would be used only after the next edit of the project.
    project.write(["thing"])
    assert "extra-index-url" not in environment.look().settings
    user_settings(tmp_path, 'extra-index-url = ["http://127.0.0.1:9/one"]')
    assert environment.look().settings["extra-index-url"] == ["http://127.0.0.1:9/one"]
    user_settings(tmp_path, 'extra-index-url = ["http://127.0.0.1:9/three"]')
    assert environment.look().settings["extra-index-url"] == ["http://127.0.0.1:9/three"]


# What is bad changes nothing


@pytest.mark.parametrize("bad", ["", "[[[", "[project]\ndependencies = ['=>']\n", "[tool.x]\n"])
def test_a_bad_file_leaves_the_last_good_state_in_force(environment, project, bad):
    project.write(["one"])
    before = environment.look()
    project.write_text(bad)
    snapshot = environment.look()
    assert snapshot.desired is before.desired
    assert snapshot.revision == before.revision
    assert snapshot.problem.file == str(project.path)
    project.write(["two"])
    assert declared(environment) == ["two"]
    assert environment.look().problem is None


def test_a_file_that_goes_and_comes_back(environment, project):
    project.write(["one"])
    environment.look()
    project.path.unlink()
    snapshot = environment.look()
    assert "does not exist" in snapshot.problem.reason
    assert declared(environment) == ["one"]
    project.path.symlink_to("nowhere")
    assert "does not exist" in environment.look().problem.reason
    project.path.unlink()
    project.write(["two"])
    assert declared(environment) == ["two"]


def test_the_last_good_state_outlives_the_process(environment, project, tmp_path):
    project.write(["one"])
    environment.workspace.create()
    environment.remember_good(environment.look())
    project.write_text("[[[")
    next_process = make(project, tmp_path)
    snapshot = next_process.look()
    assert declared(next_process) == ["one"]
    assert snapshot.problem.line == 1
    next_process.remember_good(snapshot)
    assert declared(make(project, tmp_path)) == ["one"]


def test_the_last_good_state_keeps_its_revision_whatever_its_line_ends(
    environment, project, tmp_path
):
    project.path.write_bytes(project.text(["one"]).replace("\n", "\r\n").encode())
    environment.workspace.create()
    snapshot = environment.look()
    environment.remember_good(snapshot)
    project.write_text("[[[")
    assert make(project, tmp_path).look().revision == snapshot.revision


def test_what_is_saved_after_the_look_is_not_taken_for_good(environment, project, tmp_path):
    project.write(["one"])
    environment.workspace.create()
    snapshot = environment.look()
    project.write_text("[[[")
    environment.remember_good(snapshot)
    assert make(project, tmp_path).look().desired is None


def test_a_file_that_never_was_good_declares_nothing(environment, project):
    project.write_text("[[[")
    snapshot = environment.look()
    assert snapshot.desired is None
    assert snapshot.drift.rows == ()
    assert snapshot.problem.line == 1


def test_what_is_no_file_or_too_large_is_refused(environment, project):
    project.path.mkdir()
    assert "not a regular file" in environment.look().problem.reason
    project.path.rmdir()
    project.write_text("# " + "x" * (4 << 20) + "\n")
    assert "larger than 4 MiB" in environment.look().problem.reason
    os.truncate(project.path, 0)
    os.mkfifo(project.directory / "fifo")
    project.path.unlink()
    project.path.symlink_to("fifo")
    assert "not a regular file" in environment.look().problem.reason


def test_a_project_for_another_python_is_followed_with_a_warning(environment, project):
    text = project.text(["one"]).replace("[project]", '[project]\nrequires-python = ">=3.99"', 1)
    project.write_text(text)
    snapshot = environment.look()
    assert snapshot.problem is None
    assert [row.name for row in snapshot.drift.rows] == ["one"]
    (caution,) = snapshot.cautions
    assert f"{project.path} requires Python >=3.99, but the environment has" in caution.message
    assert str(project.venv.resolve()) in caution.fix


def test_bad_uv_settings_leave_the_last_good_ones_in_force(environment, project, tmp_path):
    # Without them packages would come from somewhere else than the user wants.
    project.write(["thing"])
    user_settings(tmp_path, 'extra-index-url = ["http://127.0.0.1:9/mine"]')
    good = environment.look()
    user_settings(tmp_path, "extra-index-url = [")
    snapshot = environment.look()
    assert snapshot.problem.file == str(tmp_path / "user" / "uv" / "uv.toml")
    assert snapshot.problem.line is not None
    assert snapshot.settings == good.settings
    assert snapshot.desired is good.desired


def test_uv_settings_that_never_were_good_stop_everything(environment, project, tmp_path):
    project.write(["thing"])
    user_settings(tmp_path, "extra-index-url = [")
    snapshot = environment.look()
    assert snapshot.problem is not None
    assert snapshot.desired is None
    user_settings(tmp_path, "")
    assert declared(environment) == ["thing"]


# The interpreter


def test_without_an_interpreter_there_is_nothing_to_look_at(project, tmp_path):
    project.write(["thing"])
    environment = make(project, tmp_path)
    assert not environment.exists
    with pytest.raises(InterpreterError, match="does not start") as caught:
        environment.look()
    assert caught.value.fix.endswith(".")
    make_venv(project.venv)
    assert environment.look().interpreter.is_venv


def test_an_interpreter_that_does_not_answer_is_told(project, tmp_path):
    project.write(["thing"])
    python = project.venv / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho hello\n")
    python.chmod(0o755)
    with pytest.raises(InterpreterError, match="does not behave like Python"):
        make(project, tmp_path).look()
    python.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    with pytest.raises(InterpreterError, match="broken"):
        make(project, tmp_path).look()
