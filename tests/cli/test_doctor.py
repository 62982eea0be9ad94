"""`doctor` finds anything that could get in the way, says how to fix it, and changes nothing."""

import fcntl
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Studio
from tests.cli.test_check import everything
from tests.cli.test_with_service import Running
from tests.support.environments import install, make_venv, site_packages
from tests.support.index import PackageIndex
from tests.support.processes import run_cli
from tests.support.service import Json
from tests.support.torch import fake_torch
from tests.support.wheels import make_wheel

CHECKS = {
    "uv", "builds", "clock", "inotify", "unit", "address", "state", "configuration", "space",
    "interpreter", "writable", "owners", "hard links", "exchange", "installer", "own place",
    "project", "packages", "scripts", "holds", "shared files", "index", "settings",
    "imports",
}  # fmt: skip


def findings(studio: Studio, status: int, check: str) -> list[Json]:
    """What doctor says of one thing."""
    document = studio.json("doctor", status=status)
    assert document["ok"] is (status == 0)
    return [f for f in document["findings"] if f["check"] == check]


def one(studio: Studio, status: int, check: str) -> Json:
    """The one finding of a check that is not well; it comes with a mend."""
    (found,) = [f for f in findings(studio, status, check) if f["verdict"] != "ok"]
    assert found["mend"]
    return found


def test_where_all_is_well_it_says_so_and_changes_nothing(applied: Studio) -> None:
    # The workspace is where links and exchange are tried, so its own time changes.
    before = everything(applied.venv, applied.venv / ".reconciler") | everything(applied.home)

    document = applied.json("doctor")

    assert document["ok"] is True
    found = {f["check"]: f for f in document["findings"]}
    assert found.keys() >= CHECKS
    wrong = [f for f in document["findings"] if f["verdict"] != "ok" and f["check"] != "space"]
    assert wrong == []
    assert found["uv"]["environment"] is None
    assert found["exchange"]["environment"] == "studio"
    after = everything(applied.venv, applied.venv / ".reconciler") | everything(applied.home)
    assert after == before


def test_an_environment_never_seen_is_left_without_a_workspace(studio: Studio) -> None:
    studio.ok("doctor")

    assert not (studio.venv / ".reconciler").exists()


def test_for_people_each_mend_stands_below_its_finding(studio: Studio) -> None:
    studio.project.write_text("[project\n")

    ran = studio.run("doctor")

    assert ran.returncode == 1
    lines = ran.stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("FAIL studio: project: "))
    assert f"{studio.project.path}:1:" in lines[at]
    assert lines[at + 1].startswith("     -> ")
    assert ", 1 problems, " in lines[-1]


def test_a_bad_configuration_is_a_finding_and_the_machine_is_looked_at(studio: Studio) -> None:
    bad = studio.config.read_text().replace("[service]", "[service]\nlog_levle = 'info'")
    studio.config.write_text(bad)

    found = one(studio, 1, "configuration")

    assert found["message"].startswith(f"{studio.config}:2:1: service.log_levle")
    assert 'Did you mean "log_level"?' in found["mend"]
    assert findings(studio, 1, "uv")[0]["verdict"] == "ok"


def test_where_there_is_no_project_the_machine_is_looked_at(tmp_path: Path) -> None:
    ran = run_cli("doctor", cwd=tmp_path)

    assert ran.returncode == 1
    assert f"FAIL configuration: there is no pyproject.toml in {tmp_path}" in ran.stdout
    assert "name it with --pyproject" in ran.stdout
    assert "ok   uv: uv " in ran.stdout


def test_a_uv_that_is_not_there(studio: Studio) -> None:
    text = studio.config.read_text()
    studio.config.write_text(text.replace("[service]", '[service]\nuv = "/nowhere/uv"'))

    assert "/nowhere/uv" in one(studio, 1, "uv")["message"]


def test_a_uv_that_is_too_old(studio: Studio, tmp_path: Path) -> None:
    old = tmp_path / "uv"
    old.write_text("#!/bin/sh\necho uv 0.4.0\n")
    old.chmod(0o755)
    text = studio.config.read_text()
    studio.config.write_text(text.replace("[service]", f'[service]\nuv = "{old}"'))

    assert "too old" in one(studio, 1, "uv")["message"]


