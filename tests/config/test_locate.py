"""Which configuration applies, and where state is kept."""

from pathlib import Path

import pytest

from reconciler.config import find, for_project
from reconciler.config.locate import default_state_dir


@pytest.fixture
def places(tmp_path):
    """A user's and a machine's configuration, neither of which exists yet."""
    user = tmp_path / "home/.config/reconciler/config.toml"
    system = tmp_path / "etc/config.toml"
    for file in (user, system):
        file.parent.mkdir(parents=True)
    return {"HOME": str(tmp_path / "home")}, user, system


def test_without_any_file_there_is_no_configuration(places):
    env, _, system = places

    assert find(None, env, system=system) is None


def test_the_machine_has_one(places):
    env, _, system = places
    system.touch()

    assert find(None, env, system=system) == system


def test_the_users_comes_before_the_machines(places):
    env, user, system = places
    user.touch()
    system.touch()

    assert find(None, env, system=system) == user


@pytest.mark.parametrize(("value", "used"), [("/xdg", True), ("relative", False), ("", False)])
def test_xdg_config_home_counts_if_it_is_absolute(places, tmp_path, value, used):
    env, user, system = places
    user.touch()
    xdg = tmp_path / "xdg/reconciler/config.toml"
    xdg.parent.mkdir(parents=True)
    xdg.touch()

    given = f"{tmp_path}{value}" if value.startswith("/") else value
    found = find(None, {**env, "XDG_CONFIG_HOME": given}, system=system)

    assert found == (xdg if used else user)


def test_a_named_one_is_taken_though_it_does_not_exist(places, monkeypatch, tmp_path):
    env, user, system = places
    user.touch()
    monkeypatch.chdir(tmp_path)

    assert find(Path("my.toml"), env, system=system) == tmp_path / "my.toml"


@pytest.mark.parametrize(
    ("env", "uid", "expected"),
    [
        ({"STATE_DIRECTORY": "/run/a:/run/b", "HOME": "/h"}, 0, "/run/a"),
        ({"STATE_DIRECTORY": "/run/a", "HOME": "/h"}, 1000, "/run/a"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/x"}, 0, "/var/lib/reconciler"),
        ({"HOME": "/h"}, 1000, "/h/.local/state/reconciler"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/x"}, 1000, "/x/reconciler"),
        ({"HOME": "/h", "XDG_STATE_HOME": "x", "STATE_DIRECTORY": ""}, 1000,
         "/h/.local/state/reconciler"),
    ],
)  # fmt: skip
def test_where_state_is_kept(env, uid, expected):
    assert default_state_dir(env, uid=uid) == Path(expected)


def test_a_project_needs_no_configuration(tmp_path):
    project = tmp_path / "My Studio"

    config = for_project(project, None, {"STATE_DIRECTORY": "/state"})

    assert config.path is None
    assert config.service.state_dir == Path("/state")
    (environment,) = config.environments.values()
    assert list(config.environments) == [environment.name] == ["My-Studio"]
    assert environment.pyproject == project / "pyproject.toml"
    assert environment.python == project / ".venv/bin/python"
    assert environment.hold == ("torch", "torchvision")


def test_the_active_environment_is_that_of_the_project(tmp_path):
    config = for_project(tmp_path / "pyproject.toml", None, {"VIRTUAL_ENV": "/srv/venv"})

    assert config.environments[tmp_path.name].python == Path("/srv/venv/bin/python")


def test_a_named_environment_comes_before_the_active_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    config = for_project(
        Path("pyproject.toml"), Path("../env/bin/python3.9"), {"VIRTUAL_ENV": "/srv/venv"}
    )

    (environment,) = config.environments.values()
    assert environment.pyproject == tmp_path / "pyproject.toml"
    assert environment.python == tmp_path.parent / "env/bin/python3.9"


@pytest.mark.parametrize(
    ("folder", "name"),
    [("studio", "studio"), (".dotfiles", "dotfiles"), ("ünï", "n"), ("/", "default")],
)
def test_the_name_is_that_of_the_folder(tmp_path, folder, name):
    assert list(for_project(tmp_path / folder, None, {}).environments) == [name]
