"""`/status` is answered from memory at any moment, and moves only when something does."""

import time
from datetime import UTC, datetime

import httpx
import pytest

from tests.e2e.asking import ask, condition, finished, post
from tests.support.index import PackageIndex
from tests.support.processes import wait_until
from tests.support.projects import Project
from tests.support.service import Json, ServiceFactory, ServiceProcess


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def quiet(service: ServiceProcess) -> int:
    """Wait until a reader of the status is told that there is no news; the generation."""
    number = 0

    def told_nothing() -> bool:
        nonlocal number
        number = service.status()["generation"]
        answer = service.client.get("/status", params={"since": number, "wait": 1})
        return bool(answer.json()["generation"] == number)

    wait_until(told_nothing, what="a second without news")
    return number


def test_everything_is_answered_while_a_download_stands_still(
    running: ServiceProcess, project: Project, small: PackageIndex
) -> None:
    stall = small.stall_downloads(for_name="beta")
    project.save(["alpha", "beta"])
    stall.wait_reached()

    for _ in range(200):
        row = running.environment()
        assert row["phase"] == "Reconciling"
    for path in ("/livez", "/readyz", "/status/studio", "/history", "/metrics", "/"):
        assert running.client.get(path).status_code == 200, path

    assert condition(row, "Reconciling")["status"] == "True"
    assert condition(row, "Ready")["status"] == "False"
    # A look that is due since the first pass has exchanged folders may see the save first.
    assert row["current_pass"]["trigger"] in ("file", "environment", "interval")
    assert row["current_pass"]["result"] is None
    shown = {p["name"]: p["status"] for p in row["packages"]}
    # Such a look shows the new table only with its result.
    assert shown.items() <= {"alpha": "ok", "beta": "missing"}.items()
    assert row["current_pass"]["trigger"] != "file" or "beta" in shown
    small.heal()
    done = finished(running, row["current_pass"]["id"])
    assert done["result"] == "changed"
    row = running.wait_for_phase("InSync")
    assert row["current_pass"] is None
    assert row["last_pass"]["id"] == done["id"]


def test_nothing_moves_while_nothing_changes(running: ServiceProcess, project: Project) -> None:
    before = running.environment()

    entry = ask(running, "reconcile")

    after = running.environment()
    assert entry["result"] == "unchanged"
    assert entry["changes"] == []
    assert after["conditions"] == before["conditions"]
    assert after["generation"] == before["generation"]
    assert after["packages"] == before["packages"]
    assert after["revision"] == before["revision"] == after["last_applied_revision"]
    number = quiet(running)
    assert {running.status()["generation"] for _ in range(20)} == {number}

    # A dead connection disturbs nobody.
    with (
        httpx.Client(base_url=running.url, trust_env=False, timeout=0.2) as impatient,
        pytest.raises(httpx.ReadTimeout),
    ):
        impatient.get("/status", params={"since": number, "wait": 30})

    assert running.status()["ready"] is True

    # A reader is woken by news, and only by news.
    project.save(["alpha", "beta"])
    answer = running.client.get("/status", params={"since": number, "wait": 30})

    assert answer.json()["generation"] > number


def test_what_is_asked_of_a_service_at_rest(running: ServiceProcess) -> None:
    """Its times are UTC, what cannot be done is refused with a reason, and the rest is seen."""
    row = running.environment()
    document = running.status()

    for moment in (
        document["service"]["started_at"],
        row["next_check_at"],
        row["last_pass"]["started_at"],
        *(c["last_transition_time"] for c in row["conditions"]),
    ):
        assert moment.endswith("Z")
        assert abs(seconds(moment) - datetime.now(UTC).timestamp()) < 2 * 3600

    refused = {
        ("nobody/reconcile", None): (404, "UnknownEnvironment"),
        ("studio/rollback", '{"generation": 99}'): (404, "UnknownGeneration"),
        ("studio/holds/alpha/restore", None): (404, "UnknownHold"),
        ("studio/holds/alpha/accept", None): (404, "UnknownHold"),
    }
    for (path, body), (status, reason) in refused.items():
        answer = running.client.post(
            f"/environments/{path}", content=body, headers={"Content-Type": "application/json"}
        )

        assert answer.status_code == status, answer.text
        assert answer.json()["reason"] == reason
        assert answer.json()["detail"]
    assert running.environment()["suspended"] is False

    # Anyone who pauses and then looks sees it paused: the answer comes after the deed.
    for _ in range(5):
        post(running, "pause", reason="looking")
        row = running.environment()
        assert row["suspended"] is True
        assert row["suspension"]["reason"] == "looking"
        post(running, "resume")
        assert running.environment()["suspended"] is False


def test_conditions_say_when_they_turned(running: ServiceProcess, project: Project) -> None:
    before = running.environment()
    assert condition(before, "Ready")["status"] == "True"

    project.save(["alpha", "not-on-the-index"])
    row = running.wait_for_phase("Degraded")

    ready, earlier = condition(row, "Ready"), condition(before, "Ready")
    assert ready["status"] == "False"
    assert seconds(ready["last_transition_time"]) > seconds(earlier["last_transition_time"])
    assert condition(row, "HoldsIntact") == condition(before, "HoldsIntact")
    for found in row["conditions"]:
        assert found["reason"].isalnum(), "one word, for scripts"
        assert found["message"]


def test_the_next_check_comes_by_interval(
    small: PackageIndex, project: Project, service: ServiceFactory
) -> None:
    project.write(["alpha"])
    process = service(interval="2s")
    process.wait_for_phase("InSync")

    row = process.wait_for_environment(
        lambda row: row["current_pass"] is None and row["next_check_at"]
    )

    assert seconds(row["next_check_at"]) - time.time() <= 2.0
    process.wait_for_environment(
        lambda now: seconds(now["next_check_at"]) > seconds(row["next_check_at"])
    )
    process.wait_for_event("pass.started", where=lambda e: e["trigger"] == "interval")


def test_the_history_has_every_pass_that_did_something(
    running: ServiceProcess, project: Project
) -> None:
    project.save(["alpha", "beta"])
    running.wait_for_environment(lambda row: row["generation"] == 2)
    entry = ask(running, "reconcile", reason="to see")

    passes: list[Json] = running.client.get("/history").json()["passes"]

    manual, saved, start = [p["trigger"] for p in passes]
    assert (manual, start) == ("manual", "start")
    # A pass that was under way or due at the same moment may have seen the save.
    assert saved in ("file", "environment", "interval")
    assert passes[0]["id"] == entry["id"]
    detail = running.client.get(f"/history/{passes[1]['id']}").json()
    assert "beta" in detail["log"]
    assert [c["name"] for c in detail["plan"]] == ["beta"]
    assert set(detail["phases"]) >= {"look", "plan", "install", "verify", "exchange"}
