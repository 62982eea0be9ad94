"""Environments that are left alone: after a roll-back, while paused, and where one only looks."""

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.asking import ask, condition, in_sync_with, passes, post, statuses, versions
from tests.support.environments import (
    FileState,
    assert_whole,
    delete,
    make_venv,
    snapshot,
    tree_fingerprint,
    uninstall,
)
from tests.support.index import PackageIndex
from tests.support.processes import wait_until
from tests.support.projects import Project
from tests.support.service import Json, ServiceFactory, ServiceProcess

Saved = dict[str, FileState]


@pytest.fixture
def upgraded(running: ServiceProcess, project: Project) -> tuple[ServiceProcess, Saved]:
    """Generation 1 has `alpha`, generation 2 is live and has `beta` as well."""
    before = tree_fingerprint(project.venv)
    project.save(["alpha", "beta"])
    running.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]))
    return running, before


# Roll-back


def test_a_roll_back_is_one_exchange_and_is_not_undone(
    upgraded: tuple[ServiceProcess, Saved], project: Project, small: PackageIndex
) -> None:
    process, before = upgraded
    newer = tree_fingerprint(project.venv)
    small.down()

    entry = ask(process, "rollback", reason="beta broke the morning run")

    assert entry["result"] == "changed"
    assert [(c["name"], c["action"]) for c in entry["changes"]] == [("beta", "remove")]
    assert tree_fingerprint(project.venv) == before, "the very same files, without the index"
    row = process.wait_for_phase("Paused")
    assert row["generation"] == 1
    assert row["suspended"] is True
    assert "beta broke the morning run" in row["suspension"]["reason"]
    assert row["suspension"]["revision"] == row["revision"]
    assert {g["number"]: g["live"] for g in row["generations"]}[2] is False

    # Neither asking, nor a touched file, nor a new start applies that revision again.
    small.up()
    count = len(passes(process, "file"))
    project.path.touch()
    process.wait_for(lambda _: len(passes(process, "file")) > count)
    ask(process, "reconcile")
    assert tree_fingerprint(project.venv) == before
    assert process.stop() == 0
    process.start()
    process.wait_for_phase("Paused")
    ask(process, "reconcile")
    assert tree_fingerprint(project.venv) == before

    # And forward again to the newer one.
    ask(process, "rollback", generation=2)
    assert tree_fingerprint(project.venv) == newer
    assert process.wait_for_environment(lambda row: row["generation"] == 2)["suspended"] is True
    assert_whole(project.venv)


def test_a_roll_back_ends_when_the_file_changes_or_someone_resumes(
    upgraded: tuple[ServiceProcess, Saved], project: Project
) -> None:
    process, _ = upgraded
    ask(process, "rollback")
    process.wait_for_phase("Paused")

    project.save(["alpha", "gamma"])
    row = process.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "gamma"]))

    assert row["suspended"] is False
    assert row["suspension"] is None
    assert snapshot(project.venv).keys() == {"alpha", "gamma"}
    assert row["generation"] == 3, "a number is never used twice"

    ask(process, "rollback")
    process.wait_for_phase("Paused")
    assert "gamma" not in snapshot(project.venv)
    entry = ask(process, "resume")

    assert entry["trigger"] == "resume"
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "gamma"]))
    assert snapshot(project.venv).keys() == {"alpha", "gamma"}


# Pause


def test_a_pause_leaves_everything_as_it_is_and_survives_a_restart(
    running: ServiceProcess, project: Project
) -> None:
    post(running, "pause", reason="a demonstration")
    row = running.wait_for_phase("Paused")
    assert row["suspension"]["reason"] == "a demonstration"
    assert row["suspension"]["until"] is None
    before = tree_fingerprint(project.venv)

    project.save(["alpha", "beta"])
    row = running.wait_for_environment(
        lambda row: "beta" in versions(row) and row["phase"] == "Paused"
    )

    assert statuses(row) == {"alpha": "ok", "beta": "missing"}, "what it would do still shows"
    ask(running, "reconcile")
    assert tree_fingerprint(project.venv) == before

    assert running.stop() == 0
    running.start()
    row = running.wait_for_environment(
        lambda row: "beta" in versions(row) and row["phase"] == "Paused"
    )
    assert statuses(row) == {"alpha": "ok", "beta": "missing"}
    assert tree_fingerprint(project.venv) == before
    ask(running, "resume")
    running.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]))
    assert condition(running.environment(), "Stalled")["status"] == "False"


def test_a_pause_with_a_limit_survives_a_restart_and_ends_by_itself(
    running: ServiceProcess, project: Project
) -> None:
    post(running, "pause", duration=4)
    until = running.wait_for_phase("Paused")["suspension"]["until"]
    project.save(["alpha", "beta"])
    running.wait_for_environment(lambda row: "beta" in versions(row))
    assert running.stop() == 0

    running.start(until="/livez")
    row = running.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]))

    assert row["suspended"] is False
    changed = running.events("generation.activated")[-1]["timestamp"]
    assert datetime.fromisoformat(changed) >= datetime.fromisoformat(until)


