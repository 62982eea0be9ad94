"""What is kept of a held package, what is told of one that is broken, and what is put back."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from reconciler.holds.accepting import NothingToAccept
from reconciler.holds.monitor import HoldMonitor
from reconciler.passes.restore import restore
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import Hold, Result
from reconciler.vault.copies import CopyDamaged
from tests.holds.stand import BASE, BESIDE, HELD, Stand
from tests.support.environments import (
    assert_whole,
    install,
    run_python,
    run_uv,
    site_packages,
    tree_fingerprint,
    uninstall,
)
from tests.support.passes import locked
from tests.support.torch import TORCH, fake_torch
from tests.support.vaults import contents_in
from tests.support.wheels import make_wheel


class _Silent:
    def step(self, name: str) -> None: ...

    def planned(self, changes: object) -> None: ...

    def line(self, text: str) -> None: ...


def keep(stand: Stand) -> dict[str, Hold]:
    """How the holds stand, seen anew by a service that has just started."""
    if not stand.project.path.exists():
        stand.project.write(BESIDE)
    environment = stand.environment()
    snapshot = environment.look(audit_files=True)
    with locked(environment) as lock:
        holds = HoldMonitor(environment).keep(snapshot, lock, compare=True)
    return {hold.name: hold for hold in holds}


def accept(stand: Stand, name: str) -> None:
    environment = stand.environment()
    with locked(environment) as lock:
        HoldMonitor(environment).accept(environment.look(audit_files=True), name, lock)


def put_back(stand: Stand, name: str) -> Result:
    return restore(Pass(stand.environment(), Cancellation(), _Silent()), name).result


def rewrite(path: Path, text: str) -> None:
    """As an editor that saves by renaming does."""
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    fresh.replace(path)


def write_in_place(path: Path, text: str) -> None:
    """The same file, other bytes, in every tree that has a hard link to it."""
    with path.open("a") as file:
        file.write(text)


def unshare(path: Path) -> None:
    """Let no hard link lead to uv's cache, which other tests install from."""
    rewrite(path, path.read_text())


def module(stand: Stand, name: str = "torch/version.py") -> Path:
    return site_packages(stand.venv) / name


class TestFirstSeen:
    @pytest.mark.parametrize("size", ["same", "other"])
    def test_files_that_are_not_as_record_says_are_told_and_not_kept(self, stand, size):
        good = module(stand).read_text()
        rewrite(module(stand), good.replace("5.7", "7.5") if size == "same" else good + "#")
        holds = keep(stand)
        torch = holds["torch"]
        assert (torch.intact, torch.vaulted, torch.version) == (False, False, TORCH)
        assert "RECORD" in torch.message
        assert "torch/version.py" in torch.message
        assert "no copy" in torch.message
        assert "hold accept torch" in torch.message
        assert holds["pytorch-triton-rocm"].vaulted
        rewrite(module(stand), good)
        torch = keep(stand)["torch"]
        assert (torch.intact, torch.vaulted, torch.message) == (True, True, None)

    def test_they_can_be_accepted_as_they_are_and_put_back_so(self, stand):
        rewrite(module(stand), module(stand).read_text() + "# patched by hand\n")
        keep(stand)
        accept(stand, "torch")
        before = stand.fingerprint()
        assert keep(stand)["torch"].intact
        shutil.rmtree(module(stand, "torch"))
        assert not keep(stand)["torch"].intact
        assert put_back(stand, "torch") is Result.CHANGED
        assert stand.fingerprint() == before
        assert keep(stand)["torch"].intact

    def test_a_missing_file_is_told_with_what_to_do(self, stand):
        module(stand).unlink()
        torch = keep(stand)["torch"]
        assert (torch.intact, torch.vaulted) == (False, False)
        assert "torch/version.py" in torch.message
        assert "install that build by hand" in torch.message

    def test_an_egg_info_has_no_record_and_so_no_copy(self, stand):
        egg = site_packages(stand.venv) / "apex-0.1-py3.11.egg-info"
        egg.mkdir()
        (egg / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: apex\nVersion: 0.1\n")
        stand.settings["hold"] = ("torch", "apex")
        holds = keep(stand)
        assert (holds["apex"].intact, holds["apex"].vaulted) == (True, False)
        assert holds["torch"].vaulted

    def test_what_cannot_be_copied_is_held_anyway(self, stand, monkeypatch):
        monkeypatch.setattr(os, "link", _failing(errno.ENOSPC))
        holds = keep(stand)
        assert {h.vaulted for h in holds.values()} == {False}
        assert {h.intact for h in holds.values()} == {True}
        assert contents_in(stand.store) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP])
