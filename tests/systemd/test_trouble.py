"""A service that cannot do its job says so and comes right by itself, without restarting."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.thorough import only
from tests.systemd.machine import Machine
from tests.systemd.studio import PROGRAM, UNIT, Studio, messages

pytestmark = only

UV = "/opt/reconciler/bin/uv"


def readiness(studio: Studio) -> tuple[int, str]:
    """What `/readyz` answers."""
    return studio.machine.get("/readyz")


def is_said(studio: Studio, *words: str) -> bool:
    """Whether the service is not ready for a reason with these words, wherever one looks."""
    code, body = readiness(studio)
    text = studio.unit("StatusText")["StatusText"]
    return code == 503 and all(word in body and word in text for word in words)


def comes_right(studio: Studio, pid: int) -> None:
    """The service does its job again, in the same process."""
    studio.wait_until(lambda: readiness(studio)[0] == 200, "it is ready again", timeout=180)
    studio.wait_for_packages(quick="1.0")
    assert studio.main_pid == pid
    state = studio.unit("NRestarts", "ActiveState")
    assert state == {"NRestarts": "0", "ActiveState": "active"}


def mending(studio: Studio, *command: str | Path) -> Callable[[], None]:
    """Run a command, later."""

    def mend() -> None:
        studio.machine.run(*command)

    return mend


def without_uv(studio: Studio) -> Callable[[], None]:
    studio.machine.run("mv", UV, f"{UV}.gone")
    return mending(studio, "mv", f"{UV}.gone", UV)


def without_interpreter(studio: Studio) -> Callable[[], None]:
    python = studio.venv / "bin/python"
    studio.machine.run("mv", python, f"{python}.gone")
    studio.machine.run("ln", "-s", "/gone/python", python)
    return mending(studio, "mv", "-f", f"{python}.gone", python)


def without_permission(studio: Studio) -> Callable[[], None]:
    studio.machine.run("chown", "-R", "root:root", studio.venv)
    return mending(studio, "chown", "-R", "studio:studio", studio.venv)


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (without_uv, "uv"),
        (without_interpreter, "python"),
        (without_permission, "/srv/studio/.venv"),
    ],
    ids=["no uv", "no interpreter", "unwritable environment"],
)
def test_it_says_what_is_wrong_and_comes_right_by_itself(
    service: Studio, spoil: Callable[[Studio], Callable[[], None]], word: str
) -> None:
    pid = service.main_pid
    mend = spoil(service)
    try:
        service.declare("quick<2")
        service.wait_until(lambda: is_said(service, "studio", word), "it says what is wrong")
        assert service.machine.curl("/livez")[0] == 200
    finally:
        mend()

    comes_right(service, pid)


@pytest.mark.parametrize(
    ("spoil", "word"),
    [(without_uv, "uv"), (without_interpreter, "python")],
    ids=["no uv", "no interpreter"],
)
def test_it_also_starts_without_what_it_needs(
    studio: Studio, spoil: Callable[[Studio], Callable[[], None]], word: str
) -> None:
    studio.declare("quick<2")
    mend = spoil(studio)
    try:
        studio.install()
        studio.wait_until(lambda: is_said(studio, "studio", word), "it says what is wrong")
        pid = studio.main_pid
    finally:
        mend()

    comes_right(studio, pid)


def test_an_environment_that_is_made_anew_is_looked_after_again(service: Studio) -> None:
    """The new folder is not the one that the unit made writable when the service started."""
    service.declare("quick<2")
    service.wait_for_packages(quick="1.0")

    service.machine.run("rm", "-rf", service.venv)
    service.make_venv()

    service.wait_for_packages(quick="1.0")
    service.wait_for_phase("InSync")
    restarts = int(service.unit("NRestarts")["NRestarts"])
    assert restarts <= 1, "once at most: to be given the new folder"


def test_a_start_waits_while_the_disk_of_its_history_is_full(service: Studio) -> None:
    machine, state = service.machine, "/var/lib/reconciler"
    machine.systemctl("stop", UNIT)
    machine.run("mount", "-t", "tmpfs", "-o", "size=16k,mode=0777", "full", state)
    try:
        machine.run("dd", "if=/dev/zero", f"of={state}/full", "bs=1k", "count=16", check=False)
        machine.systemctl("start", "--no-block", UNIT)
        service.wait_until(
            lambda: f"history in {state} cannot" in service.unit("StatusText")["StatusText"], "said"
        )

        machine.run("mount", "-o", "remount,size=10m", state)

        service.wait_for_phase("InSync")
        assert service.unit("NRestarts")["NRestarts"] == "0"
    finally:
        machine.systemctl("stop", UNIT)
        machine.run("umount", state)


def test_a_bad_configuration_fails_the_start_once(studio: Studio) -> None:
    studio.install()
    studio.machine.systemctl("stop", UNIT)
    studio.machine.write(studio.config, "[environments.studio]\npyproject = 3\n")

    answer = studio.machine.run("systemctl", "start", UNIT, check=False)

    assert answer.returncode != 0
    state = studio.unit("ActiveState", "ExecMainStatus", "NRestarts")
    assert state == {"ActiveState": "failed", "ExecMainStatus": "78", "NRestarts": "0"}
    (entry,) = studio.machine.journal("-u", UNIT, "EVENT=config.rejected", "PRIORITY=3")
    assert f"{studio.config}:2" in entry["MESSAGE"]
    assert f"{studio.config}:2" in studio.unit("StatusText")["StatusText"]
    assert "Removed" in studio.machine.run(PROGRAM, "service", "uninstall").stdout


def test_a_start_that_fails_again_and_again_is_given_up(studio: Studio) -> None:
    """The port is taken: five tries, then it stays failed and says why."""
    machine = studio.machine
    dropin = "[Service]\nRestartSec=100ms\n"
    machine.write("/etc/systemd/system/reconciler.service.d/quick.conf", dropin)
    taken = machine.within_network(lambda: socket.create_server(("127.0.0.1", 8765)))
    try:
        words = [PROGRAM, "service", "install", "--config", studio.config]
        answer = machine.run(*words, check=False)
        assert answer.returncode == 1
        assert "cannot listen on 127.0.0.1:8765" in answer.stdout
        studio.wait_until(lambda: studio.unit("ActiveState")["ActiveState"] == "failed", "given up")
    finally:
        taken.close()
    assert int(studio.unit("NRestarts")["NRestarts"]) <= 5
    assert "8765" in messages(machine.journal("-u", UNIT, "PRIORITY=3"))


class TestRoot:
    """A service that runs as root acts only on what is root's alone."""

    @pytest.fixture
    def roots(self, studio: Studio) -> Studio:
        """The project is root's, and so is the service."""
        studio.machine.run("chown", "-R", "root:root", studio.folder)
        studio.owner = "root"
        return studio

    def test_it_works_on_what_is_root_s(self, roots: Studio) -> None:
        roots.install()
        roots.declare("quick<2")

        roots.wait_for_packages(quick="1.0")
        assert roots.unit("User")["User"] == "root"

    def test_installing_refuses_what_others_may_write(self, roots: Studio) -> None:
        roots.machine.run("chmod", "g+w", roots.folder / "pyproject.toml")
        words = [PROGRAM, "service", "install", "--config", roots.config]

        answer = roots.machine.run(*words, check=False)

        assert answer.returncode == 1
        assert "/srv/studio/pyproject.toml is writable by its group" in answer.stderr
        assert "`chmod go-w /srv/studio/pyproject.toml`" in answer.stderr
        assert not roots.machine.path("/etc/systemd/system/reconciler.service").exists()

    @pytest.mark.parametrize(
        ("spoil", "mend"),
        [
            (["chmod", "o+w", "/srv/studio"], ["chmod", "o-w", "/srv/studio"]),
            (
                ["chown", "studio", "/srv/studio/pyproject.toml"],
                ["chown", "root", "/srv/studio/pyproject.toml"],
            ),
            (
                ["chmod", "777", "/srv/studio/.venv/lib"],
                ["chmod", "755", "/srv/studio/.venv/lib"],
            ),
        ],
        ids=["folder", "pyproject", "environment"],
    )
    def test_what_becomes_writable_for_others_is_left_alone_until_mended(
        self, roots: Studio, spoil: list[str], mend: list[str]
    ) -> None:
        roots.install()
        roots.declare("quick<2")
        roots.wait_for_packages(quick="1.0")
        roots.machine.run(*spoil)

        text = roots.machine.path(roots.folder / "pyproject.toml")
        text.write_text(text.read_text().replace("quick<2", "quick>=2"))

        roots.wait_until(lambda: is_said(roots, spoil[-1]), "it says what is wrong")
        assert roots.packages == {"quick": "1.0"}
        roots.machine.run(*mend)
        roots.wait_for_packages(quick="2.0")

    def test_a_configuration_that_others_may_write_is_refused(self, roots: Studio) -> None:
        machine: Machine = roots.machine
        roots.install()
        machine.run("chmod", "666", roots.config)

        assert machine.run("systemctl", "reload", UNIT, check=False).returncode != 0
        assert roots.unit("ActiveState")["ActiveState"] == "active"
        assert roots.config in roots.status()["service"]["config_problem"]["reason"]

        machine.systemctl("stop", UNIT)
        assert machine.run("systemctl", "start", UNIT, check=False).returncode != 0
        assert f"chmod go-w {roots.config}" in messages(machine.journal("-u", UNIT))

    def test_a_uv_that_others_may_write_is_refused(self, roots: Studio) -> None:
        machine: Machine = roots.machine
        roots.install()
        machine.run("install", "-m", "775", "/opt/reconciler/bin/uv", "/srv/uv")
        text = machine.path(roots.config).read_text()
        machine.write(roots.config, text.replace("/opt/reconciler/bin/uv", "/srv/uv"))

        assert machine.run("systemctl", "reload", UNIT, check=False).returncode != 0
        reason = roots.status()["service"]["config_problem"]["reason"]
        assert "/srv/uv is writable by its group" in reason

        machine.run("chmod", "755", "/srv/uv")
        machine.systemctl("reload", UNIT)
        assert roots.status()["service"]["config_problem"] is None
