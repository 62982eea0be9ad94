"""Somebody changes a held package by hand: it is noticed, explained, and can be put back."""

import itertools
import time
from pathlib import Path

import pytest

from tests.e2e.asking import ask, condition, finished, holds, post, statuses
from tests.support.environments import (
    FileState,
    assert_whole,
    damage,
    install,
    run_python,
    run_uv,
    site_packages,
    snapshot,
    tree_fingerprint,
    uninstall,
)
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.service import Json, ServiceFactory, ServiceProcess
from tests.support.torch import TORCH, TORCHVISION, TRITON_ROCM
from tests.support.vaults import content_of, contents_in

DECLARED = ["torch==2.3.1+rocm5.7", "torchvision", "requests"]
HELD = ("torch", "torchvision", "pytorch-triton-rocm")
NOTICED_WITHIN = 5.0
"""Seconds; a second where nothing else runs, more on a machine that tests share."""


@pytest.fixture
def held(studio: Path, project: Project, service: ServiceFactory) -> ServiceProcess:
    """A service in sync, its holds in the vault."""
    project.write(DECLARED)
    process = service(interval="1h")
    row = process.wait_for_phase("InSync")
    assert {name: hold["vaulted"] for name, hold in holds(row).items()} == dict.fromkeys(HELD, True)
    return process


def files_of_holds(venv: Path) -> dict[str, FileState]:
    return {path: state for name in HELD for path, state in tree_fingerprint(venv, name).items()}


def harmed(venv: Path) -> set[str]:
    """The packages that are not as their RECORD says."""
    return {sentence.partition("-")[0] for sentence in damage(venv)}


def replace_torch(venv: Path, index: PackageIndex, version: str = "2.4.0") -> None:
    """What a user's `uv pip install torch` does, companions and all."""
    run_uv("pip", "install", "--no-config", "--index-url", index.url, "-p", str(venv),
           f"torch=={version}")  # fmt: skip


def broken(row: Json) -> bool:
    return condition(row, "HoldsIntact")["status"] == "False" and row["current_pass"] is None


def test_a_torch_replaced_by_hand_is_reported_and_restored_offline(
    held: ServiceProcess, project: Project, universe: PackageIndex
) -> None:
    before = files_of_holds(project.venv)
    replace_torch(project.venv, universe)
    done = time.monotonic()
    row = held.wait_for_environment(
        lambda row: broken(row) and holds(row)["torch"].get("found") == "2.4.0"
    )

    assert time.monotonic() - done < NOTICED_WITHIN
    assert row["phase"] == "Degraded"
    assert condition(row, "Ready")["reason"] == "HoldBroken"
    torch = holds(row)["torch"]
    assert (torch["version"], torch["found"], torch["intact"]) == (TORCH, "2.4.0", False)
    for said in (TORCH, "2.4.0", "triton==3.0.0", "nvidia-cublas-cu12==12.4.5.8",
                 "hold restore torch", "hold accept torch"):  # fmt: skip
        assert said in torch["message"]
    told = held.events("hold.broken")[-1]
    assert (told["expected"], told["found"]) == (TORCH, "2.4.0")

    # Nobody but the user decides: it stays as it is, and the rest is still looked after.
    uninstall(project.venv, "requests")
    held.wait_for(lambda _: "requests" in snapshot(project.venv))
    assert snapshot(project.venv)["torch"] == "2.4.0"

    universe.down()
    entry = ask(held, "holds/torch/restore")

    assert entry["result"] == "changed"
    restored = {c["name"]: (c["action"], c["from"], c["to"]) for c in entry["changes"]}
    assert restored["torch"] == ("restore", "2.4.0", TORCH)
    assert files_of_holds(project.venv) == before, "the same inodes, and the same bytes"
    assert restored["triton"] == ("remove", "3.0.0", None), "it owned the same files"
    assert_whole(project.venv)
    assert "nvidia-cublas-cu12 12.4.5.8" in entry["message"], "it stays, and is named"
    row = held.wait_for_environment(lambda row: not broken(row) and row["phase"] == "InSync")
    (left,) = row["warnings"]
    assert "nvidia-cublas-cu12 12.4.5.8 and nvidia-cudnn-cu12 9.1.0.70 are left over" in left
    assert holds(row)["torch"]["intact"] is True
    assert statuses(row)["torch"] == "held"
    assert run_python(project.venv, "import torch; print(torch.cuda.is_available())") == "True"


