"""Socket activation: systemd listens from boot on, and hands the socket over."""

import json
from pathlib import Path

import pytest

from tests.systemd.studio import PROGRAM, UNIT, Studio

SOCKET = "reconciler.socket"


def test_a_port_is_listened_on_from_boot_on_until_installing_without_it(studio: Studio) -> None:
    machine = studio.machine
    studio.install("--socket")

    assert machine.systemctl("is-enabled", SOCKET) == "enabled"
    wants = machine.path("/etc/systemd/system/sockets.target.wants") / SOCKET
    assert wants.is_symlink()
    assert "basic.target" in machine.show(UNIT, "After")["After"]
    assert_starts_at_the_first_question(studio)

    said = studio.install()

    assert f"Removed /etc/systemd/system/{SOCKET}." in said
    assert not machine.path(f"/etc/systemd/system/{SOCKET}").exists()
    assert machine.systemctl("is-active", SOCKET, check=False) == "inactive"
    assert machine.curl("/livez")[0] == 200


@pytest.mark.parametrize("path", ["/run/reconciler.sock", "/run/reconciler/http.sock"])
def test_a_unix_socket_outlives_the_service(studio: Studio, path: str) -> None:
    """Any user may read over it, and only some may change; also in the runtime directory."""
    machine, base, over = studio.machine, "http://localhost", ["--unix-socket", path]
    studio.configure(http={"listen": f"unix:{path}"})
    studio.install("--socket")
    assert_starts_at_the_first_question(studio, *over, base=base)

    machine.systemctl("restart", UNIT)
    assert machine.path(path).is_socket(), "systemd's socket outlives the service"
    assert machine.curl("/livez", *over, base=base)[0] == 200

    machine.add_user("guest")
    ask = [*over, "--request", "POST", "--header", f"Origin: {base}"]
    read = machine.curl("/status", *over, base=base, user="guest")
    change = machine.curl("/environments/studio/reconcile", *ask, base=base, user="guest")
    own = machine.curl("/environments/studio/reconcile", *ask, base=base, user="studio")
    assert (read[0], change[0], own[0]) == (200, 403, 202)
    machine.run("userdel", "--remove", "guest")


def assert_starts_at_the_first_question(
    studio: Studio, *over: str, base: str = "http://127.0.0.1:8765"
) -> None:
    machine = studio.machine
    machine.systemctl("stop", UNIT)
    assert machine.systemctl("is-active", SOCKET) == "active"

    code, body = machine.curl("/status", *over, base=base)

    assert code == 200
    assert json.loads(body)["service"]["pid"] == studio.main_pid
    studio.wait_until(lambda: studio.unit("ActiveState")["ActiveState"] == "active", "it is up")


def test_the_socket_unit_and_the_service_agree(studio: Studio) -> None:
    studio.configure(http={"listen": "127.0.0.1:9321"})

    shown = studio.machine.run(
        PROGRAM, "service", "show", "--socket", "--config", studio.config
    ).stdout

    assert "\nListenStream=127.0.0.1:9321\n" in shown
    assert str(Path("/etc/systemd/system") / SOCKET) in shown
