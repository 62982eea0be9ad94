"""What a hostile or broken client runs into: sizes, times, numbers, and paths of two meanings."""

import socket
import time
from collections.abc import Iterator

import httpx
import msgspec
import pytest

from reconciler.web.api import parameters
from reconciler.web.security import guard
from reconciler.web.security.crowd import CONNECTIONS
from reconciler.web.server import http_server
from tests.support.processes import wait_until
from tests.web.hosting import DEADLINE, Host, connect, exchange, read_all

RECONCILE = "/environments/studio/reconcile"
HEAD = b"GET /status HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A server that waits for a tenth of the usual time."""
    monkeypatch.setattr(guard, "HEAD_WITHIN", 1.0)
    monkeypatch.setattr(parameters, "BODY_WITHIN", 1.0)
    with Host() as running:
        yield running


def _dribble(client: socket.socket, piece: bytes) -> float:
    """Send a piece again and again until the server hangs up; how long that took."""
    started = time.monotonic()
    client.settimeout(0.1)
    while time.monotonic() - started < DEADLINE:
        try:
            client.sendall(piece)
            if not client.recv(4096):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - started


@pytest.mark.parametrize("beginning", [b"", b"GET /sta", HEAD, HEAD + b"\r\n"])
def test_a_head_that_dribbles_is_cut_off(impatient: Host, beginning: bytes) -> None:
    with connect(impatient.port) as client:
        client.sendall(beginning)
        assert _dribble(client, b"X-Slow: 1\r\n" if beginning else b"G") < DEADLINE
    record = impatient.refusals("SlowRequest")[0]
    assert record["event"] == "access.refused"


def test_many_slow_clients_do_not_keep_others_out(impatient: Host) -> None:
    slow = [connect(impatient.port) for _ in range(100)]
    for client in slow:
        client.sendall(b"GET / HT")
    assert httpx.get(f"http://127.0.0.1:{impatient.port}/status").status_code == 200
    wait_until(lambda: not impatient.server.server_state.connections, timeout=DEADLINE)
    for client in slow:
        client.close()


def test_a_body_that_dribbles_is_cut_off(impatient: Host) -> None:
    head = f"POST {RECONCILE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with connect(impatient.port) as client:
        client.sendall(head.encode())
        assert _dribble(client, b" ") < DEADLINE
    assert impatient.refusals("SlowRequest")[0]["path"] == RECONCILE
    assert impatient.service.asked == []


def test_an_answer_that_nobody_reads_is_dropped(impatient: Host) -> None:
    many = tuple(impatient.service.environments[0].packages[0] for _ in range(60_000))
    environment = impatient.service.environments[0]
    fields = {name: getattr(environment, name) for name in environment.__struct_fields__}
    impatient.do(
        lambda: impatient.service.publish(type(environment)(**{**fields, "packages": many}))
    )
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", impatient.port))
        client.sendall(HEAD + b"\r\n")
        impatient.refusals("SlowRequest")
        wait_until(lambda: not impatient.server.server_state.connections, timeout=DEADLINE)


def test_idle_connections_are_let_go(impatient: Host) -> None:
    with connect(impatient.port) as client:
        client.sendall(HEAD + b"\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 200")


def test_only_so_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    few = msgspec.structs.replace(CONNECTIONS, most=5)
    monkeypatch.setattr(http_server, "CONNECTIONS", few)
    with Host() as host:
        clients = [connect(host.port) for _ in range(5)]
        wait_until(lambda: len(host.server.server_state.connections) == 5)
        refused = exchange(host.port, b"")
        assert refused.startswith(b"HTTP/1.1 503"), refused
        assert b'"TooManyConnections"' in refused
        host.refusals("TooManyConnections")
        for client in clients:
            client.close()
        wait_until(lambda: not host.server.server_state.connections)
        assert httpx.get(f"http://127.0.0.1:{host.port}/livez").status_code == 200


