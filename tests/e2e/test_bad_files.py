"""A file that cannot be used changes nothing, and the status says what is wrong with it, where."""

import os
from pathlib import Path

from tests.e2e.asking import condition, in_sync_with, statuses, versions
from tests.support.environments import snapshot, tree_fingerprint, uninstall
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.service import Json, ServiceFactory, ServiceProcess


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


BAD_REQUIREMENTS = {
    "beta >> 1": "beta >> 1",
    "beta==1.0 extra words": "extra words",
    "==1.0": "==1.0",
}
NO_PROJECTS = {
    b"": "no [project] table",
    b"[project]\nname = 'studio'\ndependencies = 'alpha'\n": "must be a list",
    b"[project]\nname = 'studio'\ndependencies = [1]\n": "must be a string",
    b"[project]\nname = '\xff'\n": "not UTF-8",
}


def test_what_is_no_good_file_is_shown_and_changes_nothing(
    running: ServiceProcess, project: Project
) -> None:
    before = running.environment()
    wrong = []

    def problem_of(content: bytes) -> Json:
        """Save it in one step, so that no half file is ever seen; then save the good one."""
        new = project.directory / "new"
        new.write_bytes(content)
        new.replace(project.path)
        row = running.wait_for_environment(has_problem)
        if (row["revision"], row["generation"]) != (before["revision"], before["generation"]):
            wrong.append(f"changed by {content!r}")
        project.save(["alpha"])
        running.wait_for_environment(lambda row: not has_problem(row))
        assert versions(row) == {"alpha": "2.0"}
        return row["problem"]

    for dependency, said in BAD_REQUIREMENTS.items():
        text = project.text(["alpha", dependency])
        line = text[: text.index(dependency)].count("\n") + 1
        problem = problem_of(text.encode())
        if (problem["line"], problem["column"]) != (line, len("    ") + 1):
            wrong.append(f"{dependency} is elsewhere: {problem}")
        if not all(it in problem["reason"] for it in ("project.dependencies[1]", said)):
            wrong.append(f"{dependency}: {problem}")
    for content, said in NO_PROJECTS.items():
        problem = problem_of(content)
        if said not in problem["reason"] or not problem["mend"]:
            wrong.append(f"{content!r}: {problem}")

    assert wrong == []


def test_a_file_that_is_not_there_or_not_whole_is_waited_for(
    running: ServiceProcess, project: Project, tmp_path: Path
) -> None:
    before = running.environment()

    # A folder in its place stands for whatever cannot be read: tests may run as root.
    project.path.rename(tmp_path / "kept.toml")
    project.path.mkdir()
    row = running.wait_for_environment(lambda row: "regular file" in reason(row))
    assert row["problem"]["file"] == str(project.path)

    project.path.rmdir()
    row = running.wait_for_environment(lambda row: "does not exist" in reason(row))
    assert row["problem"]["line"] is None
    assert row["revision"] == before["revision"]
    assert snapshot(project.venv).keys() == {"alpha"}
    project.write(["alpha", "gamma"])
    row = running.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "gamma"]))
    assert row["problem"] is None

    # A slow writer: the first half lies there until the second comes.
    text = project.text(["alpha", "gamma", "beta"])
    half = text.index('"beta') + 3
    with project.path.open("w") as file:
        file.write(text[:half])
        file.flush()
        os.fsync(file.fileno())
        row = running.wait_for_environment(has_problem)
        assert versions(row) == {"alpha": "2.0", "gamma": "2.0"}
        file.write(text[half:])
    row = running.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "gamma", "beta"]))
    assert row["problem"] is None


def reason(row: Json) -> str:
    return row["problem"]["reason"] if has_problem(row) else ""


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