def test_a_file_from_the_future(studio: Studio) -> None:
    later = time.time() + 7200
    os.utime(studio.project.path, (later, later))

    assert "120 minutes later" in one(studio, 0, "clock")["message"]


def test_an_interpreter_that_does_not_start(studio: Studio) -> None:
    python = studio.venv / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python")

    assert "does not start" in one(studio, 1, "interpreter")["message"]


def test_an_environment_that_is_not_there_yet_is_no_problem(studio: Studio, tmp_path: Path) -> None:
    studio.configure(python=str(tmp_path / "later"))

    (found,) = findings(studio, 0, "interpreter")

    assert "the first pass creates it" in found["message"]


def test_another_uv_at_work(studio: Studio) -> None:
    with (studio.venv / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        assert "another uv" in one(studio, 0, "installer")["message"]
        assert findings(studio, 0, "index") == []  # it would only wait for that one


def test_an_index_that_is_down(studio: Studio, small: PackageIndex) -> None:
    studio.declare("alpha")
    small.down()

    found = one(studio, 1, "index")

    assert "alpha" in found["message"]
    assert "proxies" in found["mend"]


def test_an_index_is_asked_though_the_answer_is_cached(studio: Studio, small: PackageIndex) -> None:
    studio.declare("alpha")
    studio.ok("plan")
    small.fail(500)

    assert findings(studio, 1, "index")[0]["verdict"] == "problem"


def test_each_index_that_is_named_is_asked(
    studio: Studio, make_index: Callable[..., PackageIndex]
) -> None:
    other = make_index()
    studio.project.write(
        ["alpha", "special"],
        extra=f"""
            [[tool.uv.index]]
            name = "other"
            url = "{other.url}"
            explicit = true

            [tool.uv.sources]
            special = {{ index = "other" }}
        """,
    )
    other.down()

    said = findings(studio, 1, "index")

    assert [f["verdict"] for f in said] == ["ok", "problem"]
    assert "index other" in said[1]["message"]


def test_what_does_not_count_is_named_here_and_in_check(studio: Studio) -> None:
    text = studio.project.text(["alpha"], extra="[tool.uv.pip]\nno-deps = true\n")
    studio.project.write_text(text.replace("[project]", "[project]\nrequires-python = '>=3.99'", 1))

    found = [f for f in findings(studio, 0, "settings") if f["verdict"] != "ok"]

    assert [f["verdict"] for f in found] == ["warning", "warning"]
    assert "requires Python >=3.99" in found[0]["message"]
    assert "`no-deps` in [tool.uv.pip]" in found[1]["message"]
    warnings = studio.json("check", status=2)["warnings"]
    assert warnings == [f"{f['message']}. {f['mend']}" for f in found]
    shown = studio.run("check", "--quiet", UV_TORCH_BACKEND="cpu")
    assert shown.returncode == 2
    assert (
        "the variable `UV_TORCH_BACKEND` does not"
        in studio.run("check", UV_TORCH_BACKEND="cpu").stdout
    )


def test_two_packages_that_own_one_file(studio: Studio, tmp_path: Path) -> None:
    for name in ("opencv-python", "opencv-python-headless"):
        files = {"cv2/__init__.py": f'BUILD = "{name}"\n', "cv2/data.txt": "the same\n"}
        install(studio.venv, make_wheel(tmp_path, name, "4.10.0", files=files))

    found = one(studio, 1, "shared files")

    assert "opencv-python and opencv-python-headless both own a file" in found["message"]
    assert "cv2/__init__.py" in found["message"]


def test_two_packages_that_agree_on_a_file_are_no_problem(studio: Studio, tmp_path: Path) -> None:
    for name in ("one", "two"):
        files = {"tests/__init__.py": "", f"{name}.py": f"# {name}\n"}
        install(studio.venv, make_wheel(tmp_path, name, "1.0", files=files))

    assert [f["verdict"] for f in findings(studio, 0, "shared files")] == ["ok"]


def test_a_broken_package(applied: Studio) -> None:
    (site_packages(applied.venv) / "alpha" / "__init__.py").unlink()

    found = one(applied, 1, "packages")

    assert "alpha is broken" in found["message"]
    assert "`reconciler apply`" in found["mend"]


def test_an_environment_that_was_moved(applied: Studio, tmp_path: Path) -> None:
    moved = applied.venv.rename(tmp_path / "moved")
    applied.configure(python=str(moved))

    found = one(applied, 1, "scripts")

    assert f"was moved from {applied.venv}" in found["message"]
    assert found["mend"].startswith("Move it back")
    shown = applied.ok("check")
    assert shown.count(str(applied.venv)) == 1


def test_a_replaced_hold(applied: Studio, tmp_path: Path) -> None:
    install(applied.venv, fake_torch(tmp_path, "2.8.0"))

    found = findings(applied, 1, "holds")

    assert "replaced by 2.8.0" in found[0]["message"]
    assert "`reconciler hold restore torch`" in found[0]["mend"]


def test_what_is_bound_to_the_gpu_build_and_not_held(studio: Studio, tmp_path: Path) -> None:
    install(studio.venv, make_wheel(tmp_path, "torchaudio", "2.3.1+rocm5.7"))

    found = one(studio, 0, "companions")

    assert "torchaudio 2.3.1+rocm5.7 is installed and not held" in found["message"]
    studio.configure(hold=["torch", "torchvision", "torchaudio"])
    assert findings(studio, 0, "companions") == []


def test_a_journal_of_a_newer_version_and_a_damaged_one(applied: Studio) -> None:
    journal = applied.home / "state" / "journal.sqlite3"
    with sqlite3.connect(journal) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    found = one(applied, 1, "state")

    assert "was written by a newer Reconciler (schema 99)" in found["message"]
    assert found["mend"] == "Use that version, or move the file away."

    journal.write_bytes(b"no database" * 1000)
    assert "damaged" in one(applied, 0, "state")["message"]


def test_an_address_that_is_taken(studio: Studio) -> None:
    text = studio.config.read_text()
    listen = f'listen = "unix:{studio.socket}"'
    studio.config.write_text(text.replace(listen, 'listen = "192.0.2.1:80"\ntoken_file = "t"'))

    assert "cannot listen on 192.0.2.1:80" in one(studio, 1, "address")["message"]


def test_a_token_that_others_may_read(studio: Studio) -> None:
    token = studio.home / "token"
    token.write_text("a-token-of-the-tests\n")
    token.chmod(0o644)
    text = studio.config.read_text()
    studio.config.write_text(text.replace("[http]", f'[http]\ntoken_file = "{token}"'))

    assert f"chmod 600 {token}" in one(studio, 1, "token")["mend"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's service must distrust others' files")
def test_a_project_that_others_may_write(studio: Studio) -> None:
    studio.project.path.chmod(0o666)

    assert "writable by everyone" in one(studio, 1, "permissions")["message"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_environment_of_somebody_else(gpu_wheels: list[Path]) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from reconciler.doctor import place\n"
        "from reconciler.environment.interpreter import inspect\n"
        "interpreter = inspect(Path(sys.argv[1], 'bin', 'python'))\n"
        "os.setresuid(65534, 65534, 65534)\n"
        "for finding in (place.check_writable(interpreter), place.check_owners(interpreter),\n"
        "                *place.check_file_system(interpreter)):\n"
        "    print(finding.check, finding.verdict)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        venv = make_venv(Path(folder, "env"))
        install(venv, gpu_wheels[0])
        ran = subprocess.run(
            [sys.executable, "-c", code, venv],
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
            capture_output=True, text=True, check=True,
        )  # fmt: skip

    assert ran.stdout.splitlines() == [
        "writable problem", "owners warning", "workspace problem",
    ]  # fmt: skip


def test_a_service_that_runs_is_named(applied: Studio) -> None:
    running = Running(applied)
    (found,) = findings(applied, 0, "address")
    running.end()

    assert f"process {running.process.pid}" in found["message"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_file_system(studio: Studio, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60m,nr_inodes=500,mode=700", "tmpfs", small],
        check=False, capture_output=True,
    )  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip("this machine does not let us mount")
    try:
        studio.configure(python=str(small / "env"))
        studio.declare(base=())
        studio.ok("apply")
        document = studio.json("doctor", status=1)
    finally:
        subprocess.run(["umount", small], check=True)
    verdicts = {
        (f["check"], f["verdict"]) for f in document["findings"] if f["environment"] == "studio"
    }
    assert ("space", "problem") in verdicts
    assert ("inodes", "problem") in verdicts
