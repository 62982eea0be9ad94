"""Notices reach real commands and a real HTTP server, and their failure harms nobody."""

import io
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from reconciler.config import Notify, Occasion
from reconciler.daemon.notifications import Notices, Undelivered, deliver
from reconciler.log.logger import configure, tapped
from tests.support.processes import wait_until


@pytest.fixture
def webhook():
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers.get("Authorization"), json.loads(body)))
            path = self.path.partition("?")[0]
            self.send_response({"/moved": 302, "/bad": 500}.get(path, 204))
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


ALL = tuple(Occasion)


def test_a_command_reads_the_notice(tmp_path):
    target = tmp_path / "got"
    notices = Notices("studio", (Notify(on=ALL, command=("tee", str(target))),))
    notices.tell(Occasion.CHANGED, {"pass": {"id": 3}})
    wait_until(lambda: target.exists() and target.read_text(), what="the notice")
    assert json.loads(target.read_text()) == {
        "occasion": "changed", "environment": "studio", "pass": {"id": 3},
    }  # fmt: skip
    notices.close()


def test_only_the_wanted_occasions_are_told(tmp_path):
    target = tmp_path / "got"
    notices = Notices("studio", (Notify(on=(Occasion.FAILED,), command=("tee", str(target))),))
    notices.tell(Occasion.CHANGED, {"n": 1})
    notices.tell(Occasion.FAILED, {"n": 2})
    wait_until(lambda: target.exists() and target.read_text(), what="the notice")
    assert json.loads(target.read_text())["n"] == 2


def test_a_webhook_gets_json_and_the_token_from_its_file(webhook, tmp_path):
    address, received = webhook
    token = tmp_path / "token"
    token.write_text("very-secret-token\n")
    deliver(Notify(on=ALL, url=address + "/hook", token_file=token), b'{"n": 1}')
    assert received == [("/hook", "Bearer very-secret-token", {"n": 1})]


def test_a_redirect_is_not_followed(webhook, tmp_path):
    address, received = webhook
    with pytest.raises(Undelivered, match="302"):
        deliver(Notify(on=ALL, url=address + "/moved"), b"{}")
    assert [path for path, *_ in received] == ["/moved"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("false",), "ended with 1"),
        (("/nonexistent/program",), "does not start"),
        (("sleep", "60"), "longer than"),
        (("sh", "-c", "echo it broke >&2; exit 3"), "ended with 3: it broke"),
    ],
)
def test_a_failing_command_is_reported_in_words(command, words):
    with pytest.raises(Undelivered, match=words):
        deliver(Notify(on=ALL, command=command, timeout=0.5), b"{}")


@pytest.fixture
def talker():
    """A server that answers what is no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"who are you?\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        thread.join(10)


def test_a_receiver_that_speaks_no_http_does_not_silence_the_others(talker, tmp_path):
    """It once ended the thread, and no notice was ever delivered again."""
    target = tmp_path / "got"
    receivers = (Notify(on=ALL, url=talker), Notify(on=ALL, command=("tee", str(target))))
    records = []
    configure(stream=io.StringIO())
    with tapped(records.append):
        notices = Notices("studio", receivers)
        notices.tell(Occasion.CHANGED, {"n": 1})
        wait_until(lambda: target.exists() and target.read_text(), what="the notice")
    assert records[0]["event"] == "notify.failed"
    assert "who are you?" in records[0]["reason"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"\xff\xfe", "is not text"), (b"http://[::1\n", "cannot be sent")],
)
def test_an_address_file_that_holds_none_is_named(content, words, tmp_path):
    secret = tmp_path / "address"
    secret.write_bytes(content)
    with pytest.raises(Undelivered, match=words):
        deliver(Notify(on=ALL, url_file=secret), b"{}")


@pytest.mark.parametrize(("address", "token"), [("/a b/secret-part", "t"), ("/", "secret-part€")])
def test_what_cannot_be_sent_is_not_shown(address, token, tmp_path):
    for name, content in (("address", f"http://127.0.0.1:9{address}\n"), ("token", token)):
        (tmp_path / name).write_text(content)
    receiver = Notify(on=ALL, url_file=tmp_path / "address", token_file=tmp_path / "token")
    with pytest.raises(Undelivered, match="cannot be sent") as raised:
        deliver(receiver, b"{}")
    assert "secret-part" not in str(raised.value)


def test_a_failure_is_logged_without_the_secret_address(webhook, tmp_path):
    address, _ = webhook
    secret = tmp_path / "address"
    secret.write_text(f"{address}/bad?token=abcdefghij\n")
    records = []
    configure(stream=io.StringIO())
    with tapped(records.append):
        notices = Notices("studio", (Notify(on=ALL, url_file=secret),))
        notices.tell(Occasion.FAILED, {})
        wait_until(lambda: records, what="the log record")
    assert records[0]["event"] == "notify.failed"
    assert "500" in records[0]["reason"]
    assert "abcdefghij" not in json.dumps(records, default=str)
