"""The real service over HTTP: Fix Dependencies, live events, and status under load in a pass."""

import contextlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.environments import install, snapshot
from tests.support.index import PackageIndex
from tests.support.processes import DEADLINE, wait_until
from tests.support.projects import Project
from tests.support.service import ServiceFactory, ServiceProcess
from tests.support.wheels import make_wheel
from tests.web.hosting import as_user

GPU = ["torch==2.3.1+rocm5.7", "torchvision==0.18.1+rocm5.7"]
FIX = "/api/v1/setup/ai-models/fix-dependencies"


@pytest.fixture
def small(index: PackageIndex, tmp_path: Path) -> PackageIndex:
    """The index with two packages, of which beta requires alpha."""
    index.add(make_wheel(tmp_path / "wheels", "alpha", "1.0"))
    index.add(make_wheel(tmp_path / "wheels", "beta", "1.0", requires=["alpha"]))
    return index


@pytest.fixture
def start(
    small: PackageIndex,
    project: Project,
    venv: Path,
    gpu_wheels: list[Path],
    service: ServiceFactory,
) -> Callable[..., ServiceProcess]:
    """Start a service on an environment with a GPU build of torch, and wait until it is in sync."""

    def start(**keys: str) -> ServiceProcess:
        install(venv, *gpu_wheels)
        project.write(GPU)
        process = service(interval="1h", **keys)
        process.wait_for_phase("InSync")
        return process

    return start


@pytest.fixture
def observed(start: Callable[..., ServiceProcess]) -> ServiceProcess:
    """A service in sync, on an environment with a GPU build of torch."""
    return start()


class Listener(threading.Thread):
    """Collects the events of a service from now on, until it ends."""

    def __init__(self, service: ServiceProcess) -> None:
        super().__init__()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._address = str(service.client.base_url.join("/events"))
        self._connected = threading.Event()
        self.start()
        assert self._connected.wait(DEADLINE)

    def run(self) -> None:
        kind = ""
        with (
            contextlib.suppress(httpx.RemoteProtocolError),  # the end of the service
            httpx.stream("GET", self._address, timeout=DEADLINE, trust_env=False) as response,
        ):
            for line in response.iter_lines():
                self._connected.set()
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    self.events.append((kind, json.loads(value)))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for found, data in self.events if found == kind]


def _pause(service: ServiceProcess) -> None:
    assert service.client.post("/environments/studio/pause").status_code == 202
    service.wait_for_phase("Paused")


def test_fix_dependencies_from_drift_to_in_sync(
    start: Callable[..., ServiceProcess], project: Project
) -> None:
    """The environment is only observed: a pass for the saved file could come before the button."""
    observed = start(mode="observe")
    button = {"apply": True}
    project.save([*GPU, "alpha>=1", "beta", "gamma>=9"])
    body = observed.client.post(FIX, json=button, timeout=DEADLINE).json()
    assert body["success"] is False
    assert body["message"] == "Installed 2 packages, 1 failed (torch/torchvision preserved)"
    assert body["failed_packages"] == ["gamma>=9"]
    assert "=== Installing alpha>=1 ===\nSuccessfully installed alpha-1.0\n" in body["stdout"]
    assert "ERROR: gamma>=9: " in body["stderr"]
    assert (
        'reconciler_uv_failures_total{reason="NoSolution"}' in observed.client.get("/metrics").text
    )

    project.save([*GPU, "alpha>=1", "beta"])
    body = observed.client.post(FIX, json=button, timeout=DEADLINE).json()
    assert body["success"] is True, body
    assert (body["packages_installed"], body["packages_failed"]) == (2, 0)
    assert body["message"].endswith("2 packages are installed (torch/torchvision preserved)")
    entry = observed.client.get(f"/history/{body['pass']}").json()
    assert entry["result"] == "unchanged"


def test_the_first_request_of_all_finds_its_environment(
    small: PackageIndex, project: Project, venv: Path, service: ServiceFactory
) -> None:
    """With socket activation it is the one that starts the service."""
    project.write(["alpha"])
    process = service.prepare()
    process.start(until=None)
    answers: list[httpx.Response] = []

    def answered() -> bool:
        with contextlib.suppress(httpx.TransportError):
            answers.append(process.client.post("/environments/studio/reconcile"))
        return bool(answers)

    wait_until(answered, timeout=DEADLINE)

    assert answers[0].status_code == 202, answers[0].text
    process.wait_for_phase("InSync")


def test_two_who_press_at_once_both_get_the_work(
    observed: ServiceProcess, project: Project, small: PackageIndex
) -> None:
    stall = small.stall_downloads(for_name="alpha")
    project.save([*GPU, "alpha"])
    stall.wait_reached()
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(observed.client.post, FIX, timeout=DEADLINE) for _ in range(2)]
        wait_until(lambda: len(observed.events("access.granted")) == 2)
        stall.release()
        answers = [one.result(DEADLINE).json() for one in asked]
    for body in answers:
        assert body["success"] is True
        assert "Successfully installed alpha-1.0" in body["stdout"], body


