"""The `gpu` block: what torch in the environment says, after a change and on request."""

from pathlib import Path

import pytest

from tests.e2e.asking import post
from tests.support.environments import install, uninstall
from tests.support.index import PackageIndex
from tests.support.processes import wait_until
from tests.support.projects import Project
from tests.support.service import Json, ServiceFactory, ServiceProcess
from tests.support.thorough import only
from tests.support.torch import GPU_NAMES, TORCH, fake_torch

pytestmark = only


@pytest.fixture
def held(studio: Path, project: Project, service: ServiceFactory) -> ServiceProcess:
    project.write(["torch", "requests"])
    process = service(interval="1h")
    process.wait_for_phase("InSync")
    return process


def checked(service: ServiceProcess) -> int:
    return len(service.events("gpu.checked"))


def asked(service: ServiceProcess) -> Json:
    """Ask torch now, and return what the status then says."""
    count = checked(service)
    post(service, "gpu")
    wait_until(lambda: checked(service) > count, what="an answer from torch")
    gpu: Json = service.wait_for_environment(lambda row: row["gpu"])["gpu"]
    return gpu


def test_it_says_which_gpu_torch_sees(held: ServiceProcess) -> None:
    row = held.wait_for_environment(lambda row: row["gpu"])

    gpu = row["gpu"]
    assert gpu["available"] is True
    assert gpu["name"] == GPU_NAMES["rocm"]
    assert (gpu["backend"], gpu["torch"], gpu["error"]) == ("rocm", TORCH, None)
    assert gpu["checked_at"].endswith("Z")


def test_torch_is_asked_again_after_a_change(held: ServiceProcess, project: Project) -> None:
    held.wait_for_environment(lambda row: row["gpu"])
    count = checked(held)
    before = held.environment()["gpu"]["checked_at"]

    project.save(["torch", "requests", "tqdm"])

    wait_until(lambda: checked(held) > count, what="another answer from torch")
    held.wait_for_environment(lambda row: row["gpu"]["checked_at"] > before)


def test_torch_is_asked_again_when_somebody_replaces_it(
    held: ServiceProcess, studio: Path, tmp_path: Path
) -> None:
    held.wait_for_environment(lambda row: row["gpu"])

    install(studio, fake_torch(tmp_path, "2.8.0"))

    row = held.wait_for_environment(lambda row: row["gpu"]["available"] is False)
    assert (row["gpu"]["torch"], row["gpu"]["backend"]) == ("2.8.0", "cpu")
    post(held, "holds/torch/restore")
    held.wait_for_environment(lambda row: row["gpu"]["name"] == GPU_NAMES["rocm"])


def test_torch_is_asked_on_request(held: ServiceProcess, studio: Path, tmp_path: Path) -> None:
    held.wait_for_environment(lambda row: row["gpu"])

    install(studio, fake_torch(tmp_path, "2.3.1+cu121"))
    held.wait_for_environment(lambda row: asked(held)["torch"] == "2.3.1+cu121")
    assert held.environment()["gpu"]["backend"] == "cuda"

    install(studio, fake_torch(tmp_path, "2.3.1+rocm6", import_error="libamdhip64.so.6 is missing"))
    held.wait_for_environment(lambda row: asked(held)["available"] is False)
    assert "libamdhip64.so.6 is missing" in held.environment()["gpu"]["error"]

    uninstall(studio, "torch")
    held.wait_for_environment(lambda row: "not installed" in (asked(held)["error"] or ""))
    gpu = held.environment()["gpu"]
    assert (gpu["available"], gpu["torch"]) == (False, None)
    assert held.client.get("/livez").status_code == 200


def test_a_torch_that_hangs_holds_up_nothing(
    held: ServiceProcess, studio: Path, project: Project, universe: PackageIndex
) -> None:
    held.wait_for_environment(lambda row: row["gpu"])
    module = next(studio.glob("lib/python3*/site-packages/torch/__init__.py"))
    fresh = module.with_name("fresh")
    fresh.write_text("import time\ntime.sleep(600)\n")
    fresh.replace(module)
    post(held, "gpu")

    project.save(["torch", "requests", "tqdm"])
    held.wait_for_environment(
        lambda row: {p["name"]: p["ok"] for p in row["packages"]}.get("tqdm") is True
    )

    assert held.stop(5) == 0
    assert held.processes() == []
