"""A file that cannot be used changes nothing, and the status says what is wrong with it, where."""

import os
from pathlib import Path

import pytest

from tests.e2e.asking import condition, in_sync_with, statuses, versions
from tests.support.environments import snapshot, tree_fingerprint, uninstall
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.service import Json, ServiceFactory, ServiceProcess
from tests.support.thorough import sample


def has_problem(row: Json) -> bool:
    return row["problem"] is not None


def test_bad_toml_is_shown_with_line_and_column_and_the_last_good_state_stays(
    running: ServiceProcess, project: Project
) -> None:
    before = running.environment()
    live = tree_fingerprint(project.venv)
    bad = project.text(["alpha", "beta"]).replace('"beta",', '"beta')
    line = bad[: bad.index('"beta')].count("\n") + 1

    new = project.directory / "new"
    new.write_text(bad)
    new.replace(project.path)  # in one step: no half file is ever seen
    row = running.wait_for_environment(has_problem)

    problem = row["problem"]
    assert (problem["file"], problem["line"]) == (str(project.path), line)
    assert problem["column"] == len('    "beta') + 1
    assert problem["text"] == '    "beta'
    assert "TOML" in problem["reason"]
    assert "last good state" in problem["mend"]
    assert row["revision"] == before["revision"]
    assert row["generation"] == before["generation"]
    assert statuses(row) == {"alpha": "ok"}
    assert condition(row, "Stalled")["status"] == "True"
    assert condition(row, "Stalled")["reason"] == "BadFile"
    assert tree_fingerprint(project.venv) == live
    assert running.client.get("/readyz").status_code == 200
    told = running.wait_for_event("file.problem")
    assert (told["line"], told["file"]) == (line, str(project.path))

    # What the last good state declares is still looked after.
    uninstall(project.venv, "alpha")
    row = running.wait_for_environment(lambda row: row["generation"] > before["generation"])
    assert snapshot(project.venv).keys() == {"alpha"}
    assert has_problem(row)

    project.write(["alpha", "beta"])
    row = running.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]))
    assert row["problem"] is None
    assert condition(row, "Stalled")["status"] == "False"
    running.wait_for_event("file.mended")
    assert len(running.events("file.problem")) == 1, "said once, not at every look"


@pytest.mark.parametrize(
    ("dependency", "said"),
    sample(
        every=3,
        family=[
            ("beta >> 1", "beta >> 1"),
            ("beta==1.0 extra words", "extra words"),
            ("==1.0", "==1.0"),
        ],
    ),
)
def test_a_bad_requirement_is_shown_where_it_stands(
    dependency: str, said: str, running: ServiceProcess, project: Project
) -> None:
    text = project.text(["alpha", dependency])

    project.save(["alpha", dependency])  # in one step: no half file is ever seen
    row = running.wait_for_environment(has_problem)

    assert row["problem"]["line"] == text[: text.index(dependency)].count("\n") + 1
    assert row["problem"]["column"] == len("    ") + 1
    assert "project.dependencies[1]" in row["problem"]["reason"]
    assert said in row["problem"]["reason"]
    assert versions(row) == {"alpha": "2.0"}


@pytest.mark.parametrize(
    ("content", "reason"),
    sample(
        every=2,
        family=[
            pytest.param(b"", "no [project] table", id="empty"),
            pytest.param(
                b"[project]\nname = 'studio'\ndependencies = 'alpha'\n",
                "must be a list",
                id="no-list",
            ),
            pytest.param(
                b"[project]\nname = 'studio'\ndependencies = [1]\n",
                "must be a string",
                id="no-string",
            ),
            pytest.param(b"[project]\nname = '\xff'\n", "not UTF-8", id="no-utf-8"),
        ],
    ),
)
def test_a_file_that_is_no_project_changes_nothing(
    content: bytes, reason: str, running: ServiceProcess, project: Project
) -> None:
    before = running.environment()

    project.path.write_bytes(content)
    row = running.wait_for_environment(has_problem)

    assert reason in row["problem"]["reason"]
    assert row["problem"]["mend"]
    assert row["revision"] == before["revision"]
    assert row["generation"] == before["generation"]


def test_a_half_written_file_is_waited_for(running: ServiceProcess, project: Project) -> None:
    """A slow writer: the first half lies there until the second comes."""
    text = project.text(["alpha", "beta"])
    half = text.index('"beta') + 3
    with project.path.open("w") as file:
        file.write(text[:half])
        file.flush()
        os.fsync(file.fileno())
        row = running.wait_for_environment(has_problem)
        assert versions(row) == {"alpha": "2.0"}
        file.write(text[half:])

    row = running.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]))

    assert row["problem"] is None


def test_a_deleted_file_changes_nothing_until_it_is_back(
    running: ServiceProcess, project: Project
) -> None:
    before = running.environment()

    project.path.unlink()
    row = running.wait_for_environment(has_problem)

    assert "does not exist" in row["problem"]["reason"]
    assert row["problem"]["line"] is None
    assert row["revision"] == before["revision"]
    assert snapshot(project.venv).keys() == {"alpha"}
    project.write(["alpha", "gamma"])
    row = running.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "gamma"]))
    assert row["problem"] is None


def test_the_last_good_state_survives_a_restart_with_a_bad_file(
    running: ServiceProcess, project: Project
) -> None:
    before = running.environment()
    project.write_text("[project\n")
    running.wait_for_environment(has_problem)
    assert running.stop() == 0
    uninstall(project.venv, "alpha")

    running.start()
    row = running.wait_for_environment(lambda row: row["generation"] > before["generation"])

    assert snapshot(project.venv).keys() == {"alpha"}
    assert row["revision"] == before["revision"]
    assert row["problem"]["line"] == 1


def test_a_file_that_never_was_good_makes_no_environment(
    project: Project, small: PackageIndex, service: ServiceFactory
) -> None:
    project.write_text(project.text(["alpha"]) + "[[[")
    process = service(interval="1h", until="/livez")

    row = process.wait_for_phase("Failed")

    assert row["problem"]["line"] == project.path.read_text().count("\n") + 1
    assert condition(row, "Ready")["reason"] == "BadFile"
    assert not project.venv.exists()
    project.write(["alpha"])
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]))
    assert snapshot(project.venv).keys() == {"alpha"}


def test_a_file_that_the_service_may_not_read_is_named(
    running: ServiceProcess, project: Project, tmp_path: Path
) -> None:
    """A directory in its place stands for whatever cannot be read: tests may run as root."""
    project.path.rename(tmp_path / "kept.toml")
    project.path.mkdir()

    row = running.wait_for_environment(has_problem)

    assert row["problem"]["file"] == str(project.path)
    assert "regular file" in row["problem"]["reason"]
