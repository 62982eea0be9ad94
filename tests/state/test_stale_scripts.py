"""A script whose interpreter is gone shows; so does an environment that was moved, once."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from reconciler.state.installed import InstalledReader
from reconciler.state.scripts import interpreter_of
from reconciler.state.stale_scripts import Moved, StaleScripts, stale_scripts
from tests.support.environments import install, make_venv, run_uv, site_packages
from tests.support.privileges import run_without_powers
from tests.support.wheels import make_wheel

GONE = "/gone/.venv/bin/python"
BUILDER = "/builder/bin/python"
NO_TEXT = os.fsdecode(b"/gone/\xff/python")
NOT_PYTHON = b"#!/gone/bin/perl\n"
BESIDE = b"""#!/bin/sh\n'''exec' "$(dirname -- "$(realpath -- "$0")")"/"""

FORMS = {
    b"#!/gone/.venv/bin/python\n": GONE,
    b"#! /gone/.venv/bin/python -I\n": GONE,
    b"#!/gone/.venv/bin/python\r\n": GONE,
    b"#!/gone/.venv/bin/python": GONE,
    b"#!/it's/bin/python3.11\n": "/it's/bin/python3.11",
    b"#!/bin/sh\n'''exec' '/a b/bin/python' \"$0\" \"$@\"\n' '''\n": "/a b/bin/python",
    b"#!/bin/sh\n'''exec' \"/a b/bin/python\" \"$0\" \"$@\"\n' '''\n": "/a b/bin/python",
    b"#!/bin/sh\n'''exec' /long/bin/pypy3 \"$0\" \"$@\"\n' '''\n": "/long/bin/pypy3",
    b"#!/bin/sh\n'''exec' '/it'\"'\"'s/bin/python' \"$0\" \"$@\"\n": "/it's/bin/python",
    BESIDE + b"'python' \"$0\" \"$@\"\n' '''\n": "HERE/python",
    BESIDE + b"'../../python' \"$0\" \"$@\"\n' '''\n": "HERE/../../python",
    BESIDE + b"'/gone/bin/python' \"$0\" \"$@\"\n' '''\n": "HERE/gone/bin/python",
    BESIDE + b"'python": None,
    b"#!/bin/sh\n'''exec' 'no end\n": None,
    b"#!/usr/bin/env python\n": None,
    b"#!/bin/sh\necho python\n": None,
    b"#!python\n": None,
    b"#!\n": None,
    b"#!": None,
    b"": None,
    b"\x7fELF/bin/python": None,
    b"#!/\xff\xfe/python\n": os.fsdecode(b"/\xff\xfe/python"),
    NOT_PYTHON: None,
}


def test_every_form_of_a_script_names_its_interpreter(tmp_path):
    script = tmp_path / "script"
    wrong = []
    for content, meant in FORMS.items():
        script.write_bytes(content)
        expected = os.path.normpath(meant.replace("HERE", str(tmp_path))) if meant else None
        if interpreter_of(script) != expected:
            wrong.append((content, interpreter_of(script), expected))
    assert wrong == []
    assert interpreter_of(tmp_path / "none") is None


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("wheels")
    tools = [make_wheel(folder, n, "1.0", scripts={n: f"{n}:main"}) for n in ("one", "two", "six")]
    raw = {"own": "#!python\n", "foreign": f"#!{BUILDER}\n", "perl": NOT_PYTHON}
    return [*tools, make_wheel(folder, "raw", "1.0", raw_scripts=raw)]


@pytest.fixture(scope="module")
def made(tmp_path_factory, wheels) -> Path:
    venv = make_venv(tmp_path_factory.mktemp("made").resolve() / "venv")
    install(venv, *wheels)
    return venv


def found(venv: Path) -> StaleScripts:
    prefix = venv.resolve()
    installed = InstalledReader([site_packages(prefix)]).read()
    return stale_scripts(installed, prefix / "bin", prefix)


