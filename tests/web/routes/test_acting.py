"""What can be asked for: a real supervisor does it, or it is refused with a reason."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from reconciler.daemon.actions import Refusal, RequestRefused
from reconciler.daemon.requests import Restore
from tests.support.processes import wait_until
from tests.web.hosting import DEADLINE, Host
from tests.web.routes.conftest import MakeReal, Real
from tests.web.steered import environment

WHY = "the morning run needs it"
Check = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def shared(make_real: MakeReal) -> Iterator[Real]:
    with make_real(keep_generations=100) as real:
        real.in_sync()
        yield real


@pytest.fixture
def real(shared: Real) -> Real:
    """The real supervisor, its environment in sync and not suspended."""
    shared.ask("resume")
    shared.in_sync()
    return shared


def is_paused(row: dict[str, Any], why: str) -> bool:
    """Whether it is suspended, and for this reason."""
    return row["phase"] == "Paused" and row["suspension"]["reason"] == why


def is_live(row: dict[str, Any], generation: int) -> bool:
    return is_paused(row, f"rolled back to generation {generation}: {WHY}")


ACTIONS: list[tuple[str, dict[str, Any], str, Check]] = [
    ("reconcile", {"reason": WHY}, "manual", lambda row: row["phase"] == "InSync"),
    ("pause", {}, "manual", lambda row: is_paused(row, "paused by hand")),
    ("pause", {"reason": WHY}, "manual", lambda row: row["suspension"]["until"] is None),
    ("pause", {"reason": WHY, "duration": 60}, "manual",
     lambda row: is_paused(row, WHY) and row["suspension"]["until"]),
    ("resume", {"reason": WHY}, "resume", lambda row: row["suspension"] is None),
    ("rollback", {"reason": WHY}, "rollback", lambda row: row["phase"] == "Paused"),
    ("rollback", {"reason": WHY, "generation": 0}, "rollback", lambda row: is_live(row, 0)),
    ("rollback", {"reason": WHY, "generation": 0.0}, "rollback", lambda row: is_live(row, 0)),
    ("gpu", {}, "manual", lambda row: row["phase"] == "InSync"),
    ("holds/torch/restore", {"reason": WHY}, "restore", lambda row: row["phase"] == "InSync"),
    ("holds/PyTorch_Triton.ROCm/accept", {"reason": WHY}, "accept",
     lambda row: row["phase"] == "InSync"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "trigger", "check"), ACTIONS)
def test_what_is_asked_for_is_done_and_the_history_and_the_log_say_why(
    real: Real, path: str, body: dict[str, Any], trigger: str, check: Check
) -> None:
    answer = real.client.post(f"/environments/studio/{path}", json=body)

    assert answer.status_code == 202, answer.text
    number = answer.json()["pass"]
    assert answer.json() == {"pass": number, "environment": "studio"}
    assert answer.headers["location"] == f"/history/{number}"
    entry = real.finished(number)
    assert (entry["trigger"], entry["reason_given"]) == (trigger, body.get("reason"))
    assert entry["result"] in ("changed", "unchanged")
    (listed,) = [one for one in real.client.get("/history").json()["passes"] if one["id"] == number]
    assert listed["reason_given"] == body.get("reason")
    wait_until(lambda: check(real.environment()), timeout=DEADLINE, what="its effect")
    (asked,) = [
        one
        for one in real.host.records
        if one["event"] == "pass.requested" and one["pass"] == number
    ]
    assert (asked["trigger"], asked["reason"]) == (trigger, body.get("reason"))


def test_the_gpu_is_asked_again(real: Real) -> None:
    count = len([one for one in real.host.records if one["event"] == "gpu.checked"])
    real.ask("gpu")
    wait_until(
        lambda: len([it for it in real.host.records if it["event"] == "gpu.checked"]) > count,
        timeout=DEADLINE,
        what="an answer of torch's",
    )


def test_apply_changes_what_is_paused_this_once(real: Real) -> None:
    real.ask("pause", reason="a training run")
    real.project.save([*real.project_dependencies, "beta"])

    assert real.ask("reconcile", reason="without")["changes"] == []
    entry = real.ask("reconcile", apply=True, reason=WHY)

    assert [change["name"] for change in entry["changes"]] == ["beta"]
    assert entry["reason_given"] == WHY
    assert is_paused(real.environment(), "a training run")
    real.project.save(real.project_dependencies)


def test_requests_that_share_a_pass_all_leave_their_reason(real: Real) -> None:
    stall = real.index.stall_downloads(for_name="gamma")
    real.project.save([*real.project_dependencies, "gamma"])
    stall.wait_reached()

    asked = [
        real.client.post("/environments/studio/reconcile", json={"reason": why})
        for why in ("first", "second", "first")
    ]
    real.index.heal()

    (number,) = {answer.json()["pass"] for answer in asked}
    assert real.finished(number)["reason_given"] == "first; second"
    logged = [one for one in real.host.records if one["event"] == "pass.requested"]
    assert [one["reason"] for one in logged if one["pass"] == number] == [
        "first", "second", "first",
    ]  # fmt: skip
    real.project.save(real.project_dependencies)


def test_a_password_in_a_reason_is_not_shown(real: Real) -> None:
    entry = real.ask("reconcile", reason="see https://me:hunter2secret@example.org/ticket")
    assert "https://" in entry["reason_given"]
    assert "hunter2secret" not in real.client.get("/history").text
    assert "hunter2secret" not in str(real.host.records)


@pytest.mark.parametrize(
    ("path", "body", "code", "reason"),
    [
        ("holds/alpha/restore", {}, 404, "UnknownHold"),
        ("holds/alpha/accept", {}, 404, "UnknownHold"),
        ("rollback", {"generation": 4711}, 404, "UnknownGeneration"),
    ],
)
def test_what_there_is_not_is_refused(
    real: Real, path: str, body: dict[str, Any], code: int, reason: str
) -> None:
    answer = real.client.post(f"/environments/studio/{path}", json=body)
    assert (answer.status_code, answer.json()["reason"]) == (code, reason)


def test_no_body_is_an_empty_one(client: httpx.Client) -> None:
    assert client.post("/environments/studio/pause").status_code == 202


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("pause", {"duration": 0}),
        ("pause", {"duration": -1}),
        ("pause", {"duration": "2h"}),
        ("pause", {"duration": 1e12}),
        ("rollback", {"generation": -1}),
        ("rollback", {"generation": 2**63}),
        ("rollback", {"generation": "6"}),
        ("rollback", {"generation": 6.5}),
        ("resume", {"apply": True}),
        ("gpu", {"reason": "x"}),
        ("holds/torch/restore", {"package": "torch"}),
    ],
)
def test_what_cannot_be_asked_is_refused(
    client: httpx.Client, host: Host, path: str, body: dict[str, Any]
) -> None:
    answer = client.post(f"/environments/studio/{path}", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["reason"] == "BadBody"
    assert host.service.asked == []


@pytest.mark.parametrize("path", ["reconcile", "gpu", "holds/torch/restore"])
def test_an_unknown_environment_is_refused(client: httpx.Client, host: Host, path: str) -> None:
    answer = client.post(f"/environments/other/{path}")
    assert answer.status_code == 404
    assert answer.json()["reason"] == "UnknownEnvironment"
    assert host.service.asked == []


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Refusal.UNKNOWN_HOLD, 404),
        (Refusal.UNKNOWN_GENERATION, 404),
        (Refusal.OBSERVING, 409),
        (Refusal.STOPPING, 503),
    ],
)
def test_the_service_says_no(client: httpx.Client, host: Host, refusal: Refusal, code: int) -> None:
    host.service.refuse = RequestRefused(refusal, "torch is not there", "Install it.")
    answer = client.post("/environments/studio/holds/torch/restore")
    assert answer.status_code == code
    assert answer.json()["reason"] == refusal
    assert answer.json()["detail"] == "torch is not there. Install it."


def test_holds_without_an_environment_mean_the_only_one(client: httpx.Client, host: Host) -> None:
    assert client.post("/holds/torch/restore").status_code == 202
    assert host.service.asked == [("studio", Restore(package="torch"))]
    host.do(lambda: host.service.publish(environment(), environment("other")))
    answer = client.post("/holds/torch/restore")
    assert answer.status_code == 409
    assert answer.json()["reason"] == "SeveralEnvironments"
    assert "/environments/NAME/holds/PACKAGE/restore" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["tor ch", "-torch", "x" * 300, "t%C3%B6rch"])
def test_what_is_no_package_name_is_no_hold(client: httpx.Client, host: Host, name: str) -> None:
    answer = client.post(f"/environments/studio/holds/{name}/restore")
    assert (answer.status_code, answer.json()["reason"]) == (404, "UnknownHold")
    assert host.service.asked == []
