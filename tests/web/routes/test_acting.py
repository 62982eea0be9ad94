"""What can be asked for: it is handed on, named, and refused with a reason where it cannot be."""

from typing import Any

import httpx
import pytest

from reconciler.daemon.actions import Action, Refusal, RequestRefused
from tests.web.hosting import Host
from tests.web.steered import environment

ACTIONS = [
    ("reconcile", Action.RECONCILE, {}, {"reason": None, "apply": False}),
    ("reconcile", Action.RECONCILE, {"apply": True}, {"reason": None, "apply": True}),
    ("pause", Action.PAUSE, {}, {"reason": None, "duration": None}),
    ("pause", Action.PAUSE, {"reason": "demo", "duration": 60}, {"reason": "demo", "duration": 60}),
    ("resume", Action.RESUME, {"reason": "done"}, {"reason": "done"}),
    ("rollback", Action.ROLLBACK, {}, {"reason": None, "apply": False, "generation": None}),
    (
        "rollback",
        Action.ROLLBACK,
        {"generation": 6, "apply": True},
        {"reason": None, "apply": True, "generation": 6},
    ),
    (
        "rollback",
        Action.ROLLBACK,
        {"generation": 6.0},
        {"reason": None, "apply": False, "generation": 6},
    ),
    ("gpu", Action.GPU, {}, {}),
    (
        "holds/torch/restore",
        Action.RESTORE,
        {"apply": True},
        {"reason": None, "apply": True, "package": "torch"},
    ),
    ("holds/Torch_Vision/accept", Action.ACCEPT, {}, {"reason": None, "package": "torch-vision"}),
]


@pytest.mark.parametrize(("path", "action", "body", "wanted"), ACTIONS)
def test_a_request_is_handed_on_and_named(
    client: httpx.Client,
    host: Host,
    path: str,
    action: Action,
    body: dict[str, Any],
    wanted: dict[str, Any],
) -> None:
    answer = client.post(f"/environments/studio/{path}", json=body)
    assert answer.status_code == 202
    assert answer.json() == {"pass": 12, "environment": "studio"}
    assert host.service.asked == [("studio", action, wanted)]
    assert client.get(answer.headers["location"]).json()["id"] == 12


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
    assert host.service.asked[0][:2] == ("studio", Action.RESTORE)
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
