"""`check` says whether the environment is as declared, and changes nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import Studio
from tests.support.environments import install, make_venv, site_packages, uninstall
from tests.support.index import PackageIndex
from tests.support.torch import fake_torch

KEYS = {
    "environment", "pyproject", "python", "revision", "in_sync", "packages", "holds", "warnings",
    "problem",
}  # fmt: skip


def everything(folder: Path, but: Path | None = None) -> set[str]:
    """Every path below a folder (but one), with what tells that it was written to."""
    return {
        f"{path} {path.lstat().st_mtime_ns} {path.lstat().st_ino}"
        for path in folder.rglob("*")
        if path.suffix != ".pyc" and path.name != "__pycache__" and path != but
    }


def test_in_sync_is_0_and_the_json_document_has_just_these_fields(applied: Studio) -> None:
    ran = applied.run("check")

    assert ran.returncode == 0
    assert ran.stdout == "studio is in sync: 3 of 3 requirements satisfied, 3 held.\n"
    assert ran.stderr == ""
    assert "alpha        <2" in applied.ok("check", "--verbose"), "every package"

    document = applied.json("check")

    assert document.keys() == KEYS
    assert document["environment"] == "studio"
    assert document["pyproject"] == str(applied.project.path)
    assert document["python"] == str(applied.venv / "bin" / "python")
    assert document["in_sync"] is True
    assert document["problem"] is None
    assert {row["name"]: row["status"] for row in document["packages"]} == {
        "torch": "held", "torchvision": "held", "alpha": "ok",
    }  # fmt: skip
    assert [(h["name"], h["intact"], h["vaulted"]) for h in document["holds"]] == [
        ("torch", True, True), ("torchvision", True, True), ("pytorch-triton-rocm", True, True),
    ]  # fmt: skip


def test_holds_that_were_there_are_missed_without_a_service(applied: Studio) -> None:
    """All commands that only look say so, and leave the journal as it is."""
    studio = applied
    gone = "torch 2.3.1+rocm5.7 has been removed"
    before = everything(studio.home)

    def unsaid() -> dict[tuple[str, ...], str]:
        words = {("check",): 2, ("hold", "list"): 2, ("doctor",): 1}
        ran = {command: studio.run(*command) for command in words}
        return {
            command: f"{it.returncode} {it.stdout}"
            for command, it in ran.items()
            if it.returncode != words[command] or gone not in " ".join(it.stdout.split())
        }

    shutil.rmtree(studio.venv)
    missed = unsaid()
    missed.pop(("doctor",))  # it says that there is no environment
    assert missed == {}
    make_venv(studio.venv)
    assert unsaid() == {}
    assert studio.json("check", status=2)["in_sync"] is False
    assert everything(studio.home) == before
    shutil.rmtree(studio.home / "state" / "vault")
    gone = "torch 2.3.1+rocm5.7 was held here and is gone"  # the journal still remembers it
    assert unsaid() == {}
    studio.configure(hold=["numpy"])
    assert gone not in studio.run("check").stdout


def test_nothing_declared_is_in_sync_only_if_nothing_is_declared_elsewhere(
    studio: Studio, tmp_path: Path
) -> None:
    project = studio.project.path.parent
    head = '[project]\nname = "studio"\nversion = "1"\ndependencies = []\n'
    elsewhere = {
        '[project.optional-dependencies]\ngpu = ["alpha"]\nempty = []\n': [
            "the extras `gpu` in [project.optional-dependencies]", '`extras = ["gpu"]`'],
        '[dependency-groups]\ndev = ["alpha"]\n': [
            "the groups `dev` in [dependency-groups]", '`groups = ["dev"]`'],
        '[tool.poetry.dependencies]\npython = "^3.11"\nalpha = "*"\n': [
            "1 packages in [tool.poetry.dependencies]", "`project.dependencies`"],
        '[tool.poetry.group.dev.dependencies]\nalpha = "*"\n': [
            "the groups `dev` in [tool.poetry.group]", '`groups = ["dev"]`'],
        "": ["`requirements.txt` beside it", "`project.dependencies`"],
    }  # fmt: skip
    wrong = {}
    for tables, words in elsewhere.items():
        studio.project.write_text(head + tables)
        (project / "requirements.txt").write_text("# nothing\n" if tables else "alpha\n")
        ran = studio.run("check")
        doctor = studio.run("doctor").stdout
        if ran.returncode != 1 or "in sync" in ran.stdout or "0 of 0" in ran.stdout + doctor:
            wrong[tables] = (ran.returncode, ran.stdout, doctor)
        wrong |= {w: (ran.stderr, doctor) for w in words if w not in ran.stderr or w not in doctor}
    assert wrong == {}
    assert studio.json("check", status=1)["in_sync"] is False
    assert "elsewhere: `requirements.txt`" in studio.run("apply").stderr

    (project / "requirements.txt").unlink()
    studio.project.write_text(head)
    assert studio.ok("check").startswith("studio is in sync: 0 of 0 requirements satisfied")


def test_a_file_without_a_project_names_the_requirements_beside_it(studio: Studio) -> None:
    studio.project.write_text("[tool.ruff]\nline-length = 100\n")
    (studio.project.path.parent / "requirements.txt").write_text("alpha\n")

    ran = studio.run("check")

    assert ran.returncode == 1
    assert "If `requirements.txt` beside it is what counts, let `pyproject`" in ran.stderr


def test_a_missing_package_is_drift(studio: Studio) -> None:
    studio.declare("alpha>=1")

    ran = studio.run("check")

    assert ran.returncode == 2
    assert ran.stdout.splitlines() == [
        "Package  Required  Installed  Status",
        "alpha    >=1       -          missing",
        "studio is not as declared: 2 of 3 requirements satisfied, 3 held.",
        "`reconciler plan` shows what would change; `reconciler apply` fixes it.",
    ]


def test_several_requirements_on_one_package_are_one_row(studio: Studio) -> None:
    studio.declare("alpha>=1", "alpha<2", "alpha >=1")

    lines = studio.run("check", "--verbose").stdout.splitlines()

    assert [line.split() for line in lines if line.startswith("alpha ")] == [
        ["alpha", ">=1,<2", "-", "missing"]
    ]
    assert "alpha: declared in project.dependencies[2], project.dependencies[4], " in "".join(lines)
    assert lines[-2] == "studio is not as declared: 2 of 3 requirements satisfied, 3 held."


def test_a_missing_dependency_of_a_dependency_is_drift(studio: Studio) -> None:
    studio.declare("delta")
    studio.ok("apply")
    uninstall(studio.venv, "gamma")

    document = studio.json("check", status=2)

    (wrong,) = [row for row in document["packages"] if not row["ok"]]
    assert (wrong["name"], wrong["status"], wrong["required_by"]) == ("gamma", "missing", "delta")


def test_a_deleted_file_is_drift(applied: Studio) -> None:
    (site_packages(applied.venv) / "alpha" / "__init__.py").unlink()

    ran = applied.run("check")

    assert ran.returncode == 2
    assert "broken" in ran.stdout
    assert "alpha/__init__.py" in ran.stdout


def test_a_replaced_hold_is_drift_and_says_how_to_mend_it(applied: Studio, tmp_path: Path) -> None:
    install(applied.venv, fake_torch(tmp_path, "2.8.0"))

    ran = applied.run("check")

    assert ran.returncode == 2
    assert "has been replaced by 2.8.0" in ran.stdout
    assert "`reconciler hold restore torch`" in ran.stdout
    assert "`reconciler apply` fixes it" not in ran.stdout


def test_a_bad_file_is_an_error_with_its_place(studio: Studio) -> None:
    studio.project.write_text("[project]\nname = 'x'\ndependencies = [\n  'alpha >> 1',\n]\n")

    ran = studio.run("check")

    assert ran.returncode == 1
    assert f"{studio.project.path}:4:3: " in ran.stderr
    assert "alpha >> 1" in ran.stderr
    assert ran.stdout == ""


def test_a_bad_file_is_a_problem_in_json(applied: Studio) -> None:
    applied.project.write_text("[project\n")

    document = applied.json("check", status=1)

    assert document["problem"]["file"] == str(applied.project.path)
    assert document["problem"]["line"] == 1
    assert document["in_sync"] is False


def test_a_bad_file_is_told_where_there_is_no_environment_either(
    studio: Studio, tmp_path: Path
) -> None:
    studio.configure(python=str(tmp_path / "nowhere"))
    studio.project.write_text("[project]\ndynamic = ['dependencies']\n")

    document = studio.json("check", status=1)
    planned = studio.run("plan")

    assert document["problem"]["line"] == 2
    assert document["in_sync"] is False
    assert planned.returncode == 1
    assert f"Error: {studio.project.path}:2:1: " in planned.stderr
    assert not (tmp_path / "nowhere").exists()


def test_where_there_is_no_environment_everything_is_missing_and_none_is_made(
    studio: Studio, tmp_path: Path
) -> None:
    studio.configure(python=str(tmp_path / "nowhere"))
    studio.declare("alpha", base=())

    ran = studio.run("check")

    assert ran.returncode == 2
    assert "there is no environment at" in ran.stdout
    assert "alpha    -         -          missing" in ran.stdout
    assert not (tmp_path / "nowhere").exists()


def test_where_there_is_no_environment_no_program_is_started(
    studio: Studio, tmp_path: Path
) -> None:
    """It once made a stand-in with uv, and failed where there is no uv."""
    programs = tmp_path / "programs"
    called = tmp_path / "called"
    programs.mkdir()
    for name in ("uv", "uvx", "python", "python3"):
        (programs / name).write_text(f"#!/bin/sh\necho $0 >> {called}\nexit 1\n")
        (programs / name).chmod(0o755)
    studio.configure(python=str(tmp_path / "nowhere"))
    studio.config.write_text(
        studio.config.read_text().replace("[service]", f'[service]\nuv = "{programs}/uv"')
    )
    studio.declare("alpha>=1", "beta; python_version < '3'", base=())
    code = (
        "import sys\nfrom reconciler.cli.app import status_of\n"
        "STARTS = ('subprocess.Popen', 'os.exec', 'os.fork', 'os.forkpty', 'os.posix_spawn',\n"
        "          'os.system')\n"
        "def hook(event, args):\n    assert event not in STARTS, (event, args)\n"
        "sys.addaudithook(hook)\n"
        "sys.exit(status_of(['check']))\n"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=studio.project.directory,
        env={**os.environ, **studio.environ, "PYTHONPATH": str(Path.cwd()),
             "PATH": str(programs)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    own = "{}.{}.{}".format(*sys.version_info[:3])
    compared = f"Compared for Python {own}, which runs this command."
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        f"studio: there is no environment at {tmp_path}/nowhere/bin/python yet. {compared}",
        "Package  Required  Installed  Status",
        "alpha    >=1       -          missing",
        "studio is not as declared: 0 of 1 requirements satisfied, 0 held.",
        "`reconciler plan` shows what would change; `reconciler apply` fixes it.",
    ]
    assert not called.exists()
    assert not (tmp_path / "nowhere").exists()


def test_where_there_is_no_uv_an_environment_that_is_missing_is_drift(
    studio: Studio, tmp_path: Path
) -> None:
    studio.configure(python=str(tmp_path / "nowhere"))
    studio.config.write_text(
        studio.config.read_text().replace("[service]", '[service]\nuv = "/nowhere/uv"')
    )
    studio.project.write_text(
        "[project]\nname = 'studio'\nversion = '1'\nrequires-python = '<3.9'\n"
        "dependencies = ['alpha']\n"
    )

    document = studio.json("check", status=2)

    assert [(row["name"], row["status"]) for row in document["packages"]] == [("alpha", "missing")]
    assert document["problem"] is None


def test_it_asks_no_index_starts_no_uv_and_writes_nothing(
    applied: Studio, small: PackageIndex
) -> None:
    applied.declare("alpha", "beta")
    small.down()
    applied.configure()
    applied.config.write_text(
        applied.config.read_text().replace("[service]", '[service]\nuv = "/nowhere/uv"')
    )
    before = everything(applied.project.directory) | everything(applied.home)

    assert applied.run("check").returncode == 2
    assert everything(applied.project.directory) | everything(applied.home) == before


def test_quiet_says_it_by_the_status_alone(studio: Studio) -> None:
    studio.declare("alpha")

    ran = studio.run("check", "--quiet")

    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", "")


def test_it_imports_nothing_that_is_slow(applied: Studio) -> None:
    slow = (
        "rich",
        "structlog",
        "starlette",
        "uvicorn",
        "reconciler.passes.reconcile",
    )
    code = (
        "import sys\nfrom reconciler.cli.app import status_of\n"
        "assert status_of(['check', '--quiet']) == 0\n"
        f"print(*(name for name in {slow!r} if name in sys.modules))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=applied.project.directory,
        env={**os.environ, **applied.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert ran.stdout == "\n"
