"""What works without the service: history, rollback, pause, resume, and the holds."""

import shutil
import subprocess
from pathlib import Path

from tests.cli.conftest import Studio
from tests.support.environments import (
    assert_whole,
    install,
    snapshot,
    tree_fingerprint,
    uninstall,
)
from tests.support.index import PackageIndex
from tests.support.torch import fake_torch


def contents(venv: Path, package: str) -> dict[str, str]:
    return {path: state.sha256 for path, state in tree_fingerprint(venv, package).items()}


def test_history_lists_passes_and_generations(applied: Studio) -> None:
    applied.declare("alpha>=2")
    applied.ok("apply")

    document = applied.json("history")

    assert document.keys() == {"environment", "passes", "generations"}
    assert [(p["trigger"], p["result"]) for p in document["passes"]] == [
        ("manual", "changed"), ("manual", "changed"),
    ]  # fmt: skip
    assert document["passes"][0]["changes"] == [
        {"name": "alpha", "action": "upgrade", "from": "1.0", "to": "2.0"}
    ]
    assert [(g["number"], g["live"]) for g in document["generations"]] == [
        (2, True), (1, False), (0, False),
    ]  # fmt: skip
    assert document["generations"][1]["bytes_own"] > 0
    shown = applied.ok("history")
    assert "2 (live)" in shown
    assert "alpha" in shown


def test_history_shows_one_pass_with_uvs_log(applied: Studio) -> None:
    (entry,) = applied.json("history")["passes"]

    document = applied.json("history", str(entry["id"]))
    shown = applied.ok("history", str(entry["id"]))

    assert "alpha==1.0" in document["log"]
    assert document["plan"] == document["changes"]
    assert "uv's log:" in shown
    assert " + alpha==1.0" in shown


def test_an_unknown_pass_is_an_error(applied: Studio) -> None:
    ran = applied.run("history", "4711")

    assert ran.returncode == 1
    assert ran.stderr == "Error: There is no pass 4711. `reconciler history` lists them.\n"


def test_history_of_nothing(studio: Studio) -> None:
    assert studio.ok("history") == "Nothing is recorded for studio yet.\n"
    assert not (studio.home / "state").exists()


def test_rollback_brings_the_tree_before_back_offline(applied: Studio, small: PackageIndex) -> None:
    before = tree_fingerprint(applied.venv)
    applied.declare("alpha>=2", "delta")
    applied.ok("apply")
    small.down()

    shown = applied.ok("rollback", "--reason", "alpha 2 is broken")

    assert "generation 1 is live" in shown
    assert tree_fingerprint(applied.venv) == before
    assert_whole(applied.venv)
    assert "rolled back to generation 1: alpha 2 is broken" in applied.run("apply").stderr


def test_rollback_to_a_named_generation_and_forward_again(applied: Studio) -> None:
    applied.declare("alpha>=2")
    applied.ok("apply")
    applied.declare("beta")
    applied.ok("apply")

    assert applied.json("rollback", "1")["generation"] == 1
    assert snapshot(applied.venv)["alpha"] == "1.0"
    assert applied.json("rollback", "3")["generation"] == 3
    assert "beta" in snapshot(applied.venv)


def test_rollback_goes_to_the_tree_before_though_another_has_the_number_before(
    applied: Studio,
) -> None:
    """Once it went back to the very tree from which somebody had gone back."""
    applied.declare("alpha>=2")
    applied.ok("apply")
    applied.ok("rollback", "--reason", "generation 2 is bad")
    applied.declare("alpha<2", "beta")
    assert applied.json("apply")["generation"] == 3

    assert applied.json("rollback")["generation"] == 1
    assert applied.json("rollback")["generation"] == 0


def test_the_size_of_a_generation_is_what_removing_it_frees(applied: Studio) -> None:
    applied.declare("beta")
    applied.ok("apply")
    sizes = {g["number"]: g["bytes_own"] for g in applied.json("history")["generations"]}
    folder = applied.venv / ".reconciler" / "generations"

    before = disk_usage(applied.venv)
    shutil.rmtree(folder / "1")

    freed = before - disk_usage(applied.venv)
    # The folder that it lay in may itself become smaller.
    assert 0 < sizes[1] <= freed <= sizes[1] + 4096


def disk_usage(folder: Path) -> int:
    """What du(1) says: each file counts once, however many links it has."""
    words = ["du", "--summarize", "--block-size=1", str(folder)]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(ran.stdout.split()[0])


def test_rollback_to_a_damaged_tree_is_refused(applied: Studio) -> None:
    applied.declare("beta")
    applied.ok("apply")
    before = tree_fingerprint(applied.venv)
    (kept,) = applied.venv.glob(".reconciler/generations/1/lib/python*/site-packages")
    shutil.rmtree(kept / "alpha")

    assert "generation 1 is no longer complete (alpha: " in applied.run("rollback", "1").stderr
    shutil.rmtree(kept)
    kept.mkdir()
    ran = applied.run("rollback", "1")

    assert ran.returncode == 1
    assert "it had 4 packages, now 0" in ran.stderr
    assert tree_fingerprint(applied.venv) == before


def test_rollback_to_what_is_not_kept_is_refused(applied: Studio) -> None:
    ran = applied.run("rollback", "77")

    assert ran.returncode == 1
    assert "there is no generation 77 to roll back to" in ran.stderr
    assert len(applied.json("history")["passes"]) == 1


