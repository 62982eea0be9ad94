"""Where a project and its environment are, and when two names mean one environment."""

import pwd
from pathlib import Path

import pytest

ROOTS_HOME = pwd.getpwuid(0).pw_dir


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("/srv/studio/pyproject.toml", "/srv/studio/pyproject.toml"),
        ("/srv/studio", "/srv/studio/pyproject.toml"),
        ("~/studio", "/home/alice/studio/pyproject.toml"),
        ("~", "/home/alice/pyproject.toml"),
        (".", "{}/pyproject.toml"),
        ("../x/gpu.toml", "{}/../x/gpu.toml"),
        ("/srv/studio/requirements.txt", "/srv/studio/requirements.txt"),
        ("requirements/gpu.in", "{}/requirements/gpu.in"),
        ("tools/report.py", "{}/tools/report.py"),
        ("~root/x", f"{ROOTS_HOME}/x/pyproject.toml"),
    ],
)
def test_where_the_project_is(read, file, written, expected):
    config = read(f'[environments.a]\npyproject = "{written}"')

    wanted = Path(expected.format(file.parent)).resolve()
    assert config.environments["a"].pyproject == wanted


def test_in_a_folder_the_requirements_count_only_without_a_pyproject(read, file):
    folder = file.parent / "tool"
    folder.mkdir()
    (folder / "requirements.txt").touch()
    text = '[environments.a]\npyproject = "tool"'
    assert read(text).environments["a"].pyproject == folder / "requirements.txt"

    (folder / "pyproject.toml").touch()
    assert read(text).environments["a"].pyproject == folder / "pyproject.toml"


def test_a_folder_that_is_called_like_a_file_is_a_folder(read, file):
    (file.parent / "odd.toml").mkdir()

    config = read('[environments.a]\npyproject = "odd.toml"')

    assert config.environments["a"].pyproject == file.parent / "odd.toml/pyproject.toml"


@pytest.mark.parametrize(
    ("written", "python", "root"),
    [
        ("/srv/.venv", "/srv/.venv/bin/python", "/srv/.venv"),
        ("/srv/.venv/", "/srv/.venv/bin/python", "/srv/.venv"),
        ("/srv/.venv/bin/python3.9", "/srv/.venv/bin/python3.9", "/srv/.venv"),
        ("/srv/.venv/bin/python3.13t", "/srv/.venv/bin/python3.13t", "/srv/.venv"),
        ("/opt/pypy/bin/pypy3", "/opt/pypy/bin/pypy3", "/opt/pypy"),
        ("/srv/bin/python-envs", "/srv/bin/python-envs/bin/python", "/srv/bin/python-envs"),
        ("~/envs/python3", "/home/alice/envs/python3/bin/python", "/home/alice/envs/python3"),
    ],
)
def test_an_environment_is_a_folder_or_an_interpreter(studio, written, python, root):
    environment = studio(f'python = "{written}"')

    assert environment.python == Path(python)
    assert environment.root == Path(root)


def test_an_interpreter_of_any_name_is_known_by_being_a_file(studio, file):
    interpreter = file.parent / "bin" / "snake"
    interpreter.parent.mkdir()
    interpreter.touch()

    assert studio(f'python = "{interpreter}"').python == interpreter


def test_a_symlinked_interpreter_is_not_resolved(studio, file):
    (file.parent / "env/bin").mkdir(parents=True)
    (file.parent / "env/bin/python").symlink_to("/bin/true")

    assert studio('python = "env"').python == file.parent / "env/bin/python"


def test_one_environment_under_two_names_is_refused(problems, file):
    (file.parent / "env").mkdir()
    (file.parent / "link").symlink_to("env")

    text = """
[environments.a]
pyproject = "a"
python = "env"
[environments.b]
pyproject = "b"
python = "link/bin/python3"
"""
    message = (
        f"7:1: environments.b.python: {file.parent}/link is already managed as environments.a"
        ". Name another environment, or remove one of the two tables."
    )
    assert problems(text) == [message]


def test_two_interpreters_beside_each_other_are_two_environments(read, file):
    bin_folder = file.parent / "usr/bin"
    bin_folder.mkdir(parents=True)
    for name in ("python3.9", "python3.11"):
        (bin_folder / name).touch()

    config = read("""
[environments.old]
pyproject = "a"
python = "usr/bin/python3.9"
[environments.new]
pyproject = "b"
python = "usr/bin/python3.11"
""")

    assert list(config.environments) == ["old", "new"]
