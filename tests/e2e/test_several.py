"""Several environments in one service, several services, and who gets what."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.asking import condition, in_sync_with
from tests.support.environments import delete, make_venv, snapshot, uninstall
from tests.support.index import PackageIndex
from tests.support.processes import wait_until
from tests.support.projects import Project
from tests.support.service import ServiceFactory, ServiceProcess, Value
from tests.support.thorough import only

pytestmark = only

Services = Callable[..., ServiceProcess]


@pytest.fixture
def trio(tmp_path: Path, small: PackageIndex) -> dict[str, Project]:
    """Three projects; the second asks for something that is not there."""
    wanted = {"one": ["alpha"], "two": ["beta", "nowhere-to-be-found"], "three": ["delta"]}
    projects = {}
    for name, requirements in wanted.items():
        projects[name] = Project(tmp_path / name, small.url)
        projects[name].write(requirements)
    return projects


def table(project: Project) -> dict[str, Value]:
    return {"pyproject": str(project.path), "debounce": "50ms", "interval": "1h"}


def test_one_fails_and_the_others_are_fine(trio: dict[str, Project], services: Services) -> None:
    process = services({name: table(project) for name, project in trio.items()})
    process.start()

    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]), name="one")
    process.wait_for_environment(lambda row: in_sync_with(row, ["delta"]), name="three")
    row = process.wait_for_phase("Degraded", name="two")

    assert [e["name"] for e in process.status()["environments"]] == ["one", "two", "three"]
    assert [f["name"] for f in row["last_pass"]["failed"]] == ["nowhere-to-be-found"]
    assert process.status()["ready"] is True
    assert snapshot(trio["one"].venv).keys() == {"alpha"}
    assert snapshot(trio["two"].venv).keys() == {"beta"}
    assert snapshot(trio["three"].venv).keys() == {"delta", "gamma"}
    named = {record.get("environment") for record in process.events("pass.finished")}
    assert named == {"one", "two", "three"}

    # While one of them waits for the network, another is mended.
    uninstall(trio["three"].venv, "gamma")
    process.wait_for_environment(lambda row: row["generation"] == 2, name="three")
    assert snapshot(trio["three"].venv).keys() == {"delta", "gamma"}


def test_one_that_waits_for_a_download_holds_up_nobody(
    small: PackageIndex, trio: dict[str, Project], services: Services
) -> None:
    stall = small.stall_downloads(for_name="beta")
    process = services({name: table(trio[name]) for name in ("one", "two")})
    process.start(until="/livez")
    stall.wait_reached()

    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]), name="one")
    trio["one"].save(["alpha", "gamma"])
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "gamma"]), name="one")

    assert process.environment("two")["phase"] == "Reconciling"
    small.heal()
    process.wait_for_phase("Degraded", name="two")


def test_a_second_service_on_the_same_environment_is_refused(
    running: ServiceProcess, service: ServiceFactory, project: Project
) -> None:
    second = service.prepare()
    second.start(until=None)

    assert second.wait() == 1

    (failure,) = second.events("service.failed")
    assert failure["level"] == "error"
    assert f"process {running.pid}" in failure["message"]
    assert str(project.venv) in failure["message"]
    assert "Another service manages this environment" in failure["mend"]
    assert "Traceback" not in second.log.read_text()
    assert running.environment()["phase"] == "InSync"

    # It is the service that holds the claim, not its file.
    assert running.stop() == 0
    second.start()
    second.wait_for_phase("InSync")


def test_under_a_service_manager_it_waits_until_the_environment_is_free(
    running: ServiceProcess, service: ServiceFactory, tmp_path: Path
) -> None:
    """It would be started again a few times, and then never more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        second = service.prepare(env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        second.start(until="/livez")
        assert manager.recv(4096)

        second.wait_for_phase("Failed")
        assert second.client.get("/readyz").status_code == 503

        assert running.stop() == 0
        second.wait_for_phase("InSync")


def test_the_claim_is_on_the_environment_that_is_there_now(
    running: ServiceProcess, service: ServiceFactory, project: Project
) -> None:
    """The environment was made after the service began, and once more after that."""
    delete(project.venv)
    running.wait_for(lambda _: snapshot_or_nothing(project).keys() == {"alpha"})
    wait_until((project.venv / ".reconciler" / "service.lock").exists)
    second = service.prepare()

    second.start(until=None)

    assert second.wait() == 1
    assert f"process {running.pid}" in second.events("service.failed")[0]["message"]


def snapshot_or_nothing(project: Project) -> dict[str, str]:
    try:
        return snapshot(project.venv)
    except (OSError, ValueError):  # there is none just now
        return {}


def test_a_service_whose_environment_another_took_says_so_and_keeps_off(
    small: PackageIndex, project: Project, service: ServiceFactory
) -> None:
    """Both began before there was an environment: one makes it, the other keeps off."""
    both = [service(interval="1h", until="/livez") for _ in range(2)]
    for process in both:
        process.wait_for_phase("Failed")
    project.write(["alpha"])

    def settled() -> bool:
        reasons = {condition(process.environment(), "Ready")["reason"] for process in both}
        return reasons == {"Busy", "InSync"}

    wait_until(settled, what="one of the two in sync, the other keeping off")
    taken = next(p for p in both if p.environment()["phase"] == "Failed")
    other = next(p for p in both if p is not taken)
    ready = condition(taken.environment(), "Ready")
    assert f"process {other.pid}" in ready["message"]
    assert taken.client.get("/readyz").status_code == 503
    assert len([e for p in both for e in p.events("generation.activated")]) == 1

    assert other.stop() == 0
    taken.wait_for_phase("InSync")


def test_a_port_in_use_is_refused_with_the_address(
    running: ServiceProcess, services: Services, trio: dict[str, Project]
) -> None:
    address = running.url.removeprefix("http://")
    second = services({"one": table(trio["one"])}, listen=address)
    second.start(until=None)

    assert second.wait() == 1

    (failure,) = second.events("service.failed")
    assert address in failure["message"]
    assert "http.listen" in failure["message"]
    assert "Traceback" not in second.log.read_text()
    assert not trio["one"].venv.exists(), "nothing was begun"


def test_two_names_for_one_environment_are_refused(
    trio: dict[str, Project], services: Services
) -> None:
    venv = make_venv(trio["one"].venv)
    link = trio["one"].directory / "link"
    link.symlink_to(venv)
    both = {"a": {**table(trio["one"]), "python": str(venv)}}
    both["b"] = {**table(trio["one"]), "python": str(link)}
    process = services(both)
    process.start(until=None)

    assert process.wait() != 0

    said = process.log.read_text() + (process.directory / "stdout").read_text()
    assert json.dumps("b") in said or "environments.b" in said
    assert "Traceback" not in said
