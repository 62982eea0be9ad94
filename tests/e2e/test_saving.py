"""Whatever way the project's file is saved, the change is seen, once."""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.e2e.asking import finished, in_sync_with, passes, post, versions
from tests.support.environments import assert_whole, make_venv, site_packages, snapshot
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.service import Json, ServiceFactory, ServiceProcess


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def by_rename(path: Path, text: str) -> None:
    new = path.with_name(".pyproject.toml.tmp")
    new.write_text(text)
    new.replace(path)


def as_vim_does(path: Path, text: str) -> None:
    backup = path.with_name("pyproject.toml~")
    path.rename(backup)
    with path.open("x") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    backup.unlink()


def as_vs_code_does(path: Path, text: str) -> None:
    """Open, truncate, write in two pieces: for a moment the file is half there."""
    with path.open("r+") as file:
        file.truncate(0)
        file.write(text[: len(text) // 2])
        file.flush()
        file.write(text[len(text) // 2 :])


def as_cp_does(path: Path, text: str) -> None:
    other = path.with_name("other.toml")
    other.write_text(text)
    shutil.copy2(other, path)


def deleted_and_back(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


WAYS = (in_place, by_rename, as_vim_does, as_vs_code_does, as_cp_does, deleted_and_back)


def test_every_way_to_save_is_reconciled(running: ServiceProcess, project: Project) -> None:
    """One after the other, so that each is seen after the one before has replaced the file."""
    for number, save in enumerate((*WAYS, in_place)):
        print(save.__name__)
        version = ("1.0", "2.0")[number % 2]
        save(project.path, project.text([f"alpha=={version}"]))
        row = running.wait_for_environment(partial(in_sync_at, version))
        # The others: the pass before has exchanged the folders, and the look that follows that, or
        # makes up for what no watch has seen, was before the event.
        assert row["last_pass"]["trigger"] in ("file", "environment", "interval")

    assert running.events("file.changed")
    assert snapshot(project.venv) == {"alpha": "1.0"}
    assert_whole(project.venv)
    assert running.noise() == []


def in_sync_at(version: str, row: Json) -> bool:
    return in_sync_with(row, ["alpha"]) and versions(row) == {"alpha": version}


def test_a_symlink_may_be_repointed(
    small: PackageIndex, project: Project, service: ServiceFactory
) -> None:
    for release, names in (("one", ["alpha"]), ("two", ["alpha", "beta"])):
        project.write(names)
        project.path.rename(project.directory / f"{release}.toml")
    project.path.symlink_to("one.toml")
    process = service(interval="1h")
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]))

    repointed = project.directory / "new-link"
    repointed.symlink_to("two.toml")
    repointed.replace(project.path)
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]))

    # What the link leads to is watched as well.
    (project.directory / "two.toml").write_text(project.text(["alpha", "beta", "gamma"]))
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta", "gamma"]))


def test_a_symlinked_folder_may_be_repointed(
    small: PackageIndex, project: Project, tmp_path: Path, services: Callable[..., ServiceProcess]
) -> None:
    """As deployments do it: `current` leads to a release, and then to another."""
    for release, names in (("one", ["alpha"]), ("two", ["alpha", "beta"])):
        folder = tmp_path / "releases" / release
        folder.mkdir(parents=True)
        (folder / "pyproject.toml").write_text(project.text(names))
    current = tmp_path / "current"
    current.symlink_to("releases/one")
    keys = {
        "pyproject": str(current / "pyproject.toml"),
        "python": str(make_venv(tmp_path / "env")),
        "debounce": "50ms",
        "interval": "1h",
    }
    process = services({"studio": keys})
    process.start()
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]))

    fresh = tmp_path / "current.new"
    fresh.symlink_to("releases/two")
    fresh.replace(current)

    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]))


