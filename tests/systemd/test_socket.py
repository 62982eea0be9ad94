"""Socket activation: systemd listens from boot on, and hands the socket over."""

import json
from pathlib import Path

import pytest

from tests.systemd.studio import PROGRAM, UNIT, Studio

SOCKET = "reconciler.socket"


@pytest.mark.parametrize(
    ("listen", "base", "options"),
    [
        ("127.0.0.1:8765", "http://127.0.0.1:8765", []),
        ("unix:/run/reconciler.sock", "http://localhost", ["/run/reconciler.sock"]),
        ("unix:/run/reconciler/http.sock", "http://localhost", ["/run/reconciler/http.sock"]),
    ],
    ids=["port", "unix", "unix in the runtime directory"],
)
def test_the_first_question_starts_the_service(
    studio: Studio, listen: str, base: str, options: list[str]
) -> None:
    machine = studio.machine
    studio.configure(http={"listen": listen})
    studio.install("--socket")
    machine.systemctl("stop", UNIT)
    assert machine.systemctl("is-active", SOCKET) == "active"
    arguments = [word for path in options for word in ("--unix-socket", path)]

    code, body = machine.curl("/status", *arguments, base=base)

    assert code == 200
    assert json.loads(body)["service"]["pid"] == studio.main_pid
    studio.wait_until(lambda: studio.unit("ActiveState")["ActiveState"] == "active", "it is up")
    for path in options:
        machine.systemctl("restart", UNIT)
        assert machine.path(path).is_socket(), "systemd's socket outlives the service"
        assert machine.curl("/livez", *arguments, base=base)[0] == 200


def test_status_is_answered_from_boot_on(studio: Studio) -> None:
    machine = studio.machine
    studio.install("--socket")

    assert machine.systemctl("is-enabled", SOCKET) == "enabled"
    wants = machine.path("/etc/systemd/system/sockets.target.wants") / SOCKET
    assert wants.is_symlink()
    assert "basic.target" in machine.show(UNIT, "After")["After"]


def test_installing_without_it_takes_the_socket_away(studio: Studio) -> None:
    machine = studio.machine
    studio.install("--socket")

    said = studio.install()

    assert f"Removed /etc/systemd/system/{SOCKET}." in said
    assert not machine.path(f"/etc/systemd/system/{SOCKET}").exists()
    assert machine.systemctl("is-active", SOCKET, check=False) == "inactive"
    assert machine.curl("/livez")[0] == 200


def test_any_user_may_read_over_the_unix_socket_and_only_some_may_change(studio: Studio) -> None:
    machine = studio.machine
    path = "/run/reconciler.sock"
    studio.configure(http={"listen": f"unix:{path}"})
    studio.install("--socket")
    machine.add_user("guest")
    over = ["--unix-socket", path]
    ask = [*over, "--request", "POST", "--header", "Origin: http://localhost"]

    read = machine.curl("/status", *over, base="http://localhost", user="guest")
    change = machine.curl(
        "/environments/studio/reconcile", *ask, base="http://localhost", user="guest"
    )
    own = machine.curl(
        "/environments/studio/reconcile", *ask, base="http://localhost", user="studio"
    )

    assert (read[0], change[0], own[0]) == (200, 403, 202)
    machine.run("userdel", "--remove", "guest")


def test_the_socket_unit_and_the_service_agree(studio: Studio) -> None:
    studio.configure(http={"listen": "127.0.0.1:9321"})

    shown = studio.machine.run(
        PROGRAM, "service", "show", "--socket", "--config", studio.config
    ).stdout

    assert "\nListenStream=127.0.0.1:9321\n" in shown
    assert str(Path("/etc/systemd/system") / SOCKET) in shown