def test_where_no_hard_link_can_be_made_a_copy_is(stand, monkeypatch, number):
    unshare(module(stand))
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", _failing(number))
        assert keep(stand)["torch"].vaulted
    assert keep(stand)["torch"].intact
    before = module(stand).read_bytes()
    write_in_place(module(stand), "# and not in the copy\n")
    assert "hold restore torch" in keep(stand)["torch"].message
    put_back(stand, "torch")
    assert module(stand).read_bytes() == before
    assert_whole(stand.venv)


class TestLinkedIntoACache:
    """`link-mode = "symlink"`: the packages live in uv's cache, until that is cleaned."""

    @pytest.fixture
    def cache(self, stand, stack, tmp_path) -> Path:
        uninstall(stand.venv, *HELD)
        cache = tmp_path / "cache"
        run_uv("pip", "install", "--no-config", "--offline", "--no-index", "--no-deps",
               "--python", str(stand.venv), "--link-mode=symlink", "--cache-dir", str(cache),
               *map(str, stack))  # fmt: skip
        assert module(stand).is_symlink()
        return cache

    @pytest.mark.usefixtures("cache", "mode")
    def test_a_pass_leaves_the_links_as_they_are(self, stand):
        before = module(stand).readlink(), stand.fingerprint()
        stand.project.write(BESIDE)
        assert stand.reconcile().result is Result.CHANGED
        assert (module(stand).readlink(), stand.fingerprint()) == before
        assert stand.packages() == BASE

    def test_the_cache_is_cleaned(self, stand, cache):
        assert keep(stand)["torch"].vaulted
        shutil.rmtree(cache)
        torch = keep(stand)["torch"]
        assert not torch.intact
        assert "hold restore torch" in torch.message
        put_back(stand, "torch")
        assert run_python(stand.venv, "import torch; print(torch.__version__)") == TORCH
        assert keep(stand)["torch"].intact