@pytest.mark.parametrize("size", [20_000, 200_000, 2_000_000])
def test_headers_that_are_too_large(host: Host, size: int) -> None:
    answer = exchange(host.port, HEAD + b"X: " + b"a" * size + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 431"), answer[:100]
    assert b'"HeadersTooLarge"' in answer
    host.refusals("HeadersTooLarge")


def test_headers_that_are_too_many(host: Host) -> None:
    lines = b"".join(b"X-%d: 1\r\n" % number for number in range(3000))
    assert exchange(host.port, HEAD + lines + b"\r\n").startswith(b"HTTP/1.1 431")


def test_an_address_that_is_too_long(host: Host) -> None:
    for target in ("/" + "a" * 10_000, "/status?since=" + "1" * 10_000):
        answer = exchange(host.port, f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 414"), answer[:100]
        assert b'"AddressTooLong"' in answer
    assert len(host.refusals("AddressTooLong")[0]["path"]) <= 200


JSON = {"Content-Type": "application/json"}


def test_a_body_that_is_too_large(client: httpx.Client, host: Host) -> None:
    body = b'{"reason": "' + b"a" * 70_000 + b'"}'
    announced = client.post(RECONCILE, content=body, headers=JSON)
    chunked = client.post(RECONCILE, content=iter([body[:40_000], body[40_000:]]), headers=JSON)
    for answer in (announced, chunked):
        assert answer.status_code == 413
        assert answer.json()["reason"] == "BodyTooLarge"
    assert host.refusals("BodyTooLarge")[0]["path"] == RECONCILE
    assert host.service.asked == []


@pytest.mark.parametrize(
    "media_type",
    ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "",
     "application/jsonp"],
)  # fmt: skip
def test_only_json_is_read(client: httpx.Client, host: Host, media_type: str) -> None:
    answer = client.post(RECONCILE, content=b"{}", headers={"Content-Type": media_type})
    assert answer.status_code == 415
    assert answer.json()["reason"] == "NotJson"
    assert host.service.asked == []
    host.refusals("NotJson")


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"null", b'"x"', b'{"aply": true}', b'{"apply": 1}', b'{"apply": null}',
     b'{"reason": "' + b"x" * 2000 + b'"}', b"\xff\xfe", b"[" * 60_000, b'{"reason": "\\ud800"}'],
)  # fmt: skip
def test_a_body_that_does_not_fit(client: httpx.Client, host: Host, body: bytes) -> None:
    answer = client.post(RECONCILE, content=body, headers=JSON)
    assert answer.status_code == 400, answer.text
    assert answer.json()["reason"] == "BadBody"
    assert host.service.asked == []


def test_json_with_a_character_set_is_json(client: httpx.Client) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert client.post(RECONCILE, content=b"{}", headers=headers).status_code == 202


@pytest.mark.parametrize(
    "path",
    ["//status", "/static//app.js", "/static/../status", "/static/./app.js", "/static/..",
     "/static/%2e%2e/status", "/static/%2E%2E/%2E%2E/etc/passwd", "/static/..%2f..%2fetc/passwd",
     "/static/%2fetc%2fpasswd", "/static/..%5capp.js", "/static/\\..\\app.js", "/static/%5c",
     "/status%00", "/static/app.js%00.html", "/status%0d%0aX:1", "/environments/%2e%2e/reconcile",
     "/environments/a%2Fb/reconcile", "status", "*", "http://localhost/status", "//evil.example/"],
)  # fmt: skip
def test_paths_of_two_meanings_are_refused(host: Host, path: str) -> None:
    answer = exchange(host.port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400"), answer[:200]
    assert b'"BadRequest"' in answer
    assert b"\nlocation:" not in answer.lower()
    assert host.refusals("BadRequest")[0]["path"] == path


def test_no_file_outside_the_page_is_served(host: Host) -> None:
    for path in (
        "/static/__init__.py",
        "/static/app.py",
        "/static/etc/passwd",
        "/static/static/app.js",
    ):
        answer = exchange(host.port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 404"), answer[:200]


@pytest.mark.parametrize(
    "noise",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"SSH-2.0-x\r\n\r\n", b"\r\n" * 50,
     HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", HEAD + b"Content-Length: x\r\n\r\n",
     HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n", HEAD + b"X\x00: 1\r\n\r\n",
     HEAD + b" folded: 1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
)  # fmt: skip
def test_noise_is_refused(host: Host, noise: bytes) -> None:
    answer = exchange(host.port, noise)
    assert answer.split(b" ")[1] in {b"400", b"421"}, answer
    assert b"application/problem+json" in answer
    assert b"frame-ancestors" in answer
    wait_until(lambda: [one for one in host.records if one["event"] == "access.refused"])
    assert not [one for one in host.records if one["event"] == "library.message"]
    assert not [one for one in host.records if one["level"] in {"error", "critical"}]


def test_noise_in_the_middle_of_a_body(host: Host) -> None:
    head = f"POST {RECONCILE} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = exchange(host.port, head.encode() + b"zz\r\nnonsense")
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert host.service.asked == []
    assert not [one for one in host.records if one["level"] in {"error", "critical"}]


def test_an_upgrade_is_not_made(host: Host) -> None:
    upgrade = (
        b"Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    answer = exchange(host.port, HEAD + upgrade)
    assert answer.startswith(b"HTTP/1.1 200")
    assert not [one for one in host.records if one["event"] == "library.message"]


def test_a_second_request_on_the_same_line(host: Host) -> None:
    with connect(host.port) as client:
        client.sendall((HEAD + b"\r\n") * 2 + HEAD + b"Connection: close\r\n\r\n")
        answer = read_all(client)
    assert answer.count(b"HTTP/1.1 200") == 3
