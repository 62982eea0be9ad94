"""Accelerator packages that another build left behind: named, with advice that can be followed."""

import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from reconciler.holds.conflicts import warnings_of
from reconciler.holds.standing import holds_found
from reconciler.status import Result
from tests.holds.stand import HELD, Stand
from tests.holds.test_intruders import command, findings, verdicts, warnings
from tests.support.elf import shared_library
from tests.support.environments import (
    assert_whole,
    install,
    run_python,
    tree_fingerprint,
    uninstall,
    uv_binary,
)
from tests.support.processes import run_cli
from tests.support.torch import fake_torch, fake_triton
from tests.support.wheels import make_wheel

CU12 = ("nvidia-nccl-cu12", "nvidia-cublas-cu12", "nvidia-cudnn-cu12", "nvidia-cuda-nvcc-cu12")
CU13 = ("nvidia-nccl-cu13", "nvidia-cublas", "nvidia-cudnn-cu13")
TORCH = "2.14.1"


def library(folder: Path, name: str, version: str, *requires: str, **files: str) -> Path:
    """A package of NVIDIA's: each has the `__init__.py` of the namespace, as they had for years."""
    mine = {f"nvidia/{path.replace('__', '/')}": text for path, text in files.items()}
    mine = {f"{path}.so": text for path, text in mine.items()}
    return make_wheel(
        folder, name, version, requires=requires, files={"nvidia/__init__.py": "", **mine}
    )


def cuda12(folder: Path) -> list[Path]:
    """nccl and cublas as in life: one is in the folder of its successor, the other beside it."""
    return [
        library(folder, "nvidia-nccl-cu12", "2.21", nccl__libnccl="12"),
        library(folder, "nvidia-cublas-cu12", "12.4", cublas__libcublas12="12"),
        library(folder, "nvidia-cudnn-cu12", "9.1", "nvidia-cublas-cu12", cudnn__libcudnn="12"),
        make_wheel(folder, "nvidia-cuda-nvcc-cu12", "12.4"),
    ]


def cuda13(folder: Path, *requires: str) -> list[Path]:
    """A torch for CUDA 13, and what it pins."""
    pins = ["nvidia-nccl-cu13==2.27", "nvidia-cudnn-cu13==9.13", "nvidia-cublas==13.1.1"]
    return [
        fake_torch(folder, TORCH, requires=[*pins, *requires], files=3),
        library(folder, "nvidia-nccl-cu13", "2.27", nccl__libnccl="13"),
        library(folder, "nvidia-cudnn-cu13", "9.13", cudnn__libcudnn="13"),
        library(folder, "nvidia-cublas", "13.1.1", cu13__libcublas13="13"),
    ]


def follow(stand: Stand, advice: str) -> None:
    """Run the commands of a piece of advice, as they are, in their order."""
    config = str(stand.home / "config.toml")
    for quoted in re.findall(r"`([^`]+)`", advice):
        for line in quoted.split(" && "):
            program, *words = shlex.split(line)
            if program == "uv":
                ran = subprocess.run(
                    [uv_binary(), *words], check=False, capture_output=True, text=True
                )
            elif program == "reconciler":
                ran = run_cli(*words, "--config", config, cwd=stand.project.directory)
            else:
                continue  # the name of a setting
            assert ran.returncode == 0, (line, ran.stdout, ran.stderr)


def follow_all(stand: Stand) -> list[str]:
    """Follow the advice of each warning, the first one first, until there is none."""
    followed: list[str] = []
    while said := warnings(stand):
        assert said[0] not in followed, said
        followed.append(said[0])
        follow(stand, said[0])
    return followed


def bare(stand: Stand, *wheels: Path, declare: Sequence[str]) -> None:
    """The environment with these packages instead of the usual stack."""
    uninstall(stand.venv, *stand.packages())
    install(stand.venv, *wheels[: len(CU12)])
    if wheels[len(CU12) :]:
        install(stand.venv, *wheels[len(CU12) :])
    stand.project.write(declare)


def test_the_libraries_of_an_older_torch_beside_a_held_one(stand: Stand, tmp_path: Path) -> None:
    """From before the first pass, when there are no copies, to the last warning."""
    bare(stand, *cuda12(tmp_path / "12"), *cuda13(tmp_path / "13"), declare=["torch"])
    held = {name: tree_fingerprint(stand.venv, name) for name in ("torch", *CU13)}
    first = warnings(stand)
    assert any("`reconciler apply` makes a copy of nvidia-nccl-cu13" in line for line in first)
    (left,) = (line for line in first if "left over" in line)
    assert left.startswith(
        "nvidia-cublas-cu12 12.4 and nvidia-cuda-nvcc-cu12 12.4 are left over: nothing requires "
        "them, and nvidia-cublas 13.1.1 is used in their place"
    )
    assert "Do not remove them yet" in left
    told = [f"{message}. {mend}" for verdict, message, mend in findings(stand, "leftovers")]
    assert sorted(told) == sorted(first)

    followed = follow_all(stand)

    assert stand.packages().keys() == {"torch", *CU13}
    after = {name: tree_fingerprint(stand.venv, name) for name in held}
    assert {n: {p: s.sha256 for p, s in files.items()} for n, files in after.items()} == {
        n: {p: s.sha256 for p, s in files.items()} for n, files in held.items()
    }
    assert_whole(stand.venv)
    assert verdicts(stand) == (0, 0, 0)
    assert findings(stand, "leftovers") == []
    assert any("uv pip uninstall" in line for line in followed)
    for line in followed:  # of what is held, nothing is ever to be uninstalled
        for words in re.findall(r"uv pip uninstall ([^`&]+)", line):
            assert not {"torch", *CU13} & set(words.split()), line


