"""The event stream: numbered, resumed, kept alive, bounded, and ended with the service."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.daemon.events import EventHub
from reconciler.web.routes import streaming
from tests.support.processes import wait_until
from tests.web.hosting import DEADLINE, Host, connect


@dataclass
class Seen:
    """One event as a browser takes it."""

    id: str
    kind: str
    data: Any


class Reader:
    """Reads a stream, line by line."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def next(self) -> Seen:
        fields: dict[str, str] = {}
        for line in self._lines:
            if line.startswith(":"):
                continue
            if not line and fields:
                return Seen(fields["id"], fields["event"], json.loads(fields["data"]))
            name, _, value = line.partition(": ")
            if name:
                fields[name] = value
        raise EOFError

    def comment(self) -> str:
        return next(line for line in self._lines if line.startswith(":"))

    def rest(self) -> list[str]:
        return list(self._lines)


@contextmanager
def following(host: Host, last_id: str | None = None) -> Iterator[Reader]:
    """Follow the events until the block ends."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    address = f"http://127.0.0.1:{host.port}/events"
    with httpx.stream("GET", address, headers=headers, timeout=DEADLINE) as response:
        reader = Reader(response)
        if response.status_code == 200:
            assert reader.comment() == ": connected"
        yield reader


def _publish(host: Host, count: int, start: int = 0) -> None:
    hub = host.service.events
    for number in range(start, start + count):
        hub.publish("log", {"environment": "studio", "pass": 1, "line": f"line {number}"})


def test_events_arrive_with_id_kind_and_data(host: Host) -> None:
    with following(host) as reader:
        assert reader.response.headers["content-type"].startswith("text/event-stream")
        assert reader.response.headers["cache-control"] == "no-store"
        data = {"environment": "studio", "pass": 1, "package": "numpy", "step": "installed"}
        host.service.events.publish("progress", data)
        host.service.events.publish("log", {"line": "two\nlines \u2028 \r and ü"})
        first, second = reader.next(), reader.next()
    assert (first.kind, first.data) == ("progress", data)
    assert (second.kind, second.data["line"]) == ("log", "two\nlines \u2028 \r and ü")
    assert int(second.id) == int(first.id) + 1


def test_everyone_gets_everything_in_order(host: Host) -> None:
    with following(host) as one, following(host) as other:
        threads = [threading.Thread(target=_publish, args=(host, 50, at)) for at in (0, 50)]
        for thread in threads:
            thread.start()
        seen = [[reader.next() for _ in range(100)] for reader in (one, other)]
        for thread in threads:
            thread.join()
    assert seen[0] == seen[1]
    ids = [int(event.id) for event in seen[0]]
    assert ids == list(range(ids[0], ids[0] + 100))
    assert {event.data["line"] for event in seen[0]} == {f"line {n}" for n in range(100)}


def test_a_reader_that_comes_back_misses_nothing(host: Host) -> None:
    _publish(host, 10)
    with following(host) as reader:
        _publish(host, 1, 10)
        last = reader.next()
    _publish(host, 5, 11)
    with following(host, last.id) as reader:
        assert [reader.next().data["line"] for _ in range(5)] == [
            f"line {n}" for n in range(11, 16)
        ]
        _publish(host, 1, 16)
        assert reader.next().data["line"] == "line 16"


@pytest.mark.parametrize("last_id", ["1", "999999999999999999", "x", "-5", "9" * 100, ""])
def test_an_id_that_is_not_known_means_to_look_again(host: Host, last_id: str) -> None:
    _publish(host, 3)
    with following(host, last_id) as reader:
        assert reader.next().kind == "reset"
        _publish(host, 1)
        assert reader.next().kind == "log"


def test_what_left_the_ring_means_to_look_again() -> None:
    with Host(hub=lambda: EventHub(first_id=1, ring=5)) as host:
        _publish(host, 20)
        with following(host, "15") as reader:
            assert [reader.next().id for _ in range(5)] == ["16", "17", "18", "19", "20"]
        with following(host, "14") as reader:
            assert reader.next().kind == "reset"


def test_ids_go_on_after_a_restart() -> None:
    first, second = EventHub(), EventHub()
    assert second._next >= first._next > 1_700_000_000_000


def test_a_silent_stream_has_heartbeats() -> None:
    with Host(heartbeat=0.1) as host, following(host) as reader:
        assert reader.comment() == ": still here"
        assert reader.comment() == ": still here"


def test_only_so_many_readers() -> None:
    with Host(hub=lambda: EventHub(subscribers=2)) as host:
        with following(host), following(host), following(host) as third:
            assert third.response.status_code == 503
            third.response.read()
            assert third.response.json()["reason"] == "TooManySubscribers"
            assert third.response.headers["retry-after"]
        wait_until(lambda: not host.service.events._subscriptions, timeout=DEADLINE)
        with following(host) as again:
            assert again.response.status_code == 200


def test_one_who_leaves_is_forgotten(host: Host) -> None:
    for _ in range(5):
        with following(host):
            assert len(host.service.events._subscriptions) >= 1
    wait_until(lambda: not host.service.events._subscriptions, timeout=DEADLINE)
    wait_until(lambda: not host.server.server_state.tasks, timeout=DEADLINE)


def _stuck(host: Host) -> socket.socket:
    """A reader that asks for the events and then reads none."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", host.port))
    client.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_until(lambda: host.service.events._subscriptions, timeout=DEADLINE)
    return client