def test_after_a_pause_nothing_goes_live_not_even_what_a_pass_has_prepared(
    running: ServiceProcess, project: Project, small: PackageIndex
) -> None:
    """And the end of that pass does not overwrite the pause."""
    before = tree_fingerprint(project.venv)
    stall = small.stall_downloads(for_name="beta")
    project.save(["alpha", "beta"])
    stall.wait_reached()
    post(running, "pause", reason="enough")
    small.heal()

    row = running.wait_for_phase("Paused")

    assert row["suspension"]["reason"] == "enough"
    wait_until(lambda: running.environment()["current_pass"] is None, what="the end of the pass")
    assert tree_fingerprint(project.venv) == before
    assert running.environment()["phase"] == "Paused"
    ask(running, "resume")
    running.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]))


# Deleted meanwhile


def test_a_paused_environment_that_is_deleted_stays_away_until_someone_resumes(
    running: ServiceProcess, project: Project
) -> None:
    post(running, "pause")
    running.wait_for_phase("Paused")
    delete(project.venv)
    ask(running, "reconcile")
    project.save(["alpha", "beta"])
    ask(running, "reconcile")
    assert not project.venv.exists()
    assert running.environment()["phase"] == "Paused"

    ask(running, "resume")
    running.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]))


def test_a_rolled_back_environment_that_is_deleted_stays_away_until_the_file_changes(
    upgraded: tuple[ServiceProcess, Saved], project: Project
) -> None:
    process, _ = upgraded
    ask(process, "rollback")
    process.wait_for_phase("Paused")
    delete(project.venv)
    ask(process, "reconcile")
    assert not project.venv.exists()

    project.save(["alpha", "gamma"])
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "gamma"]))


# Observe


def test_who_only_observes_reports_and_changes_nothing(
    small: PackageIndex, project: Project, venv: Path, service: ServiceFactory
) -> None:
    project.write(["alpha", "delta"])
    before = tree_fingerprint(venv)
    process = service(interval="1h", mode="observe")

    row = process.wait_for_environment(lambda row: row["phase"] == "Drifted" and row["planned"])

    assert row["mode"] == "observe"
    assert condition(row, "Ready")["reason"] == "Observing"
    assert statuses(row) == {"alpha": "missing", "delta": "missing"}
    assert {c["name"] for c in row["planned"]} == {"alpha", "delta", "gamma"}
    assert tree_fingerprint(venv) == before
    answer = process.client.post("/environments/studio/rollback")
    assert answer.json()["reason"] == "Observing"

    entry = ask(process, "reconcile", apply=True)

    assert entry["result"] == "changed"
    assert snapshot(venv).keys() == {"alpha", "delta", "gamma"}
    process.wait_for_phase("InSync")
    uninstall(venv, "gamma")
    process.wait_for_phase("Drifted")
    assert snapshot(venv).keys() == {"alpha", "delta"}

    # Asked for with `apply` it can all be done, by the button and by a roll-back.
    fix = "/api/v1/setup/ai-models/fix-dependencies"
    refused = process.client.post(fix).json()
    assert refused["success"] is False
    assert "only observed" in refused["message"]
    assert snapshot(venv).keys() == {"alpha", "delta"}
    fixed = process.client.post(fix, json={"apply": True}).json()

    assert fixed["success"] is True, fixed
    assert fixed["message"] == "Successfully installed/upgraded all 2 packages"
    assert snapshot(venv).keys() == {"alpha", "delta", "gamma"}
    ask(process, "rollback", apply=True)
    assert snapshot(venv).keys() != {"alpha", "delta", "gamma"}


def test_who_only_observes_does_not_retry_without_end(
    small: PackageIndex, project: Project, venv: Path, service: ServiceFactory
) -> None:
    project.write(["alpha", "nowhere"])
    process = service(interval="1h", mode="observe")
    entry = ask(process, "reconcile", apply=True)
    assert entry["result"] == "partial"

    process.wait_for_event("pass.started", where=lambda record: record["trigger"] == "retry")

    def at_ease(row: Json) -> bool:
        return datetime.fromisoformat(row["next_check_at"]).timestamp() > time.time() + 600

    process.wait_for_environment(at_ease)


def test_who_only_observes_makes_no_environment(
    small: PackageIndex, project: Project, service: ServiceFactory
) -> None:
    project.write(["alpha"])
    process = service(interval="1h", mode="observe", until="/livez")

    row = process.wait_for_phase("Failed")

    assert condition(row, "Ready")["reason"] == "InterpreterUnusable"
    assert not project.venv.exists()
    make_venv(project.venv)
    process.wait_for_phase("Drifted")


def test_a_paused_environment_holds_up_no_other(
    small: PackageIndex, tmp_path: Path, services: Callable[..., ServiceProcess]
) -> None:
    projects = {name: Project(tmp_path / name, small.url) for name in ("studio", "other")}
    for project in projects.values():
        project.write(["alpha"])
    keys = {n: {"pyproject": str(p.path), "debounce": "50ms"} for n, p in projects.items()}
    process = services(keys)
    process.start()
    process.wait_for_phase("InSync", name="studio")
    post(process, "pause")

    projects["other"].save(["alpha", "beta"])

    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]), name="other")
    assert process.environment("studio")["phase"] == "Paused"
