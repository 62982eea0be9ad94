"""Status, history and health: what is answered, when, and with which headers."""

import threading
import time

import httpx
import msgspec
import pytest

from reconciler.daemon.requests import Reconcile
from reconciler.status import Status
from tests.web.hosting import DEADLINE, Host
from tests.web.steered import environment


def test_status_has_everything(client: httpx.Client, host: Host) -> None:
    answer = client.get("/status")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    shown = msgspec.json.decode(answer.content, type=Status)
    assert shown == host.service.status()
    assert answer.json()["schema"] == 1
    assert answer.content.endswith(b"}\n"), "curl leaves the prompt on a line of its own"


def test_one_environment_by_name(client: httpx.Client) -> None:
    answer = client.get("/status/studio")
    assert answer.status_code == 200
    assert answer.json() == client.get("/status").json()["environments"][0]


def test_an_unknown_environment_is_answered_with_the_nearest_name(client: httpx.Client) -> None:
    answer = client.get("/status/studoi")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["reason"] == "UnknownEnvironment"
    assert "Did you mean studio?" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/status", "/status/studio", "/openapi.json", "/"])
def test_what_is_known_is_not_sent_again(client: httpx.Client, path: str) -> None:
    first = client.get(path)
    etag = first.headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b""), known
        assert again.headers["etag"] == etag
    assert client.get(path, headers={"If-None-Match": '"other"'}).content == first.content


def test_the_etag_changes_with_the_status(client: httpx.Client, host: Host) -> None:
    before = client.get("/status").headers["etag"]
    host.do(host.service.publish)
    after = client.get("/status", headers={"If-None-Match": before})
    assert after.status_code == 200
    assert after.headers["etag"] != before


@pytest.mark.parametrize(
    "path",
    ["/status", "/status/studio", "/livez", "/readyz", "/metrics", "/history", "/", "/events"],
)
def test_head_is_get_without_the_body(client: httpx.Client, path: str) -> None:
    head = client.head(path)
    assert head.status_code == 200
    assert head.content == b""
    if path != "/events":
        got = client.get(path)
        assert head.headers["content-type"] == got.headers["content-type"]
        if path != "/metrics":  # which counts on
            assert head.headers["content-length"] == got.headers["content-length"]


def _later(host: Host, action: object) -> threading.Timer:
    timer = threading.Timer(0.2, lambda: host.do(action))  # type: ignore[arg-type]
    timer.start()
    return timer


def test_waiting_ends_with_the_next_change(client: httpx.Client, host: Host) -> None:
    timer = _later(host, host.service.publish)
    started = time.monotonic()
    answer = client.get("/status", params={"wait": 15, "since": 1})
    timer.join()
    assert answer.json()["generation"] == 2
    assert time.monotonic() - started < 10


def test_waiting_ends_in_time_without_any_change(client: httpx.Client) -> None:
    started = time.monotonic()
    answer = client.get("/status", params={"wait": 0.3, "since": 1})
    assert answer.json()["generation"] == 1
    assert time.monotonic() - started >= 0.3


def test_nobody_waits_for_what_is_there(client: httpx.Client, host: Host) -> None:
    host.do(host.service.publish)
    started = time.monotonic()
    assert client.get("/status", params={"wait": 15, "since": 1}).json()["generation"] == 2
    # A number that we have not reached is one of an earlier life of the service.
    assert client.get("/status", params={"wait": 15, "since": 99}).json()["generation"] == 2
    assert time.monotonic() - started < 10


def test_waiting_for_an_environment_is_waiting_for_its_next_tree(
    client: httpx.Client, host: Host
) -> None:
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(client.get("/status/studio", params={"wait": 15, "since": 7}))

    asking = threading.Thread(target=ask)
    asking.start()
    host.do(host.service.publish)  # a change of the status, of no tree
    host.do(host.service.publish)
    asking.join(0.3)
    assert asking.is_alive()
    host.do(lambda: host.service.publish(environment(generation=8)))
    asking.join(DEADLINE)
    assert answers[0].json()["generation"] == 8


def test_an_environment_that_goes_away_ends_the_wait(client: httpx.Client, host: Host) -> None:
    timer = _later(host, lambda: host.service.publish(environment("other")))
    answer = client.get("/status/studio", params={"wait": 15, "since": 7})
    timer.join()
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "query",
    ["wait=x", "wait=-1", "wait=61", "wait=nan", "wait=inf", "wait=", "since=-1", "since=1.5",
     "since=99999999999999999999", "sinec=1", "wait=1&wait=2"],
)  # fmt: skip
def test_a_bad_query_is_refused_with_the_reason(client: httpx.Client, query: str) -> None:
    answer = client.get(f"/status?{query}")
    assert answer.status_code == 400, answer.text
    assert answer.json()["reason"] == "BadParameter"
    assert "query" in answer.json()["detail"]


