"""A hold is restored where it is gone altogether, and only what differs is checked and changed."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from packaging.utils import NormalizedName

from reconciler.daemon.actions import RequestRefused
from reconciler.daemon.claim import Claim
from reconciler.daemon.orders import order_for
from reconciler.daemon.requests import Restore
from reconciler.daemon.turns import Turns
from reconciler.daemon.worker import Worker
from reconciler.journal.history import Journal
from reconciler.passes.outcome import Outcome
from reconciler.passes.restore import restore
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.vault.copies import CopyDamaged
from tests.holds.stand import BESIDE, HELD, Stand
from tests.holds.test_intruders import changes, command, verdicts
from tests.holds.test_vault import keep
from tests.support.environments import (
    assert_whole,
    install,
    make_venv,
    pythons,
    run_python,
    run_uv,
    site_packages,
    tree_fingerprint,
    uninstall,
)
from tests.support.passes import Follower
from tests.support.torch import TORCH, fake_torch
from tests.support.vaults import content_of, held_in

ROCM = "pytorch-triton-rocm"


def restored(stand: Stand, name: str) -> Outcome:
    return restore(Pass(stand.environment(), Cancellation(), Follower()), NormalizedName(name))


def spoil(stand: Stand, name: str, ending: str) -> None:
    """Change the vault's content of a file, and no file of any environment."""
    content = content_of(stand.store, name, ending)
    text = content.read_bytes()
    content.unlink()
    content.write_bytes(text[:-1] + b"#")


def contents(stand: Stand) -> dict[str, str]:
    return {
        path: state.sha256
        for name in HELD
        if stand.has(name)
        for path, state in tree_fingerprint(stand.venv, name).items()
    }


@pytest.fixture
def kept(stand: Stand) -> Stand:
    """In sync, and every hold in the vault."""
    stand.project.write(["torch", "torchvision", *BESIDE])
    stand.reconcile()
    assert all(hold.vaulted for hold in keep(stand).values())
    return stand


def test_only_what_differs_is_checked_and_changed(kept: Stand, tmp_path: Path) -> None:
    before = kept.fingerprint()
    spoil(kept, ROCM, "triton/language.py")
    spoil(kept, "torch", "torch/cuda.py")
    (site_packages(kept.venv) / "torch" / "version.py").unlink()

    assert changes(restored(kept, "torch")).keys() == {"torch"}
    assert kept.fingerprint() == before

    install(kept.venv, fake_torch(tmp_path, "2.8.0"))
    with pytest.raises(CopyDamaged, match=r"torch/cuda\.py"):
        restored(kept, "torch")
    assert kept.packages()["torch"] == "2.8.0"


def test_it_comes_back_with_what_it_needs_in_a_recreated_environment(kept: Stand) -> None:
    before = contents(kept)
    shutil.rmtree(kept.venv)
    make_venv(kept.venv)
    status, check = command(kept, "check")
    [torch] = [row for row in check["packages"] if row["name"] == "torch"]
    assert (status, torch["status"]) == (2, "held-missing")
    assert f"A copy of {TORCH} is in the vault: `reconciler hold restore torch`" in torch["message"]
    kept.index.down()

    for name in ("torch", "torchvision"):
        status, said = command(kept, "hold", "restore", name)
        assert (status, said["result"]) == (0, "changed")

    assert contents(kept) == before
    assert_whole(kept.venv)
    assert run_python(kept.venv, "import torch, triton; print(torch.__version__)") == TORCH
    holds = keep(kept)
    assert holds.keys() == HELD.keys()
    assert all(hold.intact and hold.vaulted for hold in holds.values())
    kept.index.up()
    kept.reconcile()
    assert verdicts(kept) == (0, 0, 0)


