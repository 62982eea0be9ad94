"""Who may look and who may change: the attacks, each refused with a reason in the log."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from reconciler.config import HttpConfig, TcpAddress, UnixAddress
from reconciler.log.logger import Record
from reconciler.web.security import crowd
from tests.support.processes import wait_until
from tests.web.hosting import DEADLINE, Host, as_user, exchange

RECONCILE = "/environments/studio/reconcile"
ROUTES = ["/", "/status", "/events", "/metrics", "/livez", "/openapi.json", "/static/app.js", "/x"]
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("name", ["evil.example", "evil.example:8765"])
def test_a_rebound_name_sees_nothing(
    client: httpx.Client, host: Host, path: str, name: str
) -> None:
    answer = client.get(path, headers={"Host": name})
    assert answer.status_code == 421
    assert answer.json()["reason"] == "ForeignHost"
    assert "allowed_hosts" in answer.json()["detail"]
    record = host.refusals("ForeignHost")[0]
    assert (record["path"], record["uid"]) == (path, os.geteuid())


@pytest.mark.parametrize(
    "name",
    ["localhost.evil.example", "127.0.0.1.nip.io", "evil.example#localhost", "localhost:", "[::1",
     "user@localhost", "localhost:80:80", "127.0.0.2", "0.0.0.0", "localhost/", "localhost,evil",
     "", "127.1", "2130706433", "[::ffff:127.0.0.1]", "localhost."],
)  # fmt: skip
def test_almost_our_name_is_not_our_name(host: Host, name: str) -> None:
    answer = exchange(host.port, f"GET /status HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    assert answer.split(b" ")[1] in {b"421", b"400"}, answer
    assert b'"environments"' not in answer


@pytest.mark.parametrize(
    "name", ["localhost", "LOCALHOST:8765", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8765"]
)
def test_our_names_on_any_port(client: httpx.Client, name: str) -> None:
    assert client.get("/status", headers={"Host": name}).status_code == 200


def test_a_configured_name_is_ours() -> None:
    http = HttpConfig(listen=TcpAddress("127.0.0.1", 0), allowed_hosts=("status.example.org",))
    with Host(http) as host:
        address = f"http://127.0.0.1:{host.port}/status"
        named = httpx.get(address, headers={"Host": "Status.Example.org:443"})
        assert named.status_code == 200
        assert httpx.get(address, headers={"Host": "other.example.org"}).status_code == 421


@pytest.mark.parametrize(
    "head",
    [b"GET /status HTTP/1.1\r\n", b"GET /status HTTP/1.0\r\n",
     b"GET /status HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n",
     b"GET http://evil.example/status HTTP/1.1\r\nHost: localhost\r\n"],
)  # fmt: skip
def test_no_name_or_two_names_see_nothing(host: Host, head: bytes) -> None:
    answer = exchange(host.port, head + b"\r\n")
    assert answer.split(b" ")[1] in {b"421", b"400"}, answer
    assert b'"environments"' not in answer


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CROSS_SITE = [
    ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example", **FORM}, "CrossSite"),
    ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"}, "CrossSite"),
    ({"Sec-Fetch-Site": "CROSS-SITE"}, "CrossSite"),
    ({"Sec-Fetch-Site": "nonsense"}, "CrossSite"),
    ({"Origin": "https://evil.example", **FORM}, "ForeignOrigin"),
    ({"Origin": "null"}, "ForeignOrigin"),
    ({"Origin": "null", "Sec-Fetch-Site": "none"}, "ForeignOrigin"),
    ({"Origin": ""}, "ForeignOrigin"),
    ({"Origin": "http://localhost"}, "ForeignOrigin"),
    ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, "ForeignOrigin"),
    ({"Origin": "file://"}, "ForeignOrigin"),
]


@pytest.mark.parametrize(("headers", "reason"), CROSS_SITE)
def test_a_page_elsewhere_changes_nothing(
    client: httpx.Client, host: Host, headers: dict[str, str], reason: str
) -> None:
    answer = client.post(RECONCILE, headers=headers, content="environment=studio")
    assert answer.status_code == 403
    assert answer.json()["reason"] == reason
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert host.service.asked == []
    assert host.refusals(reason)[0]["path"] == RECONCILE


def test_a_preflight_is_granted_nothing(client: httpx.Client) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.options(RECONCILE, headers=headers)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_our_own_page_may(client: httpx.Client, host: Host) -> None:
    for headers in (
        {"Sec-Fetch-Site": "same-origin", "Origin": f"http://127.0.0.1:{host.port}"},
        {"Origin": f"http://127.0.0.1:{host.port}"},
        {"Sec-Fetch-Site": "same-origin"},
        {},
    ):
        assert client.post(RECONCILE, headers=headers).status_code == 202, headers
    granted = [one for one in host.records if one["event"] == "access.granted"]
    assert len(granted) == 4
    assert granted[0]["uid"] == os.geteuid()


@pytest.mark.parametrize("mode", ["cors", "no-cors", "websocket"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_elsewhere_cannot_use_up_streams(
    client: httpx.Client, host: Host, mode: str, site: str
) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
    for path in ("/events", "/status?wait=60&since=1"):
        assert client.get(path, headers=headers).status_code == 403
    assert host.refusals("CrossSite")


def test_a_link_from_elsewhere_opens_the_page(client: httpx.Client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=headers).status_code == 200


def _post(port: int | Path, headers: str = "") -> bytes:
    head = f"POST {RECONCILE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{headers}"
    return exchange(port, head.encode() + b"\r\n")


@as_root
def test_another_local_user_may_look_but_not_change(host: Host) -> None:
    looked = as_user(
        NOBODY,
        lambda: exchange(host.port, b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    )
    assert looked.startswith(b"HTTP/1.1 200"), looked
    refused = as_user(NOBODY, lambda: _post(host.port))
    assert refused.startswith(b"HTTP/1.1 403"), refused
    assert b'"UserNotAllowed"' in refused
    assert host.service.asked == []
    record = host.refusals("UserNotAllowed")[0]
    assert record["uid"] == NOBODY
    assert (record["method"], record["path"]) == ("POST", RECONCILE)


@as_root
@pytest.mark.parametrize("user", [NOBODY, "nobody"])
def test_a_configured_user_may_change(user: str | int) -> None:
    http = HttpConfig(listen=TcpAddress("127.0.0.1", 0), allowed_users=(user,))
    with Host(http) as host:
        assert as_user(NOBODY, lambda: _post(host.port)).startswith(b"HTTP/1.1 202")
        assert as_user(1234, lambda: _post(host.port)).startswith(b"HTTP/1.1 403")


def test_a_configured_user_that_does_not_exist_is_told() -> None:
    http = HttpConfig(listen=TcpAddress("127.0.0.1", 0), allowed_users=("no-such-user",))
    with Host(http) as host:
        told = [one for one in host.records if one["event"] == "access.user-unknown"]
        assert told[0]["user"] == "no-such-user"
        assert _post(host.port).startswith(b"HTTP/1.1 202")


@as_root
def test_hanging_up_at_once_does_not_make_root_of_anyone(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed socket has uid 0 in /proc/net/tcp."""
    monkeypatch.setattr(crowd, "LOGGED", 1000)

    def post_and_hang_up() -> bytes:
        head = f"POST {RECONCILE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        for _ in range(200):
            client = socket.create_connection(("127.0.0.1", host.port))
            client.sendall(head.encode())
            client.close()
        return b"done"

    assert as_user(NOBODY, post_and_hang_up) == b"done"
    wait_until(lambda: len(_refused(host)) == 200, timeout=DEADLINE, what="the last refusal")
    expected = {"UserNotAllowed", "UnknownUser", "TooManyConnections"}
    assert {one["reason"] for one in _refused(host)} <= expected
    assert {one["uid"] for one in _refused(host)} <= {NOBODY, None}
    assert host.service.asked == []


