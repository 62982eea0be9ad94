"""Scripts are the ones that uv itself writes into this environment, wherever it is."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from reconciler.holds.conflicts import warnings_of
from reconciler.state.words import message_of
from reconciler.status import Result
from tests.support.environments import assert_whole, dist_infos, install, run_uv, tree_fingerprint
from tests.support.passes import environment_for, reconcile
from tests.support.projects import Project
from tests.support.wheels import make_wheel

WHERE = """\
import sys

def main():
    inside = ".reconciler" in sys.prefix
    print(sys.prefix)
    return int("staged" in sys.argv[1:] and not inside)
"""
ENTRY_POINTS = """\
[console_scripts]
say = tool:main
Say-It.now = tool:main
[gui_scripts]
show = tool:main
"""
RAW = "import sys\nimport tool\nsys.exit(tool.main())\n"
SCRIPTS = {
    "raw": f"#!python\n{RAW}",
    "raw-window": f"#!pythonw\n{RAW}",
    "raw-isolated": f"#!python -I\n{RAW}",
    "raw-windows-lines": "#!python\r\nprint(1)\r\n",
    "raw-only-line": "#!python",
    "by-env": f"#!/usr/bin/env python\n{RAW}",
    "shell": "#!/bin/sh\necho shell\n",
    "binary": b"\x7fELF\x00\x01\xff",
}
RUN = ("say", "raw")

PLACES = ("plain", "with space", "a 'quote' and \"two\"", "it's", "l" * 130)
"""Folders of a project; in the last one, a path is too long for the kernel."""


@pytest.fixture
def tool(tmp_path: Path, index) -> Path:
    files = {"tool.py": WHERE, "tool-1.0.dist-info/entry_points.txt": ENTRY_POINTS}
    wheel = make_wheel(tmp_path / "wheels", "tool", "1.0", files=files, raw_scripts=SCRIPTS,
                       data={"bin/from-data": "#!python\n"})  # fmt: skip
    index.add(wheel)
    return wheel


def make(venv: Path, *options: str) -> None:
    run_uv("venv", "--quiet", "--no-project", "--no-config", *options, str(venv))


def written(venv: Path) -> dict[str, object]:
    """Every file in bin with its mode, except what `uv venv` writes, and their rows in RECORD."""
    own = ("activate", "python", "deactivate", "pydoc")
    rows = (dist_infos(venv, "tool")[0] / "RECORD").read_text().splitlines()
    found: dict[str, object] = {"RECORD": [row for row in rows if "/bin/" in row]}
    for path in sorted((venv / "bin").iterdir()):
        if not path.name.startswith(own):
            found[path.name] = path.read_bytes(), stat.S_IMODE(path.stat().st_mode)
    return found


def prefix_of(script: Path) -> str:
    ran = subprocess.run([script], capture_output=True, text=True, check=False, cwd="/")
    return ran.stdout.strip() or ran.stderr.strip()


@pytest.mark.parametrize("options", [(), ("--relocatable",)], ids=["fixed", "relocatable"])
def test_they_are_uvs_own_byte_for_byte_in_every_place(options, tool, index, tmp_path):
    wrong = []
    for place in PLACES:
        project = Project(tmp_path / place, index.url)
        project.write(["tool"])
        make(project.venv, *options)
        install(project.venv, tool)
        expected = written(project.venv)
        shutil.rmtree(project.venv)

        make(project.venv, *options)
        outcome = reconcile(environment_for(project, verify=tuple((s, "staged") for s in RUN)))

        assert outcome.result is Result.CHANGED, (place, outcome)
        assert_whole(project.venv)
        now = written(project.venv)
        wrong += [
            f"{place}: {n}: {now.get(n)!r}" for n, is_ in expected.items() if now.get(n) != is_
        ]
        prefixes = {name: prefix_of(project.venv / "bin" / name) for name in RUN}
        wrong += [f"{place}: {n}: {p}" for n, p in prefixes.items() if p != str(project.venv)]
    assert wrong == []


def test_a_relocatable_environment_may_be_moved_after_a_pass(tool, project, tmp_path):
    make(project.venv, "--relocatable")
    project.write(["tool"])
    reconcile(environment_for(project))

    moved = project.venv.rename(tmp_path / "moved")

    assert {prefix_of(moved / "bin" / name) for name in RUN} == {str(moved)}


def restart(script: Path, python: str) -> bytes:
    """Let a script begin with another interpreter, and return what it was."""
    before = script.read_bytes()
    script.unlink()
    script.write_bytes(f"#!{python}\n".encode() + before.partition(b"\n")[2])
    script.chmod(0o755)
    return before


def test_a_script_that_does_not_start_is_repaired_but_a_held_one_is_only_named(
    tool, project, tmp_path
):
    make(project.venv)
    torch = make_wheel(tmp_path, "torch", "2.3.1+rocm5.7", scripts={"torchrun": "torch:main"})
    install(project.venv, torch)
    project.write(["tool", "torch"])
    environment = environment_for(project)
    assert reconcile(environment).result is Result.CHANGED
    assert warnings_of(environment.look(audit_files=True), ()) == ()
    say, torchrun = project.venv / "bin" / "say", project.venv / "bin" / "torchrun"
    before = restart(say, "/gone/bin/python")
    restart(torchrun, "/gone/bin/python")
    held = tree_fingerprint(project.venv, "torch")
    assert environment.look().drift.in_sync  # only an audit opens the scripts

    (row,) = environment.look(audit_files=True).drift.drifted
    assert message_of(row) == "its script say starts /gone/bin/python, which does not exist"
    assert reconcile(environment).result is Result.CHANGED

    assert say.read_bytes() == before
    assert tree_fingerprint(project.venv, "torch") == held
    assert reconcile(environment).result is Result.UNCHANGED
    (warning,) = warnings_of(environment.look(audit_files=True), ())
    assert "torch is held, but its script torchrun starts /gone/bin/python" in warning


def test_a_moved_environment_is_named_and_no_package_is_installed_again(tool, project, tmp_path):
    make(project.venv)
    project.write(["tool"])
    reconcile(environment_for(project))
    origin = project.venv
    project.directory.rename(tmp_path / "elsewhere")
    project = Project(tmp_path / "elsewhere", project.index_url)
    before = tree_fingerprint(project.venv)

    environment = environment_for(project)
    outcome = reconcile(environment)

    assert outcome.result is Result.UNCHANGED
    assert tree_fingerprint(project.venv) == before
    (warning,) = warnings_of(outcome.snapshot, ())
    assert f"this environment was moved from {origin}, and 8 of its 8 scripts" in warning