def test_a_torch_removed_by_hand(
    held: ServiceProcess, project: Project, universe: PackageIndex
) -> None:
    before = files_of_holds(project.venv)

    uninstall(project.venv, "torch", "pytorch-triton-rocm")
    # It may be seen while uv is still removing it.
    row = held.wait_for_environment(
        lambda row: broken(row) and holds(row)["torch"]["found"] is None
    )

    torch = holds(row)["torch"]
    assert (torch["intact"], torch["version"]) == (False, TORCH)
    assert "removed" in torch["message"]
    assert statuses(row)["torch"] == "held-missing"
    universe.down()
    ask(held, "holds/torch/restore")
    assert files_of_holds(project.venv) == before
    held.wait_for_phase("InSync")
    assert (project.venv / "bin" / "torchrun").exists()
    assert_whole(project.venv)


def test_a_file_of_a_hold_is_harmed(
    held: ServiceProcess, project: Project, universe: PackageIndex
) -> None:
    before = files_of_holds(project.venv)
    universe.down()
    for harm in ("deleted", "changed", "truncated", "script deleted"):
        print(harm)
        library = site_packages(project.venv) / "torch" / "lib" / "libtorch.so"
        if harm == "script deleted":
            library = project.venv / "bin" / "torchrun"
        if harm.endswith("deleted"):
            library.unlink()
        else:  # as an installer does it: another file in its place
            fresh = library.with_name("fresh")
            fresh.write_bytes(b"" if harm == "truncated" else b"other bytes")
            fresh.replace(library)
        done = time.monotonic()
        row = held.wait_for_environment(broken)

        assert time.monotonic() - done < NOTICED_WITHIN
        torch = holds(row)["torch"]
        assert torch["intact"] is False
        assert statuses(row)["torch"] == "broken"
        assert library.name in torch["message"]
        assert TORCH in torch["message"]
        entry = ask(held, "holds/torch/restore")
        assert entry["result"] == "changed"
        assert files_of_holds(project.venv) == before
        held.wait_for_environment(lambda row: row["phase"] == "InSync" and not broken(row))


def test_a_companion_overwritten_by_another_package(
    held: ServiceProcess, project: Project, universe: PackageIndex
) -> None:
    """PyPI's triton owns the same files as the ROCm build's (uv-facts 8e)."""
    before = files_of_holds(project.venv)

    run_uv("pip", "install", "--no-config", "--index-url", universe.url, "-p", str(project.venv),
           "triton==3.0.0")  # fmt: skip
    row = held.wait_for_environment(broken)

    companion = holds(row)["pytorch-triton-rocm"]
    assert (companion["intact"], companion["pinned_by"]) == (False, "torch")
    assert companion["version"] == TRITON_ROCM
    (told,) = row["warnings"]
    assert told.startswith("triton 3.0.0 claims 2 files of pytorch-triton-rocm 2.3.1, which is")
    assert "triton/__init__.py" in companion["message"]
    ask(held, "holds/pytorch-triton-rocm/restore")
    assert files_of_holds(project.venv) == before
    assert run_python(project.venv, "import triton; print(triton.BUILD)") == "pytorch-triton-rocm"
    assert_whole(project.venv)
    row = held.wait_for_environment(lambda row: not broken(row) and row["phase"] == "InSync")
    assert row["warnings"] == []


def test_it_puts_a_broken_hold_back_by_itself_if_told_to(
    studio: Path, project: Project, universe: PackageIndex, service: ServiceFactory
) -> None:
    project.write(DECLARED)
    process = service(interval="1h", on_hold_broken="restore")
    process.wait_for_phase("InSync")
    before = files_of_holds(studio)

    replace_torch(studio, universe)
    process.wait_for(lambda _: process.events("hold.restored"))
    process.wait_for_environment(lambda row: row["phase"] == "InSync" and not broken(row))

    assert files_of_holds(studio) == before
    restored = {e["package"] for e in process.events("hold.restored")}
    assert restored >= {"torch", "pytorch-triton-rocm"}
    assert_whole(studio)
    assert "triton" not in snapshot(studio)
    assert process.events("hold.broken")
    assert snapshot(studio)["torchvision"] == TORCHVISION