def test_what_is_only_observed_is_not_rolled_back_or_restored(applied: Studio) -> None:
    before = tree_fingerprint(applied.venv)
    applied.configure(mode="observe")

    for arguments in (["rollback"], ["hold", "restore", "torch"]):
        ran = applied.run(*arguments)
        assert ran.returncode == 1
        assert 'studio is only observed (mode = "observe"); --force changes it' in ran.stderr
    assert tree_fingerprint(applied.venv) == before
    assert applied.json("rollback", "--force")["generation"] == 0


def test_pause_and_resume_are_remembered(studio: Studio) -> None:
    document = studio.json("pause", "--for", "1h30m", "--reason", "lunch")

    assert document["environment"] == "studio"
    assert document["suspension"]["reason"] == "lunch"
    assert document["suspension"]["until"] is not None
    assert studio.run("apply").returncode == 1
    assert studio.json("resume") == {"environment": "studio", "suspension": None}
    assert studio.run("apply").returncode == 0


def test_a_pause_of_no_duration_is_refused(studio: Studio) -> None:
    ran = studio.run("pause", "--for", "soon")

    assert ran.returncode == 1
    assert "'soon': expected a duration" in ran.stderr


def test_holds_are_listed(applied: Studio) -> None:
    document = applied.json("hold", "list")

    assert document.keys() == {"environment", "holds"}
    assert [h["name"] for h in document["holds"]] == [
        "torch", "torchvision", "pytorch-triton-rocm",
    ]  # fmt: skip
    assert applied.ok("hold", "list").splitlines() == [
        "Package                Version         State   Because          Copy",
        "torch                  2.3.1+rocm5.7   intact  in `hold`        yes",
        "  pytorch-triton-rocm  2.3.1           intact  pinned by torch  yes",
        "torchvision            0.18.1+rocm5.7  intact  in `hold`        yes",
    ]

    uninstall(applied.venv, "torch", "pytorch-triton-rocm")
    for words in (["hold", "list"], ["check"]):
        said = applied.run(*words).stdout
        assert "Also broken: 1 package held with torch. `--verbose` says how." in said
        assert "pytorch-triton-rocm 2.3.1 has been removed" not in said
        assert "pytorch-triton-rocm 2.3.1 has been removed" in applied.run(*words, "-v").stdout


def test_a_replaced_hold_is_shown_and_restored_offline(
    applied: Studio, small: PackageIndex, tmp_path: Path
) -> None:
    before = contents(applied.venv, "torch")
    install(applied.venv, fake_torch(tmp_path, "2.8.0"))
    small.down()

    listed = applied.run("hold", "list")
    restored = applied.run("hold", "restore", "torch")

    assert listed.returncode == 2
    assert "broken: 2.8.0" in listed.stdout
    assert restored.returncode == 0, restored.stderr
    assert "restore  2.8.0  2.3.1+rocm5.7" in restored.stdout
    assert contents(applied.venv, "torch") == before
    assert applied.run("hold", "list").returncode == 0


def test_a_hold_that_is_whole_is_not_restored(applied: Studio) -> None:
    before = tree_fingerprint(applied.venv)
    generations = applied.json("history")["generations"]

    said = applied.ok("hold", "restore", "torch")

    assert "nothing to do" in said
    assert applied.json("history")["generations"] == generations
    assert tree_fingerprint(applied.venv) == before


def test_a_removed_hold_is_restored(applied: Studio) -> None:
    before = contents(applied.venv, "torchvision")
    uninstall(applied.venv, "torchvision")

    applied.ok("hold", "restore", "Torch_Vision".replace("_", ""))

    assert contents(applied.venv, "torchvision") == before


def test_another_build_can_be_accepted(applied: Studio, tmp_path: Path) -> None:
    applied.declare(base=("torch", "torchvision"))
    install(applied.venv, fake_torch(tmp_path, "2.4.0+rocm6.0"))

    applied.ok("hold", "accept", "torch")

    holds = {h["name"]: h for h in applied.json("hold", "list")["holds"]}
    assert holds["torch"]["version"] == "2.4.0+rocm6.0"
    assert holds["torch"]["intact"] is True


def test_that_a_hold_is_gone_is_accepted(applied: Studio) -> None:
    uninstall(applied.venv, "torchvision")

    said = applied.ok("hold", "accept", "torchvision")

    assert "torchvision is gone on purpose" in said
    holds = {h["name"]: h for h in applied.json("hold", "list")["holds"]}
    assert "torchvision" not in holds
    assert holds["torch"]["intact"] is True
    ran = applied.run("hold", "accept", "torchaudio")
    assert ran.returncode == 1
    assert "torchaudio is not held" in ran.stderr


def test_an_unknown_hold_is_answered_with_the_nearest(applied: Studio) -> None:
    ran = applied.run("hold", "restore", "torhc")

    assert ran.returncode == 1
    assert ran.stderr == "Error: torhc is not held in studio. Did you mean torch?\n"


def test_a_hold_that_was_never_installed_is_told_how_to_get_it(applied: Studio) -> None:
    applied.configure(hold=["torch", "torchvision", "torchaudio", "nvidia-*"])
    for name in ("torchaudio", "NVIDIA_cublas"):
        ran = applied.run("hold", "restore", name)

        assert ran.returncode == 1
        assert ran.stderr == (
            f"Error: {name} is to be held, but has never been installed in studio. Install the "
            "build that you want by hand; it is held from then on.\n"
        )


def test_what_is_not_in_the_vault_cannot_be_restored(studio: Studio) -> None:
    ran = studio.run("hold", "restore", "torch")

    assert ran.returncode == 1
    assert "the vault has no copy of torch" in ran.stderr
