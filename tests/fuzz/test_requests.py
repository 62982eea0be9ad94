"""Broken requests to the service, and broken answers to the commands.

As in `test_fuzzing`, RECONCILER_TEST_FUZZ says how many of each.
"""

import os
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from reconciler.cli.client import Client, Foreign, NotRunning, RefusedByService
from reconciler.config import Config, HttpConfig, ServiceConfig, UnixAddress
from reconciler.daemon.requests import Reconcile
from tests.fuzz.mutations import mutated
from tests.support.attacks import COUNTED
from tests.web.hosting import Host, connect, read_answer

_INPUTS = int(os.environ.get("RECONCILER_TEST_FUZZ", "800"))
_SEED = int(os.environ.get("RECONCILER_TEST_FUZZ_SEED", "1"))
_HOST = b"Host: localhost\r\nConnection: close\r\n"
_POST = b"Content-Type: application/json\r\nContent-Length: "
PLACES = (
    b"GET /status", b"GET /status/studio", b"GET /history?limit=5&before=9", b"GET /history/1",
    b"GET /metrics", b"GET /livez", b"GET /readyz", b"GET /openapi.json", b"GET /",
    b"GET /static/page.js", b"GET /ai-models-setup", b"HEAD /status", b"OPTIONS /status",
)  # fmt: skip
BODIES = {
    b"/environments/studio/reconcile": b'{"apply": true, "reason": "x"}',
    b"/environments/studio/pause": b'{"reason": "x", "duration": "10m"}',
    b"/environments/studio/resume": b"{}",
    b"/environments/studio/rollback": b'{"generation": 3, "reason": "x"}',
    b"/environments/studio/gpu": b"{}",
    b"/environments/studio/holds/torch/restore": b"{}",
    b"/environments/studio/holds/torch/accept": b"{}",
    b"/api/v1/setup/ai-models/fix-dependencies": b"{}",
}
REQUESTS = (
    *(b"%s HTTP/1.1\r\n%s\r\n" % (place, _HOST) for place in PLACES),
    *(
        b"POST %s HTTP/1.1\r\n%s%s%d\r\n\r\n%s" % (place, _HOST, _POST, len(body), body)
        for place, body in BODIES.items()
    ),
)
ANSWERS = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"passes": []}',
    b'HTTP/1.1 404 Not Found\r\nContent-Length: 32\r\n\r\n{"reason": "NoX", "detail": "no"}',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}   \r\n0\r\n\r\n",
    b'HTTP/1.1 200 OK\r\nX: y\r\n\r\nid: 1\nevent: a\ndata: {"a": 1}\n\n',
)


def test_every_request_gets_an_answer_or_is_cut_off(
    record_property: Callable[[str, object], None],
) -> None:
    wrong = []
    with Host() as host:
        for seed in range(_SEED, _SEED + _INPUTS):
            start = REQUESTS[seed % len(REQUESTS)]
            request = _with_its_body(start, seed) if seed % 3 == 0 else mutated(start, seed)
            said = _asked(host, request)
            if said:
                wrong.append(f"seed {seed}: {said}\n{request[:300]!r}")
        wrong += [str(one) for one in host.records if one["level"] in {"error", "critical"}]
    record_property(COUNTED, ["inputs fuzzed", "requests", _INPUTS])
    assert not wrong, "\n".join(wrong[:10])


def _with_its_body(request: bytes, seed: int) -> bytes:
    """Only the body is broken, so that it is read."""
    head, _, body = request.partition(b"\r\n\r\n")
    body = mutated(body or b"{}", seed)[:60_000]
    head = re.sub(rb"\r\nContent-Length: \d+", b"", head)
    return b"%s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body)


def _asked(host: Host, request: bytes) -> str:
    """What is wrong with the answer."""
    with connect(host.port) as client:
        client.settimeout(15)
        with suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
        try:
            answer = read_answer(client)
        except TimeoutError:
            return "no answer, and no end"
        except OSError:
            return ""
    status = re.match(rb"HTTP/1\.1 ([1-5])\d\d ", answer)
    if b"Traceback" in answer:
        return "a traceback"
    return f"{answer[:200]!r}" if answer and (status is None or status[1] == b"5") else ""


def test_a_command_survives_every_answer(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    wrong = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        http = HttpConfig(listen=UnixAddress(tmp_path / "s"))
        service = ServiceConfig(state_dir=tmp_path)
        client = Client(Config(service=service, http=http, environments={}, path=tmp_path / "c"))
        for seed in range(_SEED, _SEED + _INPUTS):
            answer = mutated(ANSWERS[seed % len(ANSWERS)], seed)
            serving = threading.Thread(target=_answer, args=(listening, answer))
            serving.start()
            said = _command(client, seed)
            serving.join()
            if said:
                wrong.append(f"seed {seed}: {said}\n{answer[:300]!r}")
    record_property(COUNTED, ["inputs fuzzed", "answers", _INPUTS])
    assert not wrong, f"{len(wrong)}\n" + "\n".join(wrong[:10])


def _answer(listening: socket.socket, answer: bytes) -> None:
    connection, _ = listening.accept()
    with connection, suppress(OSError):
        connection.recv(65536)
        connection.sendall(answer)


def _command(client: Client, seed: int) -> str:
    asked: tuple[Callable[[], object], ...] = (
        client.status,
        lambda: client.history(None, 3),
        lambda: client.entry(3),
        lambda: client.ask("studio", Reconcile()),
        lambda: list(client.events(None)),
    )
    try:
        asked[(seed // len(ANSWERS)) % len(asked)]()
    except (NotRunning, Foreign, RefusedByService):
        return ""
    except Exception as error:  # noqa: BLE001 -- a user would see a traceback
        return f"{type(error).__name__}: {error}"
    return ""