def test_a_damaged_copy_is_never_restored(
    held: ServiceProcess, project: Project, universe: PackageIndex
) -> None:
    copy = content_of(held.vault, "torch", "libtorch.so")
    uninstall(project.venv, "torch")
    held.wait_for_environment(broken)
    copy.unlink()  # else uv's cache, which shares the file, would be spoilt as well
    copy.write_bytes(b"not what was put there")
    before = tree_fingerprint(project.venv)

    entry = ask(held, "holds/torch/restore")

    assert entry["result"] == "failed"
    assert "VaultDamaged" in entry["message"]
    assert "libtorch.so" in entry["message"]
    assert tree_fingerprint(project.venv) == before
    assert "torch" not in snapshot(project.venv)
    assert held.wait_for_environment(broken)["phase"] in ("Degraded", "Failed")


def test_the_vault_costs_no_data_blocks_and_restoring_what_is_intact_changes_nothing(
    held: ServiceProcess, project: Project
) -> None:
    originals = {path.stat().st_ino for path in project.venv.rglob("*") if path.is_file()}
    copies = contents_in(held.vault)

    assert len(copies) > 20
    assert [path for path in copies if path.stat().st_ino not in originals] == []

    before = files_of_holds(project.venv)
    generation = held.environment()["generation"]

    entry = ask(held, "holds/torch/restore")

    assert (entry["result"], entry["changes"]) == ("unchanged", [])
    assert files_of_holds(project.venv) == before
    assert held.wait_for_phase("InSync")["generation"] == generation


def test_a_hold_that_was_never_installed_cannot_be_restored(
    project: Project, venv: Path, universe: PackageIndex, service: ServiceFactory
) -> None:
    project.write(["numpy"])
    process = service(hold=["torchaudio"])
    process.wait_for_phase("InSync")

    answer = process.client.post("/environments/studio/holds/TorchAudio/restore")

    assert answer.status_code == 404
    detail = answer.json()["detail"]
    assert "`torchaudio` is to be held, but has never been installed in studio" in detail
    assert "Install the build that you want by hand" in detail


def test_a_restore_and_a_reconcile_at_once_do_not_meet(
    held: ServiceProcess, project: Project, universe: PackageIndex
) -> None:
    before = files_of_holds(project.venv)
    replace_torch(project.venv, universe)
    held.wait_for_environment(broken)

    project.save([*DECLARED, "tqdm"])
    asked = [post(held, "holds/torch/restore"), post(held, "reconcile"), post(held, "reconcile")]
    for number in asked:
        finished(held, number)

    held.wait_for_phase("InSync")
    assert files_of_holds(project.venv) == before
    assert snapshot(project.venv).keys() >= {"tqdm", "requests", "torch"}
    spans = spans_of(held)
    assert len(spans) >= 3, "the first pass, the restore, the reconcile"
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))


def spans_of(service: ServiceProcess) -> list[tuple[str, str]]:
    """Begin and end of each pass, in the order of their beginning."""
    ends = {e["pass"]: e["timestamp"] for e in service.events("pass.finished")}
    begun = [e for e in service.events("pass.started") if e["pass"] in ends]
    return [(e["timestamp"], ends[e["pass"]]) for e in begun]


def test_the_held_build_may_be_put_back_by_hand(
    held: ServiceProcess, project: Project, gpu_wheels: list[Path], universe: PackageIndex
) -> None:
    """Other inodes, but the same bytes: the hold is intact again."""
    replace_torch(project.venv, universe)
    held.wait_for_environment(broken)

    install(project.venv, "--reinstall", *gpu_wheels)
    row = held.wait_for_environment(lambda row: not broken(row) and row["phase"] == "InSync")

    assert holds(row)["torch"]["message"] is None
    assert harmed(project.venv) == {"triton"}
    told, left = sorted(row["warnings"], key=lambda line: "left over" in line)
    assert "`reconciler hold restore pytorch-triton-rocm` removes triton" in told
    ask(held, "holds/pytorch-triton-rocm/restore")
    assert_whole(project.venv)
    held.wait_for_environment(lambda row: row["warnings"] == [left])
