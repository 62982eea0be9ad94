"""Another build becomes the held one: by word, by what the project declares, by configuration."""

from pathlib import Path

import pytest

from tests.e2e.asking import ask, condition, finished, holds, in_sync_with, statuses
from tests.support.environments import (
    delete,
    install,
    run_uv,
    snapshot,
    tree_fingerprint,
    uninstall,
)
from tests.support.index import PackageIndex
from tests.support.processes import wait_until
from tests.support.projects import Project
from tests.support.service import Json, ServiceFactory, ServiceProcess
from tests.support.thorough import only
from tests.support.torch import TORCH, fake_torch
from tests.support.vaults import held_in

pytestmark = only


@pytest.fixture
def held(studio: Path, project: Project, service: ServiceFactory) -> ServiceProcess:
    project.write(["torch", "requests"])
    process = service(interval="1h")
    process.wait_for_phase("InSync")
    return process


def broken(row: Json) -> bool:
    return condition(row, "HoldsIntact")["status"] == "False" and row["current_pass"] is None


def contents_of(venv: Path, package: str) -> dict[str, str]:
    """Without the inodes: the vault has what two builds have in common once."""
    return {path: state.sha256 for path, state in tree_fingerprint(venv, package).items()}


def intact_at(version: str, row: Json) -> bool:
    torch = holds(row).get("torch")
    return torch is not None and (torch["version"], torch["intact"]) == (version, True)


def by_hand(venv: Path, index: PackageIndex, *requirements: str) -> None:
    run_uv("pip", "install", "--no-config", "--index-url", index.url, "-p", str(venv),
           *requirements)  # fmt: skip


def vaulted(process: ServiceProcess, venv: Path) -> set[str]:
    return set(held_in(process.vault, venv))


def test_the_new_build_is_accepted_and_held_from_then_on(
    held: ServiceProcess, project: Project, universe: PackageIndex
) -> None:
    by_hand(project.venv, universe, "torch==2.4.0")
    held.wait_for_environment(broken)

    entry = ask(held, "holds/torch/accept", reason="it has the new kernels")

    assert entry["result"] == "unchanged"
    row = held.wait_for_environment(lambda row: intact_at("2.4.0", row))
    assert {n for n, h in holds(row).items() if h["pinned_by"] == "torch"} == {
        "nvidia-cublas-cu12",
        "nvidia-cudnn-cu12",
        "triton",
    }
    assert all(hold["vaulted"] for name, hold in holds(row).items() if name != "torchvision")
    assert held.events("hold.accepted")[0]["version"] == "2.4.0"

    # Now this is the build that is put back.
    before = contents_of(project.venv, "torch")
    uninstall(project.venv, "torch")
    held.wait_for_environment(broken)
    universe.down()
    ask(held, "holds/torch/restore")
    assert contents_of(project.venv, "torch") == before
    assert snapshot(project.venv)["torch"] == "2.4.0"


def test_that_it_is_gone_can_be_accepted(
    held: ServiceProcess, project: Project, universe: PackageIndex
) -> None:
    uninstall(project.venv, "torch")
    held.wait_for_environment(broken)

    entry = ask(held, "holds/torch/accept")

    assert entry["result"] == "unchanged"
    assert "torch is gone on purpose" in entry["message"]
    row = held.wait_for_environment(lambda row: not broken(row) and "torch" not in holds(row))
    assert statuses(row)["torch"] == "held-missing"
    assert "torch" not in snapshot(project.venv)


def test_a_declared_requirement_that_only_the_new_build_meets_accepts_it(
    held: ServiceProcess, project: Project, universe: PackageIndex
) -> None:
    uninstall(project.venv, "torchvision")  # it pins its torch
    project.save(["torch>=2.4", "requests"])
    row = held.wait_for_environment(lambda row: statuses(row)["torch"] == "held-mismatch")
    assert row["phase"] == "Degraded"
    assert snapshot(project.venv)["torch"] == TORCH

    by_hand(project.venv, universe, "torch==2.8.0")
    row = held.wait_for_environment(lambda row: intact_at("2.8.0", row))

    assert statuses(row)["torch"] == "held"
    assert held.events("hold.accepted")[-1]["version"] == "2.8.0"
    assert row["phase"] == "Degraded", "torchvision is held as well, and still missing"


