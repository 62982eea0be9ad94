"""The commands that ask a running service, and what they say where there is none."""

import http.server
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from reconciler.cli import client
from reconciler.config.address import TcpAddress
from reconciler.config.configuration import Config, HttpConfig, ServiceConfig
from tests.cli.conftest import Studio
from tests.support import warm
from tests.support.environments import install, snapshot, tree_fingerprint
from tests.support.processes import free_port, reconciler_command, run_cli, wait_until
from tests.support.torch import fake_torch

NEEDS_SERVICE = (["status"], ["status", "--watch"], ["trigger"])


class Running:
    """`reconciler run`, found by its unix socket."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.log = studio.home / "run.log"
        with self.log.open("wb") as log:
            self.process = warm.start(
                ["run"],
                cwd=studio.project.directory,
                env={**os.environ, **studio.environ},
                stdout=log.fileno(),
                stderr=log.fileno(),
            )
        transport = httpx.HTTPTransport(uds=str(studio.socket))
        self.client = httpx.Client(transport=transport, base_url="http://localhost", timeout=30)
        wait_until(self.settled, what="the first pass")

    def settled(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            row = self.client.get("/status").json()["environments"][0]
        except (httpx.TransportError, IndexError):
            return False
        return row["phase"] != "Reconciling" and row["next_check_at"] is not None

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.log.read_text()
        self.client.close()


@pytest.fixture
def served(applied: Studio) -> Iterator[Studio]:
    """The studio, managed by a service."""
    running = Running(applied)
    yield applied
    running.end()


@pytest.mark.parametrize("arguments", NEEDS_SERVICE)
def test_without_a_service_they_say_how_to_start_it(studio: Studio, arguments: list[str]) -> None:
    ran = studio.run(*arguments)

    assert ran.returncode == 1
    assert f"the service does not answer at unix:{studio.socket}" in ran.stderr
    assert "`reconciler run`" in ran.stderr
    assert "`reconciler service install`" in ran.stderr


def test_the_status_can_be_asked_for_where_there_is_no_project(tmp_path: Path) -> None:
    """A service is looked for at its default address; there may be one."""
    ran = run_cli("status", cwd=tmp_path)

    assert "pyproject.toml" not in ran.stderr
    assert ran.returncode == 0 or "127.0.0.1:8765" in ran.stderr


def test_the_status_is_what_the_service_says(served: Studio) -> None:
    shown = served.ok("status")

    head, row = shown.splitlines()[:2]
    assert head.split()[:3] == ["Environment", "Phase", "Satisfied"]
    assert row.split()[:4] == ["studio", "InSync", "3/3", "3"]

    transport = httpx.HTTPTransport(uds=str(served.socket))
    with httpx.Client(transport=transport, base_url="http://localhost") as client:
        wait_until(  # the last thing that comes in by itself
            lambda: client.get("/status").json()["environments"][0]["gpu"], what="the GPU's answer"
        )
        document = client.get("/status").json()

    assert served.json("status")["environments"] == document["environments"]
    assert served.json("status", "-e", "studio") == document["environments"][0]

    ran = served.run("status", "-e", "studoi")

    assert ran.returncode == 1
    assert ran.stderr == ("Error: The service has no environment 'studoi'. Did you mean studio?\n")


def test_passes_and_pauses_are_asked_of_the_service(served: Studio) -> None:
    number = served.json("trigger")["id"]

    document = served.json("history")

    assert document["passes"][0]["id"] == number
    assert served.json("history", str(number))["trigger"] == "manual"

    begun = served.json("trigger", "--no-wait")

    assert begun.keys() == {"environment", "pass"}
    wait_until(lambda: served.run("history", str(begun["pass"])).returncode == 0, what="its entry")

    served.ok("pause", "--reason", "a demo", "--for", "2h")

    shown = served.ok("status")
    assert "Paused" in shown
    assert "a demo" in shown
    served.ok("resume")
    assert "Paused" not in served.ok("status")


def test_watching_prints_a_document_for_each_change(served: Studio) -> None:
    process = subprocess.Popen(
        reconciler_command(["status", "--watch", "--json"]),
        cwd=served.project.directory, env={**os.environ, **served.environ},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    served.declare("alpha<2", "beta")
    for line in process.stdout:
        (row,) = json.loads(line)["environments"]
        if row["phase"] == "InSync" and any(p["name"] == "beta" for p in row["packages"]):
            break

    process.send_signal(2)

    assert process.wait(20) == 0
    assert first["environments"][0]["phase"] == "InSync"


def test_watching_on_a_terminal(served: Studio) -> None:
    terminal = served.terminal("status", "--watch")
    terminal.wait_for("InSync")

    served.declare("alpha<2", "nowhere-to-be-found")
    terminal.wait_for("Degraded")
    terminal.press("\x03")

    assert terminal.end(timeout=20) == 0
    assert "\x1b[?1049l" in terminal.raw.rpartition("\x1b[?1049h")[2]


def test_watching_outlives_the_service(applied: Studio) -> None:
    running = Running(applied)
    terminal = applied.terminal("status", "--watch", NO_COLOR="1")
    terminal.wait_for("InSync")

    running.end()
    terminal.wait_for("the service does not answer")
    seen = len(terminal.text)
    again = Running(applied)
    terminal.wait_for("InSync", since=seen)
    terminal.press("\x03")

    assert terminal.end(timeout=20) == 0
    again.end()


def test_trigger_waits_for_the_pass(served: Studio) -> None:
    served.ok("pause")
    served.declare("alpha>=2")

    document = served.json("trigger", "--apply")

    assert document["result"] == "changed"
    assert snapshot(served.venv)["alpha"] == "2.0"


def test_a_pause_without_the_service_is_kept_to_by_the_next_one(applied: Studio) -> None:
    applied.ok("pause", "--reason", "long job")
    applied.declare("alpha>=2")
    running = Running(applied)

    assert "long job" in applied.ok("status")
    assert snapshot(applied.venv)["alpha"] == "1.0"
    running.end()


def test_rollback_is_done_by_the_service(served: Studio) -> None:
    before = tree_fingerprint(served.venv)
    served.declare("alpha<2", "beta")
    wait_until(lambda: "beta" in snapshot(served.venv), what="the pass")
    wait_until(lambda: "InSync" in served.ok("status"), what="its end")

    shown = served.ok("rollback", "--reason", "beta is bad")

    assert "generation 1 is live" in shown
    assert tree_fingerprint(served.venv) == before
    assert "rolled back to generation 1: beta is bad" in served.ok("status")


def test_a_broken_hold_is_shown_and_restored_by_the_service(served: Studio, tmp_path: Path) -> None:
    before = {p: s.sha256 for p, s in tree_fingerprint(served.venv, "torch").items()}
    install(served.venv, fake_torch(tmp_path, "2.8.0"))
    wait_until(lambda: served.run("hold", "list").returncode == 2, what="the break")

    shown = served.ok("hold", "restore", "torch")

    assert "restore" in shown
    after = {p: s.sha256 for p, s in tree_fingerprint(served.venv, "torch").items()}
    assert after == before
    wait_until(lambda: served.run("hold", "list").returncode == 0, what="the mend")


def test_a_named_token_is_sent(studio: Studio) -> None:
    token = studio.home / "token"
    studio.configure()
    token.write_text("a-token-of-the-tests\n")
    token.chmod(0o600)
    text = studio.config.read_text()
    studio.config.write_text(text.replace("[http]", f'[http]\ntoken_file = "{token}"'))
    running = Running(studio)

    assert studio.json("trigger")["result"] == "unchanged"
    running.end()


def test_nobody_acts_behind_the_back_of_a_service(applied: Studio, tmp_path: Path) -> None:
    running = Running(applied)
    elsewhere = tmp_path / "elsewhere.toml"
    elsewhere.write_text(applied.config.read_text().replace("/socket", "/another-socket"))

    for arguments in (["pause"], ["resume"], ["rollback"], ["hold", "restore", "torch"]):
        ran = applied.run(*arguments, "--config", str(elsewhere))
        assert ran.returncode == 1
        assert "manages studio, but does not answer" in ran.stderr
    running.end()


@pytest.fixture
def foreign() -> Iterator[int]:
    """Another program's server on a port."""
    port = free_port()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", port), http.server.SimpleHTTPRequestHandler
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield port
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_answers_may_be_no_reconciler(studio: Studio, foreign: int) -> None:
    text = studio.config.read_text()
    listen = f'listen = "unix:{studio.socket}"'
    studio.config.write_text(text.replace(listen, f'listen = "127.0.0.1:{foreign}"'))

    ran = studio.run("status")

    assert ran.returncode == 1
    assert f"what answers at 127.0.0.1:{foreign} is not Reconciler" in ran.stderr