def test_the_folder_may_be_renamed_and_come_back(
    small: PackageIndex, project: Project, tmp_path: Path, services: Callable[..., ServiceProcess]
) -> None:
    project.write(["alpha"])
    keys = {
        "pyproject": str(project.path),
        "python": str(make_venv(tmp_path / "env")),
        "debounce": "50ms",
        "interval": "1h",
    }
    process = services({"studio": keys})
    process.start()
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]))
    away = project.directory.with_name("away")

    project.directory.rename(away)
    row = process.wait_for_environment(lambda row: row["problem"] is not None)
    assert "does not exist" in row["problem"]["reason"]
    assert not project.directory.exists()

    away.rename(project.directory)
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]) and not row["problem"])
    project.save(["alpha", "beta"])
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]))

    # Another folder in its place: the watch has to follow the path, not the old folder.
    project.directory.rename(away)
    shutil.copytree(away, project.directory)
    project.write(["alpha", "beta", "gamma"])
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta", "gamma"]))


def test_a_folder_renamed_with_its_environment_is_not_made_anew(
    running: ServiceProcess, project: Project
) -> None:
    away = project.directory.with_name("away")

    project.directory.rename(away)
    row = running.wait_for_environment(lambda row: row["phase"] == "Failed" and row["problem"])

    assert not project.directory.exists()
    assert row["problem"]["file"] == str(project.path)
    away.rename(project.directory)
    running.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]))
    project.save(["alpha", "beta"])
    running.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]))
    assert_whole(project.venv)


def test_a_comment_changes_the_revision_and_nothing_else(
    running: ServiceProcess, project: Project, small: PackageIndex
) -> None:
    before = running.environment()
    asked = len(small.requests)

    project.save(["alpha"], extra="# nothing but a remark")
    row = running.wait_for_environment(lambda row: row["revision"] != before["revision"])

    assert row["phase"] == "InSync"
    assert row["generation"] == before["generation"]
    assert row["last_pass"]["id"] == before["last_pass"]["id"]
    running.wait_for_environment(lambda row: row["last_applied_revision"] == row["revision"])
    assert len(small.requests) == asked
    assert len(running.events("drift.detected")) == 1


def test_a_burst_of_saves_makes_one_or_two_passes(
    small: PackageIndex, project: Project, service: ServiceFactory
) -> None:
    project.write(["alpha"])
    process = service(interval="1h", debounce="300ms")
    process.wait_for_phase("InSync")

    for number in range(30):
        project.save(["alpha", "beta"], extra=f"# {number}")
    project.save(["alpha", "beta", "gamma"])
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta", "gamma"]))
    project.save(["alpha", "beta", "gamma"], extra="# what came before has been seen by now")
    last = process.environment()["revision"]
    process.wait_for_environment(lambda row: row["revision"] != last)

    # A pass that is under way already may have seen the first saves.
    assert 1 <= len(passes(process, "file")) <= 3


def test_ten_thousand_changes_in_the_environment_make_one_or_two_passes(
    small: PackageIndex, project: Project, service: ServiceFactory
) -> None:
    project.write(["alpha"])
    process = service(interval="1h", debounce="1s")
    process.wait_for_phase("InSync")

    site = site_packages(project.venv)
    for number in range(10_000):
        (site / f"file-{number}.txt").touch()
    process.wait_for_event("environment.changed")
    last = process.environment()["revision"]
    project.save(["alpha"], extra="# what came before has been seen by now")
    process.wait_for_environment(lambda row: row["revision"] != last)

    assert len(passes(process, "environment")) <= 2


def test_a_save_during_a_pass_makes_one_more_pass_after_it(
    running: ServiceProcess, project: Project, small: PackageIndex
) -> None:
    stall = small.stall_downloads(for_name="beta")
    project.save(["alpha", "beta"])
    stall.wait_reached()
    first = running.environment()["current_pass"]["id"]

    project.save(["alpha", "beta", "gamma"])
    running.wait_for_event("file.changed", where=lambda e: len(running.events(e["event"])) >= 2)
    asked = [post(running, "reconcile") for _ in range(5)]
    small.heal()

    assert len(set(asked)) == 1, "requests that wait share one pass"
    finished(running, asked[0])
    running.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta", "gamma"]))
    changed = [e["pass"] for e in running.events("generation.activated")]
    assert len(changed) == 3
    assert changed[1] == first
    finishes = {e["pass"]: e["timestamp"] for e in running.events("pass.finished")}
    starts = {e["pass"]: e["timestamp"] for e in running.events("pass.started")}
    assert all(starts[later] > finishes[first] for later in starts if later > first)