class TestBroken:
    def test_a_file_that_was_written_to_in_place(self, stand):
        unshare(module(stand))
        keep(stand)
        write_in_place(module(stand), "# the vault's copy is the same file\n")
        torch = keep(stand)["torch"]
        assert not torch.intact
        assert "the vault's copy" in torch.message
        assert "hold restore" not in torch.message
        with pytest.raises(CopyDamaged):
            put_back(stand, "torch")
        accept(stand, "torch")
        assert keep(stand)["torch"].intact
        assert put_back(stand, "torch") is Result.UNCHANGED

    @pytest.mark.parametrize("version", ["2.2.0", "2.8.0"])
    def test_a_second_dist_info_is_no_other_build(self, stand, version):
        keep(stand)
        twin = site_packages(stand.venv) / f"torch-{version}.dist-info"
        twin.mkdir()
        (twin / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        (twin / "RECORD").write_text("torch/__init__.py,,\n")
        torch = keep(stand)["torch"]
        assert not torch.intact
        assert "second dist-info" in torch.message
        assert "replaced" not in torch.message
        before = stand.fingerprint()
        put_back(stand, "torch")
        assert not twin.exists()
        assert keep(stand)["torch"].intact
        assert before.keys() == stand.fingerprint().keys()

    def test_a_companion_that_was_replaced_cannot_be_accepted_alone(self, stand, tmp_path):
        keep(stand)
        install(stand.venv, make_wheel(tmp_path, "pytorch-triton-rocm", "9.0"))
        triton = keep(stand)["pytorch-triton-rocm"]
        assert (triton.intact, triton.found) == (False, "9.0")
        assert "torch requires just this release of it" in triton.message
        assert "accept" not in triton.message
        with pytest.raises(NothingToAccept, match=r"9\.0 is not what torch requires"):
            accept(stand, "pytorch-triton-rocm")

    def test_what_is_gone_says_how_to_do_without(self, stand):
        keep(stand)
        uninstall(stand.venv, "torch")
        assert "To do without it: `reconciler hold accept torch`" in keep(stand)["torch"].message
        accept(stand, "torch")
        assert "torch" not in keep(stand)

    def test_half_of_the_declared_build_is_not_accepted_and_stops_no_pass(self, stand, tmp_path):
        stand.project.write(["torch>=2.8", *BESIDE])
        keep(stand)
        uninstall(stand.venv, "torch", "torchvision")
        install(stand.venv, fake_torch(tmp_path, "2.8.0+rocm6.4"))
        module(stand, "torch/cuda.py").unlink()
        torch = keep(stand)["torch"]
        assert (torch.intact, torch.version, torch.found) == (False, TORCH, "2.8.0+rocm6.4")
        install(stand.venv, "--reinstall", fake_torch(tmp_path, "2.8.0+rocm6.4"))
        keep(stand)
        holds = keep(stand)
        assert (holds["torch"].intact, holds["torch"].version) == (True, "2.8.0+rocm6.4")
        assert "pytorch-triton-rocm" not in holds
        uninstall(stand.venv, "pytorch-triton-rocm")
        assert keep(stand).keys() == {"torch", "torchvision"}

    def test_all_that_is_declared_must_be_met_to_accept(self, stand, tmp_path):
        extra = '[dependency-groups]\ngpu = ["torch>=2.8"]\n'
        stand.project.write(["torch<2.5", *BESIDE], extra=extra)
        stand.settings["groups"] = ("gpu",)
        keep(stand)
        uninstall(stand.venv, "torch", "torchvision")
        install(stand.venv, fake_torch(tmp_path, "2.8.0+rocm6.4"))
        assert not keep(stand)["torch"].intact

    def test_observing_takes_no_copy_and_forgets_none(self, stand):
        keep(stand)
        stand.settings |= {"mode": "observe", "hold": ("torchvision",)}
        keep(stand)
        assert {p.name for p in (stand.store / "packages").iterdir()} >= {"torch"}


class TestCompanions:
    """What a CUDA torch of today needs: through an extra of a package that has no files."""

    TOOLKIT = "cuda-toolkit"

    def stack(self, folder: Path, torch: str, toolkit: str, cublas: str) -> list[Path]:
        library = {"nvidia/cu13/lib/libcublas.so": f"{cublas}" * 100}
        return [
            fake_torch(folder, torch, requires=[f"cuda-toolkit[cublas,nvtx]=={toolkit}"]),
            make_wheel(folder, "cuda-toolkit", f"{toolkit}.0", files={}, extras={
                "cublas": [f"nvidia-cublas=={cublas}.*"],
                "nvtx": ["nvidia-nvjitlink<14,>=13"],
                "all": ["tqdm"],
            }),
            make_wheel(folder, "nvidia-cublas", cublas, files=library),
        ]  # fmt: skip

    @pytest.fixture
    def cuda(self, stand, tmp_path) -> Stand:
        uninstall(stand.venv, *HELD)
        install(stand.venv, *self.stack(tmp_path / "old", "2.14.1", "13.0.3", "13.1.1.3"))
        for version in ("13.2", "14.1"):
            stand.index.add(make_wheel(tmp_path / "i", "nvidia-nvjitlink", version))
        stand.index.add(make_wheel(tmp_path / "i", "nvidia-cublas", "13.9"))
        return stand

    def test_they_are_held_and_their_own_bounds_kept(self, cuda):
        before = tree_fingerprint(cuda.venv, "nvidia-cublas")
        cuda.settings["update"] = "latest"
        cuda.project.write(["nvidia-cublas", "nvidia-nvjitlink", "numpy<2"])
        outcome = cuda.reconcile()
        assert tree_fingerprint(cuda.venv, "nvidia-cublas") == before
        assert outcome.failed == ()
        assert cuda.packages()["nvidia-nvjitlink"] == "13.2"
        assert "tqdm" not in cuda.packages()
        pinned = {n: h.pinned_by for n, h in keep(cuda).items()}
        assert pinned == {
            "torch": None, "cuda-toolkit": "torch", "nvidia-cublas": "cuda-toolkit",
            "nvidia-nvjitlink": "cuda-toolkit",
        }  # fmt: skip

    def test_another_build_takes_them_along_and_all_come_back(self, cuda, tmp_path):
        keep(cuda)
        before = tree_fingerprint(cuda.venv)
        install(cuda.venv, *self.stack(tmp_path / "new", "2.15.0", "13.1.0", "13.2.0.1"))
        message = keep(cuda)["torch"].message
        assert "2.15.0" in message
        assert "nvidia-cublas==13.2.0.1" in message
        put_back(cuda, "torch")
        assert tree_fingerprint(cuda.venv) == before
        assert {h.intact for h in keep(cuda).values()} == {True}

    def test_another_build_is_accepted_with_all_that_it_pins(self, cuda, tmp_path):
        keep(cuda)
        install(cuda.venv, *self.stack(tmp_path / "new", "2.15.0", "13.1.0", "13.2.0.1"))
        accept(cuda, "torch")
        holds = keep(cuda)
        assert {h.intact for h in holds.values()} == {True}
        assert holds["nvidia-cublas"].version == "13.2.0.1"
        before = {path: state.sha256 for path, state in tree_fingerprint(cuda.venv).items()}
        uninstall(cuda.venv, "torch", "nvidia-cublas")
        put_back(cuda, "torch")
        after = tree_fingerprint(cuda.venv)  # files that both builds have are the older one's
        assert {path: state.sha256 for path, state in after.items()} == before


def _failing(number: int):
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail
