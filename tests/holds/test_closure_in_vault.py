"""What belongs to a hold is compared, copied, accepted and restored with it."""

from pathlib import Path

import pytest

from reconciler.holds.monitor import NothingToAccept
from reconciler.state.holds import HoldClosure
from tests.holds.stand import Stand
from tests.holds.test_vault import accept, keep, put_back
from tests.support.elf import shared_library
from tests.support.environments import install, site_packages, tree_fingerprint, uninstall
from tests.support.torch import fake_torch
from tests.support.vaults import held_in
from tests.support.wheels import make_wheel


@pytest.fixture
def cuda(stand: Stand, tmp_path: Path) -> Stand:
    """A torch of today: its triton and its jitlink are not pinned to one version."""
    uninstall(stand.venv, "torch", "torchvision", "pytorch-triton-rocm")
    requires = ["triton~=3.8.0", "nvidia-nvjitlink<14,>=13.0.88"]
    install(
        stand.venv, fake_torch(tmp_path, "2.14.1", requires=requires),
        make_wheel(tmp_path, "triton", "3.8.0"), make_wheel(tmp_path, "nvidia-nvjitlink", "13.5"),
    )  # fmt: skip
    return stand


def test_another_release_is_noticed_and_accepted_only_if_the_hold_allows_it(cuda, tmp_path) -> None:
    first = keep(cuda)
    assert {n: (h.because, h.vaulted) for n, h in first.items()} == {
        "torch": (None, True),
        "triton": ("compatible", True),
        "nvidia-nvjitlink": ("compatible", True),
    }
    before = tree_fingerprint(cuda.venv)

    install(cuda.venv, make_wheel(tmp_path / "o", "triton", "3.4.0"))
    message = keep(cuda)["triton"].message
    assert "triton 3.8.0 has been replaced by 3.4.0" in message
    assert "It is held because torch requires this line of releases of it." in message
    with pytest.raises(NothingToAccept, match=r"triton 3\.4\.0 is not what torch requires"):
        accept(cuda, "triton")

    uninstall(cuda.venv, "nvidia-nvjitlink")
    assert "nvidia-nvjitlink 13.5 has been removed" in keep(cuda)["nvidia-nvjitlink"].message
    put_back(cuda, "torch")
    assert tree_fingerprint(cuda.venv) == before
    assert {hold.intact for hold in keep(cuda).values()} == {True}

    install(cuda.venv, make_wheel(tmp_path / "n", "triton", "3.8.1"))
    assert "`reconciler hold accept triton`" in keep(cuda)["triton"].message
    accept(cuda, "triton")
    assert keep(cuda)["triton"].version == "3.8.1"
    assert {hold.intact for hold in keep(cuda).values()} == {True}


def test_what_no_longer_belongs_to_a_hold_is_released_and_never_broken(cuda, tmp_path) -> None:
    keep(cuda)
    cuda.settings["hold_closure"] = HoldClosure.PINS
    install(cuda.venv, make_wheel(tmp_path / "n", "triton", "3.4.0"))
    uninstall(cuda.venv, "nvidia-nvjitlink")
    holds = keep(cuda)
    assert {name: hold.intact for name, hold in holds.items()} == {"torch": True}
    assert held_in(cuda.store, cuda.venv).keys() == {"torch"}


def test_no_library_is_read_again_of_what_has_a_copy(cuda, tmp_path) -> None:
    """A process that has just started knows it from the vault: as for torch 2.1 to 2.4."""
    library = shared_library(needed=["libjit.so.12"], runpath=["$ORIGIN/../jit"])
    install(
        cuda.venv, fake_torch(tmp_path / "t", "2.3.1", requires=["sparse==12.1"]),
        make_wheel(tmp_path, "sparse", "12.1", requires=["jit"],
                   files={"sparse/libsparse.so": library}),
        make_wheel(tmp_path, "jit", "12.9", files={"jit/libjit.so.12": "x"}),
    )  # fmt: skip
    first = keep(cuda)
    assert (first["jit"].because, first["jit"].pinned_by) == ("linked", "sparse")
    (site_packages(cuda.venv) / "sparse" / "libsparse.so").unlink()
    assert "jit" in cuda.environment().look().holds.held
    put_back(cuda, "torch")
    assert keep(cuda) == first