def test_health(client: httpx.Client, host: Host) -> None:
    assert client.get("/livez").json() == {"alive": True}
    assert client.get("/readyz").json() == {"ready": True}
    host.service.reason = "studio: uv is missing"
    host.service.live = False
    ready, live = client.get("/readyz"), client.get("/livez")
    assert (ready.status_code, ready.json()["reason"]) == (503, "NotReady")
    assert ready.json()["detail"] == "studio: uv is missing"
    assert (live.status_code, live.json()["reason"]) == (503, "Stalled")


def _run_passes(host: Host, count: int) -> None:
    for _ in range(count):
        host.wait(host.service.request("studio", Reconcile()))


def test_history_is_paged_with_the_newest_first(client: httpx.Client, host: Host) -> None:
    _run_passes(host, 5)
    seen: list[int] = []
    page: str | None = "/history?environment=studio&limit=2"
    while page is not None:
        answer = client.get(page).json()
        assert len(answer["passes"]) <= 2
        seen += [one["id"] for one in answer["passes"]]
        page = answer["next"]
    assert seen == [16, 15, 14, 13, 12]


def test_a_pass_has_its_log(client: httpx.Client, host: Host) -> None:
    _run_passes(host, 1)
    answer = client.get("/history/12").json()
    assert answer["log"] == "Resolved 34 packages"
    assert answer["changes"] == [
        {"name": "numpy", "action": "install", "from": None, "to": "1.26.4"}
    ]
    assert answer["result"] == "changed"


def test_a_running_pass_has_an_address_already(client: httpx.Client, host: Host) -> None:
    host.service.hold_passes = True
    _run_passes(host, 1)
    answer = client.get("/history/12")
    assert answer.status_code == 200
    assert answer.json()["result"] is None


@pytest.mark.parametrize("number", ["99", "0", "x", "-1", "1.0", "9" * 30, "9" * 5000, "٣"])
def test_an_unknown_pass_is_not_found(client: httpx.Client, number: str) -> None:
    answer = client.get(f"/history/{number}")
    assert answer.status_code == 404
    assert answer.json()["reason"] == "UnknownPass"


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "before=-1", "environment="])
def test_history_refuses_what_it_cannot_do(client: httpx.Client, query: str) -> None:
    assert client.get(f"/history?{query}").status_code == 400


def test_history_of_an_unknown_environment(client: httpx.Client) -> None:
    assert client.get("/history?environment=other").json()["reason"] == "UnknownEnvironment"


def test_an_unexpected_error_shows_nothing_and_is_logged_once(
    client: httpx.Client, host: Host
) -> None:
    host.service.history_fails = True
    answer = client.get("/history")
    assert answer.status_code == 500
    assert answer.json()["reason"] == "InternalError"
    assert answer.headers["connection"] == "close"
    assert "on-fire/at-this-place" not in answer.text
    assert "frame-ancestors" in answer.headers["content-security-policy"]
    assert client.get("/status").status_code == 200
    failures = [one for one in host.records if "on-fire/at-this-place" in str(one)]
    assert [one["event"] for one in failures] == ["request.failed"]
    assert "Traceback" in failures[0]["exception"]


@pytest.mark.parametrize("path", ["/nothing", "/status/", "/environments/studio", "/static/x.js"])
def test_what_is_not_there_is_a_problem(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json().keys() == {"type", "title", "status", "reason", "detail"}
    assert answer.json()["title"] == "Not Found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/status", {"GET", "HEAD"}),
        ("DELETE", "/history", {"GET", "HEAD"}),
        ("PUT", "/", {"GET", "HEAD"}),
        ("OPTIONS", "/status", {"GET", "HEAD"}),
        ("GET", "/environments/studio/reconcile", {"POST"}),
        ("HEAD", "/api/v1/setup/ai-models/fix-dependencies", {"POST"}),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(
    client: httpx.Client, method: str, path: str, allowed: set[str]
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == allowed
    if method != "HEAD":
        assert answer.json()["reason"] == "MethodNotAllowed"


@pytest.mark.parametrize("path", ["/status", "/", "/nothing", "/metrics", "/status?wait=x"])
def test_every_answer_is_protected(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not any("unsafe" in directive for directive in policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cache-control"] in {"no-store", "no-cache"}
    assert "date" in headers
    assert "server" not in headers
    assert not [name for name in headers if name.startswith("access-control-")]


def test_the_page_and_its_parts(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert client.get("/ai-models-setup").content == page.content
    script = client.get("/static/app.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert client.get("/static/style.css").headers["content-type"] == "text/css; charset=utf-8"
    assert client.get("/static/icon.svg").headers["content-type"] == "image/svg+xml"
