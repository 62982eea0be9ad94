"""The service at work under a real systemd: edits, reloads, stops, crashes, hangs."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.index import PackageIndex
from tests.systemd.machine import Machine
from tests.systemd.studio import UNIT, Studio, messages


class TestOneService:
    """What changes nothing for good: the tests share a service."""

    @pytest.fixture
    def service(self, lasting_service: Studio, index: PackageIndex) -> Studio:
        lasting_service.start_over(index)
        return lasting_service

    def test_an_edit_is_installed_and_systemctl_status_says_how_things_are(
        self, service: Studio
    ) -> None:
        service.declare("quick<2")

        service.wait_for_packages(quick="1.0")
        service.wait_for_phase("InSync")
        state = service.unit("ActiveState", "StatusText", "NRestarts", "User")
        assert state["ActiveState"] == "active"
        assert "studio" in state["StatusText"]
        assert "InSync" in state["StatusText"] or "in sync" in state["StatusText"]
        assert state["NRestarts"] == "0"
        assert state["User"] == "studio"
        assert service.damage == []
        owner = (service.machine.path(service.venv) / "lib").stat().st_uid
        assert owner == service.machine.user("studio")[0]

    def test_the_journal_can_be_searched_by_environment_pass_and_event(
        self, service: Studio
    ) -> None:
        service.declare("quick<2")
        service.wait_for_packages(quick="1.0")
        service.wait_for_phase("InSync")

        (finished,) = service.wait_until(
            lambda: service.machine.journal(
                "-u", UNIT, "ENVIRONMENT=studio", "EVENT=package.changed"
            ),
            "the change is in the journal",
        )

        assert finished["PRIORITY"] == "6"
        assert finished["SYSLOG_IDENTIFIER"] == "reconciler"
        assert finished["MESSAGE"].startswith("package.changed environment=studio")
        of_the_pass = service.machine.journal("-u", UNIT, f"PASS={finished['PASS']}")
        assert {"pass.started", "pass.finished"} <= {entry["EVENT"] for entry in of_the_pass}
        everything = service.machine.journal("-u", UNIT, "_TRANSPORT=stdout")
        assert messages(everything) == ""

    def test_an_environment_with_setgid_folders_is_looked_after(self, service: Studio) -> None:
        """RestrictSUIDSGID= refuses every call that names the bit."""
        service.machine.run("find", service.venv, "-type", "d", "-exec", "chmod", "g+s", "{}", "+")

        service.declare("quick<2")

        service.wait_for_packages(quick="1.0")
        assert service.wait_for_phase("InSync")["atomic"] is True

    def test_a_reload_adds_changes_and_removes_environments(self, service: Studio) -> None:
        machine, pid = service.machine, service.main_pid
        lab = {"pyproject": "/srv/studio", "python": "/srv/studio/lab", "mode": "observe"}

        service.configure(lab=lab)
        machine.systemctl("reload", UNIT)
        assert [row["name"] for row in service.status()["environments"]] == ["studio", "lab"]

        service.configure(lab={**lab, "mode": "apply"})
        machine.systemctl("reload", UNIT)
        service.wait_until(
            lambda: (service.environment("lab") or {}).get("mode") == "apply", "changed"
        )

        service.configure()
        machine.systemctl("reload", UNIT)
        service.wait_until(lambda: service.environment("lab") is None, "lab is gone")
        assert service.main_pid == pid
        assert service.unit("ActiveState")["ActiveState"] == "active"

    def test_a_reload_loses_no_running_pass_and_does_not_wait_for_it(self, service: Studio) -> None:
        service.begin_long_pass()

        service.configure(lab={"pyproject": "/srv/studio", "python": "/srv/studio/lab"})
        service.machine.systemctl("reload", UNIT)

        assert "uv" in service.processes()
        service.index.heal()
        service.wait_for_packages(slow="1.0", quick="2.0")

        def ended() -> list[str]:
            found = service.machine.journal("-u", UNIT, "ENVIRONMENT=studio", "EVENT=pass.finished")
            return [entry["RESULT"] for entry in found if entry["RESULT"] != "unchanged"]

        # The packages are there before the pass is recorded.
        service.wait_until(lambda: ended() != [], "the end of the pass")
        assert ended() == ["changed"]

    def test_a_reload_that_changes_an_environment_in_mid_pass_lets_it_finish(
        self, service: Studio
    ) -> None:
        service.begin_long_pass()

        service.configure(studio={"pyproject": "/srv/studio", "interval": "33m"})
        service.machine.systemctl("reload", UNIT)

        assert "uv" in service.processes()
        service.index.heal()
        service.wait_for_packages(slow="1.0", quick="2.0")
        service.wait_for_phase("InSync")
        stopped = service.machine.journal("-u", UNIT, "EVENT=pass.stopped")
        assert stopped == []
        service.declare("quick<2")
        service.wait_for_packages(quick="1.0")

    def test_a_bad_configuration_is_rejected_and_the_old_one_stays(self, service: Studio) -> None:
        machine, pid = service.machine, service.main_pid
        good = machine.path(service.config).read_text()
        machine.write(service.config, good + "\n[environments.studio2]\npyproject = 3\n")

        answer = machine.run("systemctl", "reload", UNIT, check=False)

        assert answer.returncode != 0
        assert "failed" in answer.stderr
        assert service.unit("ActiveState", "MainPID") == {
            "ActiveState": "active",
            "MainPID": str(pid),
        }
        problem = service.status()["service"]["config_problem"]
        assert problem["file"] == service.config
        assert problem["line"] == len(good.splitlines()) + 3
        (rejected,) = machine.journal("-u", UNIT, "EVENT=config.rejected")
        assert "environments.studio2.pyproject" in rejected["MESSAGE"]
        assert rejected["PRIORITY"] == "3"
        assert "environments.studio2.pyproject" in messages(
            machine.journal("-u", UNIT, "SYSLOG_IDENTIFIER=reconciler", "_TRANSPORT=stdout")
            or machine.journal("-u", UNIT, "_TRANSPORT=stdout")
        ), "the command behind ExecReload= says why, where `systemctl status` shows it"
        service.declare("quick<2")
        service.wait_for_packages(quick="1.0")

        machine.write(service.config, good)
        machine.systemctl("reload", UNIT)
        assert service.status()["service"]["config_problem"] is None

    def test_a_stop_in_mid_pass_leaves_the_environment_whole_and_no_process(
        self, service: Studio
    ) -> None:
        service.declare("quick<2")
        service.wait_for_packages(quick="1.0")
        service.begin_long_pass()

        service.machine.systemctl("stop", UNIT)

        state = service.unit("ActiveState", "Result", "ExecMainStatus")
        assert state == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
        assert service.processes() == []
        assert service.packages == {"quick": "1.0"}
        assert service.damage == []
        assert len(service.machine.journal("-u", UNIT, "EVENT=pass.stopped")) == 1
        assert service.machine.journal("-u", UNIT, "PRIORITY=3") == [], "a stop is no error"
        service.index.heal()
        service.machine.systemctl("start", UNIT)
        service.wait_for_packages(slow="1.0", quick="2.0")

    def test_a_kill_in_mid_pass_is_followed_by_a_restart_that_finishes_the_work(
        self,
        service: Studio,
    ) -> None:
        service.declare("quick<2")
        service.wait_for_packages(quick="1.0")
        service.begin_long_pass()

        service.machine.systemctl("kill", "--kill-whom=all", "--signal=KILL", UNIT)

        assert service.packages == {"quick": "1.0"}
        assert service.damage == []
        service.index.heal()
        service.wait_for_packages(slow="1.0", quick="2.0")
        assert service.damage == []
        assert service.unit("NRestarts")["NRestarts"] == "1"


class TestWatched:
    """A service with a watchdog that loses patience after six seconds.

    Not sooner: on a busy machine, a service that is well may not get to run for a while.
    """

    @pytest.fixture(scope="class")
    def impatient(self, lasting_service: Studio) -> Studio:
        dropin = "/etc/systemd/system/reconciler.service.d/watchdog.conf"
        quick = "[Service]\nWatchdogSec=6\nTimeoutAbortSec=2\nRestartSec=100ms\n"
        lasting_service.machine.write(dropin, quick)
        lasting_service.machine.systemctl("daemon-reload")
        lasting_service.machine.systemctl("restart", UNIT)
        return lasting_service

    @pytest.fixture
    def watched(self, impatient: Studio, index: PackageIndex) -> Studio:
        impatient.start_over(index)
        return impatient

    def test_a_long_uv_run_is_no_hang(self, watched: Studio) -> None:
        pid = watched.main_pid
        watched.begin_long_pass()

        watched.steady_for(8, lambda: watched.main_pid == pid)

        assert "uv" in watched.processes()
        watched.index.heal()
        watched.wait_for_packages(slow="1.0")
        assert watched.unit("NRestarts")["NRestarts"] == "0"

    def test_a_service_whose_loop_alone_hangs_is_restarted(self, watched: Studio) -> None:
        """All its other threads run on; only the one with the event loop stands still."""
        pid = watched.main_pid

        with frozen(watched.machine.here(pid)):
            watched.wait_until(lambda: watched.main_pid not in (0, pid), "a new process")

        watched.wait_for_phase("InSync")

    def test_a_hung_service_is_killed_and_restarted(self, watched: Studio) -> None:
        pid = watched.main_pid

        watched.machine.run("kill", "-STOP", str(pid))

        watched.wait_until(lambda: watched.main_pid not in (0, pid), "a new process")
        assert "watchdog" in messages(watched.machine.journal("-u", UNIT)).lower()
        watched.wait_for_phase("InSync")
        watched.declare("quick<2")
        watched.wait_for_packages(quick="1.0")


@contextmanager
def frozen(thread: int) -> Iterator[None]:
    """Stop one thread, by a process that traces it."""
    command = [sys.executable, str(Path(__file__).with_name("freeze.py")), str(thread)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tracer:
        assert tracer.stdout is not None
        assert tracer.stdout.readline() == b"frozen\n"
        try:
            yield
        finally:
            tracer.kill()


def test_power_comes_back_to_a_whole_environment_and_to_the_service(service: Studio) -> None:
    machine: Machine = service.machine
    service.declare("quick<2")
    service.wait_for_packages(quick="1.0")
    service.begin_long_pass()

    machine.cut_power()
    machine.boot()

    assert service.packages == {"quick": "1.0"}
    assert service.damage == []
    assert service.unit("ActiveState")["ActiveState"] == "inactive"
    wheels = [file.path for file in service.index._files.values()]
    service.index.close()
    service.index = machine.within_network(type(service.index))
    service.index.add(*wheels)
    service.declare("slow", "quick>=2")
    machine.systemctl("start", "multi-user.target")
    service.wait_for_packages(slow="1.0", quick="2.0")
    assert service.damage == []
    service.index.close()
