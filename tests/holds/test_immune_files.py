"""No other package takes the place of a file of a held one (uv-facts 8e)."""

import pytest

from tests.holds.stand import BOTH_WAYS, failed_names
from tests.support.environments import (
    assert_whole,
    install,
    site_packages,
    tree_fingerprint,
    uninstall,
)
from tests.support.torch import fake_triton
from tests.support.wheels import make_wheel


@pytest.mark.usefixtures("mode")
class TestFiles:
    """Other packages that own the files of a held one (uv-facts 8e)."""

    def test_a_triton_over_the_held_one_is_left_out(self, stand):
        before = stand.fingerprint()
        stand.project.write(["triton", "numpy<2", "sympy"])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert "triton" not in stand.packages()
        assert {"numpy": "1.26.4", "sympy": "1.12.1"}.items() <= stand.packages().items()
        assert failed_names(outcome) == {"triton": "HoldConflict"}
        assert "pytorch-triton-rocm" in outcome.failed[0].message

    def test_what_depends_on_the_intruder_is_left_out_too(self, stand, tmp_path):
        before = stand.fingerprint()
        stand.index.add(make_wheel(tmp_path, "kernels", "2.0", requires=["triton>=3"]))
        stand.index.add(make_wheel(tmp_path, "kernels", "0.1"))
        stand.project.write(["kernels", "numpy<2"])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert not {"triton", "kernels"} & stand.packages().keys()
        assert stand.packages()["numpy"] == "1.26.4"
        assert failed_names(outcome).get("kernels") == "DependencyFailed"

    @pytest.mark.parametrize("declared", [["onnxruntime"], ["onnx-tools"]])
    def test_onnxruntime_over_a_held_onnxruntime_gpu(self, stand, tmp_path, declared):
        shared = {"onnxruntime/__init__.py": "BUILD = 'gpu'\n", "onnxruntime/capi.so": b"gpu"}
        install(stand.venv, make_wheel(tmp_path / "g", "onnxruntime-gpu", "1.18.0", files=shared))
        plain = {"onnxruntime/__init__.py": "BUILD = 'cpu'\n", "onnxruntime/capi.so": b"cpu"}
        stand.index.add(make_wheel(tmp_path, "onnxruntime", "1.19.0", files=plain))
        stand.index.add(make_wheel(tmp_path, "onnx-tools", "1.0", requires=["onnxruntime"]))
        stand.settings["hold"] = ("torch", "torchvision", "onnxruntime-gpu")
        before = stand.fingerprint(), tree_fingerprint(stand.venv, "onnxruntime-gpu")
        stand.project.write([*declared, "numpy<2"])
        outcome = stand.reconcile()
        stand.assert_untouched(before[0])
        assert tree_fingerprint(stand.venv, "onnxruntime-gpu") == before[1]
        assert not {"onnxruntime", "onnx-tools"} & stand.packages().keys()
        assert stand.packages()["numpy"] == "1.26.4"
        assert "onnxruntime" in failed_names(outcome)
        assert set(failed_names(outcome).values()) <= {"HoldConflict", "DependencyFailed"}

    def test_the_same_file_with_the_same_content_is_no_conflict(self, stand, tmp_path):
        shared = {"nvidia/__init__.py": "", "nvidia/cublas.py": "x = 1\n"}
        install(stand.venv, make_wheel(tmp_path / "h", "nvidia-cublas", "1.0", files=shared))
        other = {"nvidia/__init__.py": "", "nvidia/cudnn.py": "y = 1\n"}
        stand.index.add(make_wheel(tmp_path, "cudnn-tools", "1.0", files=other))
        stand.settings["hold"] = ("torch", "nvidia-*")
        before = tree_fingerprint(stand.venv, "nvidia-cublas")
        stand.project.write(["cudnn-tools"])
        outcome = stand.reconcile()
        assert tree_fingerprint(stand.venv, "nvidia-cublas") == before
        assert stand.packages()["cudnn-tools"] == "1.0"
        assert outcome.failed == ()

    @pytest.mark.parametrize(
        "files",
        [
            {"torch/version.py": "hip = None\n"},
            {"torch/lib/libtorch.so": b"another"},
            {"torch.py": "raise ImportError\n", "torch/version.py": "hip = None\n"},
            {"torch": "a file where the package is\n"},
            {"torch/lib": "a file where a folder is\n"},
        ],
        ids=",".join,
    )
    @pytest.mark.parametrize("mode", BOTH_WAYS, indirect=True)
    def test_a_package_that_owns_files_of_torch(self, stand, tmp_path, files):
        before = stand.fingerprint()
        stand.index.add(make_wheel(tmp_path, "intruder", "1.0", files=files))
        stand.project.write(["intruder", "numpy<2"])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert "intruder" not in stand.packages()
        assert stand.packages()["numpy"] == "1.26.4"
        assert failed_names(outcome) == {"intruder": "HoldConflict"}

    def test_a_script_of_the_same_name_as_one_of_torch(self, stand, tmp_path):
        before = stand.fingerprint()
        stand.index.add(make_wheel(tmp_path, "runner", "1.0", scripts={"torchrun": "runner:main"}))
        stand.project.write(["runner", "numpy<2"])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages()["numpy"] == "1.26.4"
        assert failed_names(outcome) == {"runner": "HoldConflict"}

    def test_an_upgrade_of_a_package_that_shares_a_file_with_a_hold(self, stand, tmp_path):
        # An older version that was installed by hand owns a file together with torch.
        shared = {"torch/share.py": "x = 1\n", "sharer.py": "v = 1\n"}
        torch = make_wheel(tmp_path / "t", "torch", "2.9+x", files={"torch/share.py": "x = 1\n"})
        uninstall(stand.venv, "torch", "torchvision")
        install(stand.venv, torch, make_wheel(tmp_path / "s", "sharer", "1.0", files=shared))
        before = tree_fingerprint(stand.venv, "torch")
        stand.index.add(make_wheel(tmp_path, "sharer", "2.0", files={"sharer.py": "v = 2\n"}))
        stand.project.write(["sharer>=2"])
        outcome = stand.reconcile()
        assert tree_fingerprint(stand.venv, "torch") == before
        assert stand.packages()["sharer"] == "2.0"
        assert outcome.failed == ()
        assert_whole(stand.venv)

    def test_pruning_a_package_that_shares_a_file_with_a_hold(self, stand, tmp_path):
        uninstall(stand.venv, "pytorch-triton-rocm")
        install(stand.venv, fake_triton(tmp_path, "triton", "2.3.1"))
        same = {
            path.relative_to(site_packages(stand.venv)).as_posix(): path.read_bytes()
            for path in (site_packages(stand.venv) / "triton").rglob("*")
            if path.suffix in (".py", ".so")
        }
        install(stand.venv, make_wheel(tmp_path, "pytorch-triton-rocm", "2.3.1", files=same))
        before = stand.fingerprint()
        stand.settings["prune"] = True
        stand.project.write(["numpy<2"])
        stand.reconcile()
        stand.assert_untouched(before)
        assert "triton" not in stand.packages()
