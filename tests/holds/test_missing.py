"""A hold that is not installed is never installed, whoever requires it."""

import shutil

import pytest

from reconciler.config import Update
from reconciler.state.words import message_of
from reconciler.status import PackageStatus, Result
from tests.holds.stand import Stand
from tests.support.environments import (
    assert_whole,
    install,
    make_venv,
    tree_fingerprint,
    uninstall,
)
from tests.support.thorough import sample
from tests.support.wheels import make_wheel


def hold_nothing_installed(stand: Stand) -> None:
    """Start over without the GPU build."""
    shutil.rmtree(stand.venv)
    make_venv(stand.venv)


@pytest.mark.usefixtures("mode")
class TestMissing:
    """A hold that is not installed is never installed, whoever requires it."""

    @pytest.mark.parametrize(
        "declared",
        sample(
            [
                ["torch"],
                ["Torch==2.8.0", "torchvision"],
                ["accelerate"],
                ["diffusers[torch]"],
                ["xformers"],
                ["peft", "safetensors[torch]"],
                ["torch @ {served}"],
            ],
            every=2,
        ),
        ids=" ".join,
    )
    @pytest.mark.parametrize(
        ("update", "mode"),
        [(Update.NEEDED, "the test says so"), (Update.LATEST, None)],
        ids=["needed-in-place", "latest-staged"],
        indirect=["mode"],
    )
    def test_a_missing_torch_is_pulled_in_by_nobody(self, stand, declared, update):
        hold_nothing_installed(stand)
        served = stand.index.file_url("torch-2.8.0-py3-none-any.whl")
        stand.settings["update"] = update
        stand.project.write([*(d.format(served=served) for d in declared), "tqdm"])
        outcome = stand.reconcile()
        packages = stand.packages()
        bait = {"torch", "torchvision", "triton", "nvidia-cublas-cu12", "nvidia-cudnn-cu12"}
        assert not bait & packages.keys()
        assert packages["tqdm"] == "4.66.4"
        assert stand.torch_requests() == []
        for text in declared:
            name = text.partition("[")[0].partition(" ")[0].partition("=")[0].lower()
            assert name in packages or name.startswith("torch"), name
        [row] = [r for r in outcome.snapshot.drift.rows if r.name == "torch"]
        assert row.status is PackageStatus.HELD_MISSING
        assert "never installed" in message_of(row)
        assert_whole(stand.venv)

    def test_the_message_says_who_requires_it(self, stand):
        hold_nothing_installed(stand)
        stand.project.write(["peft"])
        outcome = stand.reconcile()
        [row] = [r for r in outcome.snapshot.drift.rows if r.name == "torch"]
        assert row.required_by in ("peft", "accelerate")
        assert row.required_by in message_of(row)
        assert "uv pip install" in message_of(row)

    def test_a_missing_torch_beside_an_installed_torchvision(self, stand):
        uninstall(stand.venv, "torch")
        before = tree_fingerprint(stand.venv, "torchvision")
        stand.project.write(["accelerate", "numpy<2"])
        outcome = stand.reconcile()
        assert tree_fingerprint(stand.venv, "torchvision") == before
        assert stand.torch_requests() == []
        assert "torch" not in stand.packages()
        assert {"accelerate": "1.0", "numpy": "1.26.4"}.items() <= stand.packages().items()
        [row] = [r for r in outcome.snapshot.drift.rows if r.name == "torch"]
        assert row.status is PackageStatus.HELD_MISSING

    def test_names_that_only_a_glob_knows(self, stand, tmp_path):
        libraries = [f"nvidia-{n}-cu13" for n in ("cublas", "never-seen", "cufile")]
        for name in libraries:
            stand.index.add(make_wheel(tmp_path, name, "13.0"))
        stand.index.add(
            make_wheel(tmp_path, "nvidia-never-seen-cu13", "13.1", requires=["nvidia-deeper-cu13"])
        )
        stand.index.add(make_wheel(tmp_path, "cudatool", "1.0", requires=[*libraries, "six"]))
        stand.settings["hold"] = ("torch", "torchvision", "nvidia-*")
        before = stand.fingerprint()
        stand.project.write(["cudatool", "numpy<2"])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert not [n for n in stand.packages() if n.startswith("nvidia")]
        assert {"cudatool": "1.0", "six": "1.16.0"}.items() <= stand.packages().items()
        missing = {r.name for r in outcome.snapshot.drift.rows if r.status == "held-missing"}
        assert missing >= set(libraries)
        assert [d for d in stand.index.downloads() if d.startswith("nvidia")] == []

    def test_a_glob_that_holds_what_is_installed(self, stand, tmp_path):
        install(stand.venv, make_wheel(tmp_path / "h", "nvidia-cublas-cu12", "12.1.3.1"))
        stand.settings["hold"] = ("torch*", "nvidia-*")
        before = stand.fingerprint(), tree_fingerprint(stand.venv, "nvidia-cublas-cu12")
        stand.settings["update"] = Update.LATEST
        stand.project.write(["nvidia-cublas-cu12", "nvidia-cudnn-cu12", "numpy<2"])
        stand.reconcile()
        stand.assert_untouched(before[0])
        assert tree_fingerprint(stand.venv, "nvidia-cublas-cu12") == before[1]
        assert "nvidia-cudnn-cu12" not in stand.packages()
        assert stand.packages()["numpy"] == "1.26.4"

    def test_without_holds_torch_is_a_package_like_any_other(self, stand):
        hold_nothing_installed(stand)
        stand.settings["hold"] = ()
        stand.project.write(["accelerate"])
        outcome = stand.reconcile()
        assert stand.packages()["torch"] == "2.8.0"
        assert stand.packages()["accelerate"] == "1.0"
        assert outcome.result is Result.CHANGED