def test_a_reader_that_does_not_keep_up_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SEND_WITHIN", 0.5)
    with Host() as host, _stuck(host), following(host) as brisk:
        for batch in range(40):
            host.service.events.publish("log", {"line": "x" * 100_000, "batch": batch})
            assert brisk.next().data["batch"] == batch, "others are not held up"
        wait_until(lambda: len(host.service.events._subscriptions) == 1, timeout=DEADLINE)
        dropped = [one for one in host.records if one["event"] == "client.dropped"]
        assert dropped[0]["reason"]
        wait_until(lambda: len(host.server.server_state.connections) == 1, timeout=DEADLINE)
        assert not [one for one in host.records if one["level"] in {"error", "warning"}]


def test_memory_for_a_slow_reader_is_bounded() -> None:
    with Host(hub=lambda: EventHub(queue=10)) as host:

        def burst() -> int:
            """Publish without giving the reader a chance, as a busy uv does."""
            subscription = host.service.events.subscribe()
            for number in range(1000):
                host.service.events.publish("log", {"line": number})
            assert subscription.dropped
            return len(subscription._waiting)

        assert host.do(burst) <= 10
        assert not host.service.events._subscriptions


def test_a_burst_ends_the_stream_and_the_reader_resumes() -> None:
    with Host(hub=lambda: EventHub(first_id=1, queue=10)) as host:
        with following(host) as reader:
            host.do(lambda: _publish(host, 500))
            assert reader.rest() == [""], "it ends before the reader lags behind"
        with following(host, "1") as reader:
            assert [reader.next().id for _ in range(499)] == [str(n) for n in range(2, 501)]


def test_the_end_of_the_service_ends_the_streams() -> None:
    with Host() as host, following(host) as reader:
        host.stop()
        assert reader.rest() == [""] or reader.rest() == []
    assert not [one for one in host.records if one["level"] in {"error", "warning"}]


def test_the_hubs_end_hands_over_what_waits(host: Host) -> None:
    with following(host) as reader:
        _publish(host, 3)
        host.service.events.close()
        assert [reader.next().data["line"] for _ in range(3)] == ["line 0", "line 1", "line 2"]
        with pytest.raises(EOFError):
            reader.next()
    with following(host) as late, pytest.raises(EOFError):
        late.next()


def _switches() -> int:
    """How often this process's server threads gave the processor back by themselves."""
    for thread in threading.enumerate():
        if thread.name == "server":
            text = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
            return int(text.split("voluntary_ctxt_switches:")[1].split()[0])
    raise AssertionError("no server")


def test_the_idle_server_sleeps(host: Host) -> None:
    with following(host), connect(host.port):
        before = _switches()
        threading.Event().wait(2)
        assert _switches() - before < 6, "uvicorn's own loop would wake up 20 times"