def test_the_libraries_of_a_torch_for_another_kind_of_gpu(stand: Stand, tmp_path: Path) -> None:
    install(stand.venv, *cuda12(tmp_path))
    stand.project.write(["torch"])
    command(stand, "apply")
    before = stand.fingerprint()
    (left,) = warnings(stand)
    assert left.startswith("nvidia-cublas-cu12 12.4, nvidia-cuda-nvcc-cu12 12.4, ")
    assert "torch 2.3.1+rocm5.7" in left

    follow(stand, left)

    assert warnings(stand) == []
    assert stand.packages().keys() & set(CU12) == set()
    assert stand.fingerprint() == before


def test_two_tritons_of_which_none_is_held(stand: Stand, tmp_path: Path) -> None:
    """The one that nothing requires goes, and a pass completes the other one."""
    uninstall(stand.venv, *stand.packages())
    install(stand.venv, fake_triton(tmp_path, "pytorch-triton-rocm", "2.3.1"))
    stand.project.write(["triton"])
    assert command(stand, "apply")[0] == 0
    (said,) = warnings(stand)
    assert "Nothing requires pytorch-triton-rocm." in said

    follow(stand, said)

    assert warnings(stand) == []
    assert stand.packages().keys() == {"triton"}
    assert_whole(stand.venv)
    run_python(stand.venv, "import triton")


def test_a_held_package_that_requires_an_intruder_is_never_to_go(
    stand: Stand, tmp_path: Path
) -> None:
    """Today's `xformers` requires plain triton; both it and ROCm's triton are held."""
    install(stand.venv, make_wheel(tmp_path, "xformers", "1.0", requires=["triton"]))
    install(stand.venv, fake_triton(tmp_path, "triton", "3.0.0"))
    stand.settings["hold"] = ("torch", "torchvision", "xformers")
    stand.project.write(["torch"])
    (said,) = (line for line in warnings(stand) if line.startswith("triton"))
    assert said.endswith("It stays, since xformers requires it, which is held, too.")


def test_what_is_in_use_is_not_left_over(stand: Stand, tmp_path: Path) -> None:
    """Required by another package or by the project, held, or of no other generation."""
    jax = make_wheel(tmp_path, "jax", "1.0", requires=["nvidia-cudnn-cu12"])
    bare(stand, *cuda12(tmp_path / "12"), *cuda13(tmp_path / "13"), jax, declare=["torch"])

    def left() -> str:
        snapshot = stand.environment().look(audit_files=True)
        said = warnings_of(snapshot, holds_found(snapshot))
        return "".join(line for line in said if "left over" in line)

    # jax needs cudnn, and that needs cublas; what needs CUDA 12 may need its compiler as well.
    assert left() == ""
    uninstall(stand.venv, "jax")
    files = {"onnxruntime/libcuda.so": shared_library(needed=["libc.so.6", "libcublas12.so"])}
    install(stand.venv, make_wheel(tmp_path, "onnxruntime-gpu", "1.0", files=files))
    assert left() == ""  # nothing requires cublas, but something loads it
    uninstall(stand.venv, "onnxruntime-gpu")
    assert "nvidia-cublas-cu12 12.4 and nvidia-cuda-nvcc-cu12 12.4" in left()
    stand.project.write(["torch", "nvidia-cublas-cu12"])
    assert left() == ""
    stand.project.write(["torch", "nvidia-cuda-nvcc-cu12"])
    assert left().startswith("nvidia-cublas-cu12 12.4 is left over")
    stand.settings["hold"] = ("torch", "nvidia-*")
    assert left() == ""
    stand.settings["hold"] = ("torch",)
    stand.project.write(["torch =="])
    assert left() == ""
    stand.project.write(["torch"])
    uninstall(stand.venv, "torch", *CU13)
    assert left() == ""  # nobody can tell that these are not used
    install(stand.venv, fake_torch(tmp_path / "cpu", "2.14.1+cpu", files=3))
    assert left() == ""


def test_a_plan_says_what_it_would_leave_behind(stand: Stand, tmp_path: Path) -> None:
    """An upgrade of a package that is not held takes it from CUDA 12 to CUDA 13."""
    old = make_wheel(tmp_path, "server", "1.0", requires=["nvidia-nccl-cu12"])
    new = make_wheel(tmp_path, "server", "2.0", requires=["nvidia-nccl-cu13"])
    same = make_wheel(tmp_path, "server", "1.1", requires=["nvidia-nccl-cu12"])
    thirteen = library(tmp_path, "nvidia-nccl-cu13", "2.27", nccl__libnccl13="13")
    stand.index.add(old, same, new, thirteen)
    twelve = library(tmp_path, "nvidia-nccl-cu12", "2.21", nccl__libnccl="12")
    uninstall(stand.venv, *HELD, "leftover")
    install(stand.venv, old, twelve)
    stand.project.write(["server==1.1"])
    assert command(stand, "plan")[1]["warnings"] == []
    stand.project.write(["server==2.0"])

    status, planned = command(stand, "plan")
    assert status == 0
    (said,) = planned["warnings"]
    assert said == (
        "This would leave nvidia-nccl-cu12 2.21 behind: what requires it now is changed, and "
        "nvidia-nccl-cu13 2.27 takes its place. `reconciler doctor` then says how to remove what "
        "is left over."
    )

    status, applied = command(stand, "apply")
    assert (status, applied["result"]) == (0, Result.CHANGED)
    assert applied["message"].startswith("nvidia-nccl-cu12 2.21 is left over: nothing requires it")
    (said,) = warnings(stand)
    follow(stand, said)
    assert warnings(stand) == []
    assert stand.packages() == {"server": "2.0", "nvidia-nccl-cu13": "2.27"}
    assert_whole(stand.venv)
