"""What another installer brought beside a held package: a restore takes it out, or names it."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from reconciler.passes.outcome import Outcome
from reconciler.passes.restore import restore
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import Result
from tests.holds.stand import BESIDE, HELD, Stand
from tests.holds.test_vault import keep
from tests.support.environments import (
    assert_whole,
    install,
    run_python,
    run_uv,
    site_packages,
    tree_fingerprint,
    uninstall,
)
from tests.support.passes import Follower
from tests.support.processes import run_cli
from tests.support.torch import TORCH, fake_torch, fake_triton
from tests.support.wheels import make_wheel

ROCM = "pytorch-triton-rocm"


@pytest.fixture
def kept(stand: Stand) -> Stand:
    """In sync, and every hold in the vault."""
    stand.project.write(["torch", "torchvision", *BESIDE])
    stand.reconcile()
    assert all(hold.vaulted for hold in keep(stand).values())
    return stand


def replace_torch(stand: Stand, *more: str) -> None:
    """What `uv pip install torch` does in another terminal: triton and nvidia-* come with it."""
    run_uv("pip", "install", "--no-config", "--index-url", stand.index.url,
           "-p", str(stand.venv), "torch==2.4.0", *more)  # fmt: skip
    assert {"triton", ROCM, "nvidia-cublas-cu12"} <= set(stand.packages())


def put_back(stand: Stand, name: str) -> Outcome:
    return restore(Pass(stand.environment(), Cancellation(), Follower()), name)


def changes(outcome: Outcome) -> dict[str, tuple[str, str | None, str | None]]:
    return {c.name: (c.action, c.from_, c.to) for c in outcome.changes}


def command(stand: Stand, *words: str) -> tuple[int, dict]:
    """Exit status and JSON of a command that needs no service."""
    config = stand.home / "config.toml"
    hold = json.dumps(list(stand.settings.get("hold", ("torch", "torchvision"))))
    config.write_text(
        f'[service]\nstate_dir = "{stand.home}/state"\n[environments.studio]\n'
        f'pyproject = "{stand.project.path}"\npython = "{stand.venv}"\nhold = {hold}\n'
        f'on_hold_broken = "{stand.settings.get("on_hold_broken", "report")}"\n'
    )
    ran = run_cli(*words, "--json", "--config", config, cwd=stand.project.directory)
    return ran.returncode, json.loads(ran.stdout)


def verdicts(stand: Stand) -> tuple[int, int, int]:
    """The exit status of `check`, of `hold list` and of `doctor`."""
    return tuple(command(stand, *words)[0] for words in (["check"], ["hold", "list"], ["doctor"]))


def findings(stand: Stand, *more: str) -> list[tuple[str, str, str]]:
    """What `doctor` says about holds and files that is not well, and of `more` checks."""
    found = command(stand, "doctor")[1]["findings"]
    checks = ("packages", "holds", "companions", "shared files", *more)
    return [
        (f["verdict"], f["message"], f["mend"])
        for f in found
        if f["check"] in checks and f["verdict"] != "ok"
    ]


def warnings(stand: Stand) -> list[str]:
    return command(stand, "check")[1]["warnings"]


@pytest.mark.usefixtures("mode")
def test_a_restore_takes_the_other_triton_out(kept: Stand) -> None:
    before = kept.fingerprint()
    replace_torch(kept)

    outcome = put_back(kept, "torch")

    assert outcome.result is Result.CHANGED
    assert changes(outcome) == {
        "torch": ("restore", "2.4.0", TORCH),
        ROCM: ("restore", HELD[ROCM], HELD[ROCM]),
        "triton": ("remove", "3.0.0", None),
    }
    assert kept.fingerprint() == before
    assert "triton" not in kept.packages()
    assert_whole(kept.venv)
    assert run_python(kept.venv, "import triton; print(triton.BUILD)") == ROCM
    assert verdicts(kept) == (0, 0, 0)
    (left,) = warnings(kept)
    assert left.startswith("nvidia-cublas-cu12 12.4.5.8 and nvidia-cudnn-cu12 9.1.0.70 are left")


def test_what_owns_no_file_of_the_hold_stays_and_is_named(kept: Stand) -> None:
    replace_torch(kept)

    outcome = put_back(kept, "torch")

    left = {n: v for n, v in kept.packages().items() if n.startswith("nvidia-")}
    assert set(left) == {"nvidia-cublas-cu12", "nvidia-cudnn-cu12"}
    for name, version in left.items():
        assert f"{name} {version}" in outcome.message
    assert "uv pip uninstall nvidia-cublas-cu12 nvidia-cudnn-cu12" in outcome.message
    assert "triton" not in outcome.message


@pytest.mark.parametrize("who", ["another package", "the project"])
def test_what_something_else_requires_stays_and_is_named(
    kept: Stand, tmp_path: Path, who: str
) -> None:
    if who == "the project":
        kept.project.write(["torch", "torchvision", "triton", *BESIDE])
    else:
        install(kept.venv, make_wheel(tmp_path, "compiler", "1.0", requires=["triton"]))
    replace_torch(kept)

    outcome = put_back(kept, "torch")

    needs = "the project declares it" if who == "the project" else "compiler requires it"
    assert "triton" not in changes(outcome)
    assert f"triton 3.0.0 ({needs})" in outcome.message
    assert kept.packages()["triton"] == "3.0.0"
    assert run_python(kept.venv, "import triton; print(triton.BUILD)") == ROCM
    assert verdicts(kept) == (0, 0, 0)
    (told,) = [line for line in warnings(kept) if line.startswith("triton")]
    assert f"triton 3.0.0 claims 2 files of {ROCM} 2.3.1, which is held" in told
    assert needs in told
    for verdict, message, mend in findings(kept):
        assert verdict == "warning"
        assert f"{message}. {mend}" == told
        assert f"uninstall {ROCM}" not in mend


def test_one_intruder_that_requires_another_keeps_none_of_them(stand, tmp_path) -> None:
    """The CUDA 12 libraries of another torch, over the CUDA 13 ones of the held build."""
    uninstall(stand.venv, *HELD)
    install(stand.venv, *_cuda(tmp_path / "held", "2.14.1", "cu13"))
    stand.project.write(["torch", *BESIDE])
    stand.reconcile()
    keep(stand)
    before = tree_fingerprint(stand.venv)
    install(stand.venv, *_cuda(tmp_path / "other", "2.4.0", "cu12"))

    outcome = put_back(stand, "torch")

    removed = {name for name, (action, *_) in changes(outcome).items() if action == "remove"}
    assert removed == {"nvidia-cublas-cu12", "nvidia-cudnn-cu12"}
    assert tree_fingerprint(stand.venv) == before
    assert_whole(stand.venv)


def _cuda(folder: Path, torch: str, suffix: str) -> Sequence[Path]:
    cublas, cudnn = f"nvidia-cublas-{suffix}", f"nvidia-cudnn-{suffix}"
    return [
        fake_torch(folder, torch, requires=[f"{cudnn}==9.1"]),
        make_wheel(folder, cudnn, "9.1", requires=[f"{cublas}==12.4"],
                   files={"nvidia/cudnn/lib/libcudnn.so.9": suffix * 100}),
        make_wheel(folder, cublas, "12.4",
                   files={"nvidia/cublas/lib/libcublas.so.12": suffix * 100,
                          "nvidia/__init__.py": ""}),
    ]  # fmt: skip


def test_a_file_that_is_no_module_makes_no_intruder(kept: Stand, tmp_path: Path) -> None:
    """Wheels put a license, or their tests, where those of others are."""
    files = {"LICENSE": "ours", "tests/test_it.py": "# ours\n", "beside.py": ""}
    held = {"LICENSE": "theirs", "tests/test_it.py": "# theirs\n", "gpu.py": ""}
    kept.settings["hold"] = ("torch", "torchvision", "gpu")
    install(kept.venv, make_wheel(tmp_path, "gpu", "1.0", files=held))
    keep(kept)
    install(kept.venv, make_wheel(tmp_path, "beside", "1.0", files=files))

    outcome = put_back(kept, "gpu")

    assert changes(outcome) == {"gpu": ("restore", "1.0", "1.0")}
    assert kept.packages()["beside"] == "1.0"
    assert (site_packages(kept.venv) / "LICENSE").read_text() == "theirs"
    assert verdicts(kept) == (0, 0, 0)
    assert warnings(kept) == []


class TestBesideAnIntactHold:
    """As a restore of an earlier version left it: the files are right, and one claims them."""

    @pytest.fixture
    def beside(self, kept: Stand, tmp_path: Path, stack: list[Path]) -> Stand:
        install(kept.venv, fake_triton(tmp_path, "triton", "3.0.0"))
        (rocm,) = (wheel for wheel in stack if "triton" in wheel.name)
        install(kept.venv, "--reinstall", rocm)
        assert keep(kept)[ROCM].intact
        return kept

    def test_all_commands_say_the_same(self, beside: Stand) -> None:
        assert verdicts(beside) == (0, 0, 0)
        (told,) = warnings(beside)
        assert told.startswith(f"triton 3.0.0 claims 2 files of {ROCM} 2.3.1, which is held")
        assert f"`reconciler hold restore {ROCM}` removes triton" in told
        ((verdict, message, mend),) = findings(beside)
        assert (verdict, f"{message}. {mend}") == ("warning", told)

    @pytest.mark.usefixtures("mode")
    def test_a_restore_removes_it_and_touches_nothing_else(self, beside: Stand) -> None:
        before = beside.fingerprint()

        outcome = put_back(beside, ROCM)

        assert changes(outcome)["triton"] == ("remove", "3.0.0", None)
        assert beside.packages().keys() >= HELD.keys()
        assert "triton" not in beside.packages()
        after = beside.fingerprint()
        assert (after["torch"], after["torchvision"]) == (before["torch"], before["torchvision"])
        assert_whole(beside.venv)
        assert warnings(beside) == []
        assert put_back(beside, ROCM).result is Result.UNCHANGED

    def test_of_two_holds_none_is_removed(self, beside: Stand) -> None:
        beside.settings["hold"] = ("torch", "torchvision", "triton")
        keep(beside)

        put_back(beside, ROCM)

        assert beside.packages()["triton"] == "3.0.0"
        (told,) = warnings(beside)
        assert "both held" in told
        assert "uninstall" not in told


def test_an_overwritten_hold_says_who_did_it_and_what_to_do(kept: Stand, tmp_path: Path) -> None:
    """uv-facts 8e: `uv pip check` calls the two compatible."""
    install(kept.venv, fake_triton(tmp_path, "triton", "3.0.0"))

    assert verdicts(kept) == (2, 2, 1)
    (told,) = warnings(kept)
    assert told.startswith("triton 3.0.0 claims")
    said = [f"{message} {mend}" for _, message, mend in findings(kept)]
    assert all("uninstall" not in line for line in said)
    assert any(f"hold restore {ROCM}" in line for line in said)