def test_a_stream_of_something_else_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not a traceback, and not more than a line of a bounded length in memory."""
    monkeypatch.setattr(client, "_MOST_BYTES", 1000)
    wrong = []
    for body in (b"data: {]\n\n", b"data: 3\n\n", b"data: \xff\n\n", b"data: " + bytes(2000)):
        listening = socket.create_server(("127.0.0.1", 0))
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body

        def serve(listening: socket.socket, answer: bytes) -> None:
            connection, _ = listening.accept()
            connection.recv(65536)
            connection.sendall(answer)
            connection.close()

        thread = threading.Thread(target=serve, args=(listening, answer))
        thread.start()
        address = TcpAddress("127.0.0.1", listening.getsockname()[1])
        http_ = HttpConfig(listen=address)
        config = Config(
            service=ServiceConfig(state_dir=tmp_path), http=http_, environments={}, path=None
        )
        asking = client.Client(config)
        try:
            list(asking.events(None))
            wrong.append(body)
        except client.Foreign:
            pass
        thread.join()
        listening.close()
    assert wrong == []


def test_a_service_for_something_else_is_not_asked(served: Studio, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "pyproject.toml").write_text('[project]\nname = "other"\ndependencies = []\n')
    text = served.config.read_text()
    config = tmp_path / "other.toml"
    config.write_text(
        text.replace("environments.studio", "environments.studio-2")
        .replace(str(served.project.path), str(other / "pyproject.toml"))
        .replace(str(served.venv), str(other / ".venv"))
    )

    ran = served.run("trigger", "--config", str(config))

    assert ran.returncode == 1
    assert "does not manage" in ran.stderr
    assert "studio" in ran.stderr
