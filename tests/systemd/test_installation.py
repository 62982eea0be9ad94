"""What installing the service means, decided from real files and owners."""

import os
import pwd
import sys
from pathlib import Path

import pytest

from reconciler.config import ConfigRejected
from reconciler.systemd.installation import CannotInstall, Wanted, plan, running_program


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with an environment, in the current folder; and no configuration."""
    folder = tmp_path / "studio"
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nname = "studio"\nversion = "1"\n')
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def environ(tmp_path):
    return {"HOME": str(tmp_path / "home")}


def configuration(path, **environments):
    tables = [f'[environments.{name}]\npyproject = "{it}"\n' for name, it in environments.items()]
    path.write_text("".join(tables))
    return path


def read_write(installation):
    lines = installation.units[0].text.splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith("ReadWritePaths=")]


def test_a_project_in_the_current_folder_needs_no_configuration(project, environ):
    installation = plan(Wanted(own=True), environ)

    (unit,) = installation.units
    assert unit.path == Path(environ["HOME"]) / ".config/systemd/user/reconciler.service"
    expected = f"run --pyproject {project}/pyproject.toml --python {project}/.venv/bin/python\n"
    assert expected in unit.text
    assert installation.names == ("reconciler.service",)


def test_the_user_s_configuration_comes_before_the_project(project, environ):
    config = Path(environ["HOME"]) / ".config/reconciler/config.toml"
    config.parent.mkdir(parents=True)
    configuration(config, studio=project)

    (unit,) = plan(Wanted(own=True), environ).units

    assert f"run --config {config}\n" in unit.text


def test_nothing_to_look_after_is_said_with_what_to_do(tmp_path, monkeypatch, environ):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(
        CannotInstall, match=r"no configuration, and no pyproject.toml or requirements.txt here"
    ):
        plan(Wanted(own=True), environ)


def test_a_bad_configuration_is_not_installed(tmp_path, environ):
    config = tmp_path / "config.toml"
    config.write_text("[environments.studio]\npyproject = 3\n")

    with pytest.raises(ConfigRejected, match=r"environments\.studio\.pyproject"):
        plan(Wanted(config=config), environ)


def test_an_environment_that_is_not_there_yet_can_be_made(project, tmp_path, environ):
    """Its folder cannot be a mount: the one above it is made writable."""
    (project / ".venv/bin").rmdir()
    (project / ".venv").rmdir()
    config = configuration(tmp_path / "config.toml", studio=project)

    assert read_write(plan(Wanted(config=config), environ)) == [f"-{project}"]


def test_a_link_to_an_environment_is_made_writable_where_it_leads(project, tmp_path, environ):
    (project / ".venv").rename(tmp_path / "elsewhere")
    (project / ".venv").symlink_to(tmp_path / "elsewhere")
    config = configuration(tmp_path / "config.toml", studio=project)

    assert read_write(plan(Wanted(config=config), environ)) == [f"-{tmp_path}/elsewhere"]


def test_state_and_socket_elsewhere_are_writable_too(project, tmp_path, environ):
    config = configuration(tmp_path / "config.toml", studio=project)
    extra = f'[service]\nstate_dir = "{tmp_path}/state"\n[http]\nlisten = "unix:/srv/run/http"\n'
    config.write_text(extra + config.read_text())

    paths = read_write(plan(Wanted(config=config), environ))

    assert paths == [f"-{project}/.venv", f"-{tmp_path}/state", "-/srv/run"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_the_service_runs_as_the_owner_of_the_environment(project, tmp_path, environ):
    os.chown(project / ".venv", 65534, 65534)
    config = configuration(tmp_path / "config.toml", studio=project)

    installation = plan(Wanted(config=config), environ)

    assert installation.user.pw_name == "nobody"
    assert "\nUser=nobody\n" in installation.units[0].text


def test_a_user_who_does_not_exist_is_named(project, tmp_path, environ):
    config = configuration(tmp_path / "config.toml", studio=project)

    with pytest.raises(CannotInstall, match=r"no user ghost\. Create it first: `useradd"):
        plan(Wanted(config=config, run_as="ghost"), environ)


def test_a_home_in_the_configuration_is_that_of_the_service_s_user(tmp_path, environ):
    """systemd sets HOME to that of User=, so that is what the service will read."""
    home = pwd.getpwnam("nobody").pw_dir
    config = configuration(tmp_path / "config.toml", studio="~/studio")

    installation = plan(Wanted(config=config, run_as="nobody"), environ)

    assert str(installation.config.environments["studio"].pyproject).startswith(f"{home}/")


def test_a_program_in_uv_s_cache_is_refused(tmp_path, monkeypatch):
    script = tmp_path / "uv/archive-v0/x1y2/bin/reconciler"
    script.parent.mkdir(parents=True)
    script.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])

    with pytest.raises(CannotInstall, match="is in uv's cache"):
        running_program()


def test_the_program_is_the_one_that_runs(tmp_path, monkeypatch):
    script = tmp_path / "bin/reconciler"
    script.parent.mkdir()
    script.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert running_program() == (str(script),)

    monkeypatch.setattr(sys, "argv", ["-m"])
    assert running_program() == (sys.executable, "-m", "reconciler")