def test_it_comes_back_byte_for_byte_however_the_environment_was_lost(
    stand: Stand, stack: list[Path], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_CACHE_DIR", str(cache))
        uninstall(stand.venv, *HELD)
        install(stand.venv, *stack)  # so that uv's cache, which shares the files, can be cleaned
        stand.project.write(["torch", "torchvision"])
        assert all(hold.vaulted for hold in keep(stand).values())
        before = contents(stand)
        for how, lose in _WAYS.items():
            lose(stand)
            assert contents(stand) != before, how
            for name in ("torch", "torchvision"):
                restored(stand, name)
            assert contents(stand) == before, how
            assert_whole(stand.venv)
            holds = keep(stand)
            assert all(holds[name].intact and holds[name].vaulted for name in HELD), how


def _clear(stand: Stand) -> None:
    run_uv(
        "venv", "--quiet", "--no-project", "--clear", "--python", sys.executable, str(stand.venv)
    )


def _remove(stand: Stand) -> None:
    shutil.rmtree(stand.venv)
    make_venv(stand.venv)


def _sync(stand: Stand) -> None:
    """`uv sync` makes the environment again, with what the index has."""
    shutil.rmtree(stand.venv)
    run_uv("sync", "--quiet", "--no-config", "--project", str(stand.project.directory),
           "--default-index", stand.index.url, "--python", sys.executable)  # fmt: skip
    assert stand.packages()["torch"] != TORCH


def _prune(stand: Stand) -> None:
    shutil.rmtree(stand.venv)
    run_uv("cache", "prune", "--quiet")
    run_uv("cache", "clean", "--quiet")
    make_venv(stand.venv)


def _move(stand: Stand) -> None:
    moved = stand.project.directory.rename(stand.project.directory.with_name("moved"))
    stand.project, stand.venv = replace(stand.project, directory=moved), moved / ".venv"
    _remove(stand)


_WAYS = {
    "rm -rf .venv": _remove, "uv venv --clear": _clear, "uv sync": _sync,
    "uv cache prune": _prune, "mv": _move,
}  # fmt: skip


def test_it_comes_back_before_anything_else_is_installed(kept: Stand) -> None:
    """Else uv would install what fits another torch, or none."""
    kept.settings["on_hold_broken"] = "restore"
    kept.project.write(["torch", "torchvision", "accelerate", *BESIDE])
    command(kept, "apply")
    before = contents(kept)
    shutil.rmtree(kept.venv)

    status, said = command(kept, "apply")

    assert (status, said["result"]) == (0, "changed")
    assert contents(kept) == before
    assert kept.packages()["accelerate"] == "0.9"
    passes = command(kept, "history")[1]["passes"]
    changed = [{change["name"] for change in it["changes"]} for it in passes]
    assert changed[0].isdisjoint(HELD), "what else there is comes last"
    assert set().union(*(names for names in changed if names & HELD.keys())) == HELD.keys()
    assert verdicts(kept) == (0, 0, 0)


@pytest.mark.parametrize("what", ["the project was moved", "another environment"])
def test_an_environment_that_never_held_it_gets_the_copy(
    kept: Stand, what: str, tmp_path: Path
) -> None:
    before = contents(kept)
    kept.venv = kept.project.directory / "other"
    if what == "the project was moved":
        moved = kept.project.directory.rename(tmp_path / "moved")
        shutil.rmtree(moved / ".venv")
        kept.project, kept.venv = replace(kept.project, directory=moved), moved / ".venv"
    make_venv(kept.venv)
    [torch] = [r for r in command(kept, "check")[1]["packages"] if r["name"] == "torch"]
    assert torch["status"] == "held-missing"
    assert f"A copy of {TORCH} is in the vault" in torch["message"]
    kept.index.down()

    status, said = command(kept, "hold", "restore", "torchvision")

    assert (status, said["result"]) == (0, "changed")
    assert {change["name"] for change in said["changes"]} == HELD.keys()
    assert contents(kept) == before
    assert_whole(kept.venv)
    assert all(hold.intact and hold.vaulted for hold in keep(kept).values())


def test_what_a_moved_project_held_is_known_and_comes_back_by_itself(
    kept: Stand, tmp_path: Path
) -> None:
    before = contents(kept)
    kept.settings["on_hold_broken"] = "restore"
    moved = kept.project.directory.rename(tmp_path / "moved")
    shutil.rmtree(moved / ".venv")
    kept.project, kept.venv = replace(kept.project, directory=moved), moved / ".venv"

    status, said = command(kept, "apply")

    assert (status, said["result"]) == (0, "changed")
    assert contents(kept) == before
    assert held_in(kept.store, kept.venv).keys() == HELD.keys()
    assert len(list(kept.store.glob("environments/*"))) == 1


def test_a_copy_for_another_python_is_refused_with_the_reason(kept: Stand) -> None:
    kept.settings["on_hold_broken"] = "restore"
    shutil.rmtree(kept.venv)
    other = next(short for short in pythons() if not sys.version.startswith(f"{short}."))
    make_venv(kept.venv, other)

    status, said = command(kept, "hold", "restore", "torch")

    assert (status, said["result"]) == (1, "failed")
    assert f"the vault's copy of torch {TORCH} is for cpython 3.11 on linux" in said["message"]
    assert f"this environment has cpython {other} on linux" in said["message"]
    assert "Install the build that you want by hand" in said["message"]
    message = keep(kept)["torch"].message
    assert "is for cpython 3.11 on linux" in message
    assert "hold restore" not in message
    status, said = command(kept, "apply")
    assert said["result"] == "changed", "it is not in the way of everything else"
    assert "numpy" in kept.packages()


def test_a_service_that_has_not_looked_yet_takes_the_request(kept: Stand, tmp_path: Path) -> None:
    kept.settings["hold"] = ("torch", "torchvision", "torchaudio")
    environment = kept.environment()
    journal = Journal(tmp_path / "journal.sqlite3")
    worker = Worker(environment, journal, Claim(environment), *_IGNORED, Turns(1))
    for name in ("torch", ROCM):
        assert order_for(worker, Restore(package=name)).trigger == "restore"

    snapshot = environment.look()
    worker.knowledge.update(lambda known: msgspec.structs.replace(known, snapshot=snapshot))
    uninstall(kept.venv, "torch")
    assert order_for(worker, Restore(package="torch")), "the vault has a copy"
    with pytest.raises(RequestRefused, match="never been installed"):
        order_for(worker, Restore(package="torchaudio"))
    with pytest.raises(RequestRefused, match="not held"):
        order_for(worker, Restore(package="numpy"))
    journal.close()


_IGNORED = (lambda _: None, lambda *_: None)
