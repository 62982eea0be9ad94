"""What other people do to the environment is noticed, and mended."""

import shutil
import sys
from pathlib import Path

from tests.e2e.asking import ask, condition, in_sync_with, statuses
from tests.support.environments import (
    assert_whole,
    run_python,
    run_uv,
    site_packages,
    snapshot,
    strays,
    uninstall,
)
from tests.support.index import PackageIndex
from tests.support.processes import wait_until
from tests.support.projects import Project
from tests.support.service import ServiceFactory, ServiceProcess
from tests.support.thorough import only

pytestmark = only


def test_uninstalled_packages_come_back(
    small: PackageIndex, project: Project, venv: Path, service: ServiceFactory
) -> None:
    """A declared one, one that only another requires, and one that pip removed."""
    project.write(["alpha", "delta"])
    process = service(interval="1h")
    process.wait_for_phase("InSync")
    assert snapshot(venv).keys() == {"alpha", "delta", "gamma"}

    uninstall(venv, "alpha")
    process.wait_for_environment(lambda row: row["generation"] == 2)
    assert process.environment()["last_pass"]["changes"] == [
        {"name": "alpha", "action": "install", "from": None, "to": "2.0"}
    ]

    uninstall(venv, "gamma")
    process.wait_for_environment(lambda row: row["generation"] == 3)
    drift = process.events("drift.detected")[-1]
    assert drift["packages"] == ["gamma"]
    assert process.environment()["last_pass"]["trigger"] in ("environment", "interval")

    # Removed file by file, as a shell does it, with the folder of its metadata last.
    for path in sorted(site_packages(venv).glob("alpha*")):
        shutil.rmtree(path)
    process.wait_for_environment(lambda row: row["generation"] == 4)
    assert process.environment()["phase"] == "InSync"
    assert snapshot(venv).keys() == {"alpha", "delta", "gamma"}
    assert_whole(venv)
    assert strays(venv) == set()


def test_another_version_installed_by_hand_is_drift_only_where_it_does_not_fit(
    small: PackageIndex, project: Project, venv: Path, service: ServiceFactory
) -> None:
    project.write(["alpha<2", "beta"])
    process = service(interval="1h")
    process.wait_for_phase("InSync")
    index = ["--index-url", small.url, "--no-config"]

    run_uv("pip", "install", "-p", str(venv), *index, "beta==1.0")
    process.wait_for_environment(
        lambda row: {p["name"]: p["installed"] for p in row["packages"]}["beta"] == "1.0"
    )
    assert process.environment()["generation"] == 1
    assert process.environment()["phase"] == "InSync"

    run_uv("pip", "install", "-p", str(venv), *index, "alpha==2.0")
    process.wait_for_environment(lambda row: row["generation"] == 2)
    assert snapshot(venv) == {"alpha": "1.0", "beta": "1.0"}


def test_a_deleted_file_is_found_by_the_audit_and_put_back(
    running: ServiceProcess, project: Project
) -> None:
    """Nothing but the audit sees it: neither uv nor a look at the folders (uv-facts 22)."""
    module = site_packages(project.venv) / "alpha" / "__init__.py"
    module.unlink()

    entry = ask(running, "reconcile")

    assert [(c["name"], c["action"]) for c in entry["changes"]] == [("alpha", "reinstall")]
    assert module.is_file()
    assert run_python(project.venv, "import alpha; print(alpha.__version__)") == "2.0"
    assert_whole(project.venv)


def test_the_audit_comes_round_by_itself(
    small: PackageIndex, project: Project, service: ServiceFactory
) -> None:
    project.write(["alpha"])
    process = service(interval="1s", audit_interval="1s")
    process.wait_for_phase("InSync")
    module = site_packages(project.venv) / "alpha" / "__init__.py"

    module.unlink()
    process.wait_for_environment(lambda row: row["generation"] == 2)

    assert_whole(project.venv)
    assert process.environment()["phase"] == "InSync"


def test_a_deleted_environment_is_made_anew(running: ServiceProcess, project: Project) -> None:
    for round_ in (1, 2):
        shutil.rmtree(project.venv)
        running.wait_for(lambda _: len(running.events("environment.created")) == round_ + 1)  # noqa: B023
        running.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]))
        wait_until(lambda: not running.environment()["current_pass"], what="the pass's end")
        assert_whole(project.venv)

    # And it is looked after as the first one was: the watch and the claim are on this one.
    uninstall(project.venv, "alpha")
    running.wait_for_environment(lambda row: row["generation"] == 2)
    assert snapshot(project.venv).keys() == {"alpha"}
    assert list((project.venv / ".reconciler").glob("service.lock"))


def test_an_environment_emptied_but_for_our_own_folder_is_made_anew(
    running: ServiceProcess, project: Project
) -> None:
    """`rm -rf .venv/*` leaves what begins with a dot."""
    for path in project.venv.glob("[!.]*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    running.wait_for(lambda _: len(running.events("environment.created")) == 2)
    running.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]))

    assert_whole(project.venv)


def test_a_link_to_a_python_is_not_taken_for_an_environment(
    running: ServiceProcess, project: Project
) -> None:
    """Half removed, as `rm -rf .venv` has it for a moment: `bin/python` leads to the base."""
    (project.venv / "pyvenv.cfg").rename(project.directory / "kept.cfg")
    row = running.wait_for_phase("Failed")

    ready = condition(row, "Ready")
    assert ready["reason"] == "InterpreterUnusable"
    assert "pyvenv.cfg" in ready["message"]
    base = Path(sys.base_prefix)
    assert not (base / ".reconciler").exists()
    (project.directory / "kept.cfg").rename(project.venv / "pyvenv.cfg")
    running.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]))


def test_an_environment_replaced_by_hand_is_taken_as_it_is(
    running: ServiceProcess, project: Project
) -> None:
    run_uv("venv", "--clear", "--quiet", "--no-project", "-p", sys.executable, str(project.venv))

    running.wait_for(lambda _: snapshot(project.venv).keys() == {"alpha"})
    project.save(["alpha", "beta"])
    running.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]))

    assert_whole(project.venv)


def test_an_environment_is_created_where_there_is_none(
    small: PackageIndex, project: Project, service: ServiceFactory
) -> None:
    project.write(["alpha"])
    assert not project.venv.exists()

    process = service(interval="1h")
    row = process.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]))

    assert row["python"]["executable"] == str(project.venv / "bin" / "python")
    assert row["python"]["version"] == run_python(
        project.venv, "import platform; print(platform.python_version())"
    )
    assert process.events("environment.created")[0]["path"] == str(project.venv)
    assert row["atomic"] is True


def test_something_else_in_the_environment_s_place_is_left_alone(
    small: PackageIndex, project: Project, service: ServiceFactory
) -> None:
    project.write(["alpha"])
    (project.venv / "precious").mkdir(parents=True)
    process = service(interval="1h", until="/livez")

    row = process.wait_for_phase("Failed")

    condition = next(c for c in row["conditions"] if c["type"] == "Ready")
    assert condition["reason"] == "InterpreterUnusable"
    assert "is not empty" in condition["message"]
    assert [p.name for p in project.venv.iterdir()] == ["precious"]
    # While it is tried again, the environment has not failed.
    wait_until(lambda: process.client.get("/readyz").status_code == 503, what="not ready")

    (project.venv / "precious").rmdir()
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]))
    assert process.client.get("/readyz").status_code == 200
    assert statuses(process.environment()) == {"alpha": "ok"}