def test_a_pass_is_followed_live(observed: ServiceProcess, project: Project) -> None:
    listener = Listener(observed)
    project.save([*GPU, "beta"])
    wait_until(
        lambda: any(
            one["event"] == "pass.finished" and one["result"] == "changed"
            for one in listener.of("event")
        ),
        timeout=DEADLINE,
        what="the end of the pass among the events",
    )
    steps = Counter((one["package"], one["step"]) for one in listener.of("progress"))
    assert {name for name, _ in steps} == {"alpha", "beta"}, "nothing happens to what is held"
    assert steps["alpha", "installed"] >= 1
    assert steps["beta", "installed"] >= 1
    assert any(one["done"] == one["total"] == 2 for one in listener.of("progress"))
    assert any("alpha" in one["line"] for one in listener.of("log"))
    generations = [one["generation"] for one in listener.of("status")]
    assert generations == sorted(generations)
    assert {one["environment"] for one in listener.of("progress")} == {"studio"}
    observed.stop()
    listener.join(DEADLINE)
    assert not listener.is_alive(), "the stream ends with the service"


def test_status_under_load_during_a_pass(
    observed: ServiceProcess, project: Project, small: PackageIndex
) -> None:
    phases: Counter[str] = Counter()

    def ask(_: int) -> int:
        with httpx.Client(base_url=observed.client.base_url, timeout=DEADLINE) as client:
            for _ in range(50):
                answer = client.get("/status")
                if answer.status_code != 200:
                    return answer.status_code
                phases[answer.json()["environments"][0]["phase"]] += 1
        return 200

    stall = small.stall_downloads(for_name="alpha")
    project.save([*GPU, "alpha"])
    stall.wait_reached()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {200}
    assert phases == {"Reconciling": 400}
    stall.release()
    observed.wait_for_phase("InSync")


def test_a_wait_for_the_next_tree(observed: ServiceProcess, project: Project) -> None:
    since = observed.environment()["generation"]
    with ThreadPoolExecutor(1) as pool:
        query = {"wait": 60, "since": since}
        waiting = pool.submit(
            observed.client.get, "/status/studio", params=query, timeout=DEADLINE + 10
        )
        project.save([*GPU, "alpha"])
        answer = waiting.result(DEADLINE + 10).json()
    assert answer["generation"] > since
    assert "alpha" in {row["name"] for row in answer["packages"]}


def test_pause_and_resume(observed: ServiceProcess, project: Project) -> None:
    _pause(observed)
    project.save([*GPU, "alpha"])
    assert observed.environment()["suspended"] is True
    assert observed.client.get("/metrics").text.count(
        'reconciler_suspended{environment="studio"} 1'
    )
    answer = observed.client.post("/environments/studio/resume", json={"reason": "enough"})
    wait_until(lambda: observed.client.get(answer.headers["location"]).status_code == 200)
    observed.wait_for_phase("InSync")


def test_a_hold_that_is_not_there_is_told(observed: ServiceProcess) -> None:
    answer = observed.client.post("/environments/studio/holds/numpy/restore")
    assert (answer.status_code, answer.json()["reason"]) == (404, "UnknownHold")
    assert "torch" in answer.json()["detail"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_changes_nothing(observed: ServiceProcess) -> None:
    address = str(observed.client.base_url)

    def attack() -> bytes:
        answer = httpx.post(f"{address}/environments/studio/pause", trust_env=False)
        return f"{answer.status_code} {answer.json()['reason']}".encode()

    assert as_user(65534, attack) == b"403 UserNotAllowed"
    observed.wait_for_event("access.refused", where=lambda one: one["uid"] == 65534)
    assert observed.environment()["suspended"] is False


def test_a_password_in_an_address_is_used_and_never_shown(
    make_index: Callable[..., PackageIndex],
    project: Project,
    venv: Path,
    service: ServiceFactory,
    tmp_path: Path,
) -> None:
    private = make_index(credentials=("ana", "very-secret"))
    wheels = [make_wheel(tmp_path / "private", name, "1.0") for name in ("alpha", "delta")]
    private.add(*wheels)
    addresses = [
        private.file_url(name).replace("//", "//ana:very-secret@", 1)
        for name in (wheels[0].name, "gone-1.0-py3-none-any.whl")
    ]
    project.write([f"alpha @ {addresses[0]}", f"gone @ {addresses[1]}"])
    process = service(mode="observe")
    message = process.wait_for_phase("Degraded")["conditions"][0]["message"]
    assert message.startswith("gone could not be satisfied"), "alpha was not even tried"

    fixed = process.client.post(FIX, json={"apply": True}, timeout=DEADLINE)

    assert snapshot(venv) == {"alpha": "1.0"}, fixed.text
    assert len(fixed.json()["failed_packages"]) == 1
    passes = [f"/history/{one['id']}" for one in process.client.get("/history").json()["passes"]]
    told = [process.client.get(path).text for path in ("/status", "/history", *passes)]
    journal = b"".join(path.read_bytes() for path in (process.directory / "state").glob("*sqlite*"))
    for text in (fixed.text, *told, process.log.read_text(), journal.decode("latin-1")):
        assert "very-secret" not in text


def test_nothing_but_records_is_logged(observed: ServiceProcess) -> None:
    observed.client.get("/nothing")
    observed.client.get("/status", headers={"Host": "evil.example"})
    assert observed.stop() == 0
    assert observed.noise() == []
    assert observed.events("library.message") == []