def restart(venv: Path, *names: str, by: str = GONE) -> None:
    """Let scripts begin with another interpreter, in a file of their own."""
    for name in names:
        script = venv / "bin" / name
        _, rest = script.read_text().split("\n", 1)
        script.unlink()
        script.write_bytes(os.fsencode(f"#!{by}\n{rest}"))


def copy(venv: Path, to: Path) -> Path:
    return shutil.copytree(venv, to, symlinks=True)


def test_scripts_of_a_package_whose_interpreter_is_gone(made):
    """What a wheel brings itself would be the same after a reinstall: no defect."""
    assert found(made) == StaleScripts()
    rows = {
        "one script": (("one",), GONE, {"one": "one"}),
        "of two packages": (("one", "own"), GONE, {"one": "one", "raw": "own"}),
        "a raw one, by another Python": (("own",), GONE, {}),
        "an interpreter of its own, gone": (("own",), f"{made}/bin/python9", {"raw": "own"}),
        "bytes that are no text": (("one",), NO_TEXT, {"one": "one"}),
        "no Python": (("one",), "/gone/bin/node", {}),
        "a Python that is there": (("one", "two"), sys.executable, {}),
    }
    wrong = []
    for case, (names, by, expected) in rows.items():
        saved = {name: (made / "bin" / name).read_bytes() for name in names}
        restart(made, *names, by=by)
        now = found(made)
        shown = by.replace("\udcff", "\N{REPLACEMENT CHARACTER}")
        said = {
            n: f"its script {s} starts {shown}, which does not exist" for n, s in expected.items()
        }
        if now != StaleScripts(said):
            wrong.append((case, now))
        for name, content in saved.items():
            (made / "bin" / name).write_bytes(content)
    assert wrong == []


def test_an_environment_that_was_moved_or_copied_is_named_once(made, tmp_path):
    copied = copy(made, tmp_path / "copied")
    assert found(copied) == StaleScripts({}, Moved(str(made), True, 4, 5))

    link = tmp_path / "link"
    link.symlink_to(made)
    assert found(link) == StaleScripts()

    away = made.rename(made.with_name("away"))
    try:
        assert found(copied) == StaleScripts({}, Moved(str(made), False, 4, 5))
        restart(copied, "one")
        broken = {"one": f"its script one starts {GONE}, which does not exist"}
        assert found(copied) == StaleScripts(broken, Moved(str(made), False, 3, 5))

        (away / "bin" / "activate").unlink()  # then most of its scripts tell
        assert found(away) == StaleScripts({}, Moved(str(made), False, 4, 5))
        restart(away, "one", "two", by=sys.executable)
        assert found(away).moved is None
        assert found(away).broken.keys() == {"six", "raw"}
    finally:
        shutil.rmtree(away)


def test_a_relocatable_environment_may_be_moved(wheels, tmp_path):
    venv = tmp_path / "venv"
    run_uv("venv", "--quiet", "--no-project", "--relocatable", str(venv))
    install(venv, *wheels)
    moved = venv.rename(tmp_path / "moved")
    assert found(moved) == StaleScripts()


_LOOK = """
from pathlib import Path
from tests.state.test_stale_scripts import found
print(found(Path(sys.argv[1])))
"""


def test_a_place_that_may_not_be_looked_at_is_not_called_gone(wheels, tmp_path):
    venv = make_venv(tmp_path / "venv")
    install(venv, *wheels)
    hidden = tmp_path / "hidden"
    alias = hidden / "alias"
    hidden.mkdir()
    alias.symlink_to(venv)
    restart(venv, "one", "two", by=f"{alias}/bin/python")
    activate = venv / "bin" / "activate"
    activate.write_text(activate.read_text().replace(str(venv), str(alias)))
    hidden.chmod(0)
    said = run_without_powers(_LOOK, venv)
    hidden.chmod(0o700)

    assert said.returncode == 0, said.stderr
    assert said.stdout.strip() == str(StaleScripts())