def test_the_declaration_may_follow_the_deed(
    held: ServiceProcess, project: Project, universe: PackageIndex
) -> None:
    by_hand(project.venv, universe, "torch==2.8.0")
    held.wait_for_environment(broken)

    project.save(["torch>=2.4", "requests"])
    held.wait_for_environment(lambda row: intact_at("2.8.0", row))


def test_a_package_that_is_no_longer_configured_is_forgotten(
    held: ServiceProcess, project: Project
) -> None:
    assert vaulted(held, project.venv) == {"torch", "torchvision", "pytorch-triton-rocm"}
    # torchvision pins torch, so to forget one is to forget both.
    held.environments["studio"] = {**held.environments["studio"], "hold": ["xformers"]}
    held.write_config()
    held.stop()
    held.start()

    held.wait_for_environment(lambda row: row["holds"] == [] and row["phase"] == "InSync")

    assert vaulted(held, project.venv) == set()
    assert snapshot(project.venv)["torch"] == TORCH, "to forget is not to change"


def test_old_copies_are_pruned(
    studio: Path, project: Project, service: ServiceFactory, tmp_path: Path
) -> None:
    project.write(["torch"])
    process = service(interval="1h", keep_generations=1)
    process.wait_for_phase("InSync")

    for version in ("2.3.1+rocm6.0", "2.3.1+rocm6.1", "2.3.1+rocm6.2"):
        install(studio, fake_torch(tmp_path / "new", version))
        process.wait_for_environment(
            lambda row: broken(row) and holds(row)["torch"]["found"] == version  # noqa: B023
        )
        ask(process, "holds/torch/accept")
        process.wait_for_environment(lambda row: intact_at(version, row))  # noqa: B023

    def kept() -> list[Path]:
        return list((process.vault / "packages" / "torch" / "copies").iterdir())

    assert len(held_in(process.vault, studio)["torch"]) == 2
    wait_until(lambda: len(kept()) == 2, what="the held copy and one before it")


def test_with_the_environment_its_copies_are_not_gone(
    held: ServiceProcess, project: Project, gpu_wheels: list[Path]
) -> None:
    delete(project.venv)
    row = held.wait_for_environment(lambda row: broken(row) and row["current_pass"] is None)

    assert condition(row, "HoldsIntact")["status"] == "False"
    assert all(hold["vaulted"] and not hold["intact"] for hold in row["holds"])
    assert ask(held, "holds/torch/restore")["result"] == "changed"
    held.wait_for_environment(lambda row: intact_at(TORCH, row))

    delete(project.venv)
    held.wait_for_environment(broken)
    install(project.venv, *gpu_wheels)
    held.wait_for_environment(lambda row: intact_at(TORCH, row))
    row = held.wait_for_environment(lambda row: all(h["vaulted"] for h in row["holds"]))
    assert vaulted(held, project.venv) == {"torch", "torchvision", "pytorch-triton-rocm"}


def test_an_empty_list_holds_nothing(
    studio: Path, project: Project, service: ServiceFactory
) -> None:
    project.write(["torch>=2.4"])
    process = service(interval="1h", hold=[])

    row = process.wait_for_phase("InSync")

    assert row["holds"] == []
    assert snapshot(studio)["torch"] == "2.8.0"
    assert not vaulted(process, studio)


def test_a_restore_asked_twice_is_done_once(
    held: ServiceProcess, project: Project, universe: PackageIndex
) -> None:
    by_hand(project.venv, universe, "torch==2.4.0")
    held.wait_for_environment(broken)

    numbers = [
        held.client.post("/environments/studio/holds/torch/restore").json()["pass"]
        for _ in range(2)
    ]
    for number in numbers:
        finished(held, number)

    held.wait_for_environment(lambda row: intact_at(TORCH, row))
    assert not in_sync_with(held.environment(), [])
    assert snapshot(project.venv)["torch"] == TORCH