def _refused(host: Host) -> list[Record]:
    return [one for one in host.records if one["event"] == "access.refused"]


@pytest.fixture
def guarded() -> Iterator[Host]:
    """A server with a token."""
    with Host(token="s3cret-of-some-length") as running:
        yield running


@as_root
def test_the_token_opens_changes_to_anyone(guarded: Host) -> None:
    token = "Authorization: Bearer s3cret-of-some-length\r\n"
    assert as_user(NOBODY, lambda: _post(guarded.port, token)).startswith(b"HTTP/1.1 202")
    assert as_user(NOBODY, lambda: _post(guarded.port)).startswith(b"HTTP/1.1 403")
    granted = next(one for one in guarded.records if one["event"] == "access.granted")
    assert (granted["by"], granted["uid"]) == ("token", NOBODY)


@pytest.mark.parametrize(
    "sent",
    ["Bearer wrong", "Bearer", "Bearer ", "Basic s3cret-of-some-length", "s3cret-of-some-length",
     "Bearer s3cret-of-some-length-and-more", "Bearer s3cret-of-some-lengt", "Bearer \xe9"],
)  # fmt: skip
def test_a_wrong_token_is_refused_whoever_sends_it(guarded: Host, sent: str) -> None:
    answer = exchange(
        guarded.port,
        f"POST {RECONCILE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
        f"Authorization: {sent}\r\n\r\n".encode("latin-1"),
    )
    assert answer.startswith(b"HTTP/1.1 401"), answer
    assert b"www-authenticate: Bearer" in answer
    assert guarded.service.asked == []
    guarded.refusals("BadToken")
    assert "s3cret" not in str(guarded.records)
    assert b"s3cret" not in answer


def test_the_empty_token_is_not_the_one_that_is_not_configured(host: Host) -> None:
    assert _post(host.port, "Authorization: Bearer \r\n").startswith(b"HTTP/1.1 401")


def test_the_token_does_not_excuse_a_foreign_page(guarded: Host) -> None:
    headers = {"Authorization": "Bearer s3cret-of-some-length", "Origin": "https://evil.example"}
    address = f"http://127.0.0.1:{guarded.port}{RECONCILE}"
    assert httpx.post(address, headers=headers).status_code == 403


@pytest.fixture
def unix(tmp_path: Path) -> Iterator[Host]:
    """A server on a unix socket."""
    with Host(HttpConfig(listen=UnixAddress(tmp_path / "socket"))) as running:
        yield running


def test_a_unix_socket_serves_its_own_user(unix: Host, tmp_path: Path) -> None:
    transport = httpx.HTTPTransport(uds=str(tmp_path / "socket"))
    with httpx.Client(transport=transport, base_url="http://localhost", timeout=DEADLINE) as client:
        assert client.get("/status").status_code == 200
        assert client.post(RECONCILE).status_code == 202
        assert client.get("/status", headers={"Host": "evil.example"}).status_code == 421
    assert (
        next(one for one in unix.records if one["event"] == "access.granted")["uid"] == os.geteuid()
    )


@as_root
def test_a_unix_socket_knows_another_user(unix: Host, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    closed = as_user(NOBODY, lambda: _post(path))
    assert closed.startswith(b"PermissionError"), closed
    path.chmod(0o666)
    assert as_user(NOBODY, lambda: _post(path)).startswith(b"HTTP/1.1 403")
    assert unix.refusals("UserNotAllowed")[0]["uid"] == NOBODY
    assert unix.service.asked == []
