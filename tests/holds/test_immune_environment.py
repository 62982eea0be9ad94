"""Whatever state the environment is in, a held package stays, and the rest is done."""

import shutil

import pytest

from reconciler.config import Update
from reconciler.status import PackageStatus, Result
from tests.holds.stand import DECLARED, HELD, REACHED, Stand, failed_names
from tests.support.environments import (
    assert_whole,
    dist_infos,
    install,
    make_venv,
    site_packages,
    tree_fingerprint,
    uninstall,
)
from tests.support.torch import fake_torch, fake_triton
from tests.support.wheels import make_wheel

IN_PLACE = "the test says so"
MODES = [pytest.param(None, id="staged"), pytest.param(IN_PLACE, id="in-place")]


@pytest.fixture(params=MODES)
def mode(request, stand: Stand) -> str | None:
    """Each of these holds in both ways to change an environment."""
    stand.in_place = request.param
    return request.param


def hold_nothing_installed(stand: Stand) -> None:
    """Start over without the GPU build."""
    shutil.rmtree(stand.venv)
    make_venv(stand.venv)


@pytest.mark.usefixtures("mode")
class TestInstalledCopy:
    """What uv may not like about the installed copy (uv-facts 8b)."""

    def test_an_ordinary_pass(self, stand, mode):
        before = stand.fingerprint()
        stand.project.write(DECLARED)
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages() == REACHED
        assert outcome.atomic is (mode is None)
        assert outcome.atomic_reason == mode

    @pytest.mark.parametrize("version", ["2.8.0", "2.3.1"])
    @pytest.mark.parametrize("record", [True, False], ids=["with-record", "without-record"])
    def test_a_second_dist_info_of_torch(self, stand, version, record):
        [real] = dist_infos(stand.venv, "torch")
        twin = real.with_name(f"torch-{version}.dist-info")
        twin.mkdir()
        head = f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n"
        (twin / "METADATA").write_text(head)
        (twin / "INSTALLER").write_text("pip\n")
        if record:
            rows = ["METADATA", "INSTALLER", "RECORD"]
            (twin / "RECORD").write_text("".join(f"{twin.name}/{r},,\n" for r in rows))
        before = tree_fingerprint(stand.venv)
        stand.project.write(DECLARED)
        outcome = stand.reconcile()
        after = tree_fingerprint(stand.venv)
        held = {p: s for p, s in before.items() if p.partition("site-packages/")[2][:5] == "torch"}
        assert len(held) > 60
        assert {p: after.get(p) for p in held} == held
        assert stand.torch_requests() == []
        assert REACHED.items() >= {**stand.packages(), "torch": HELD["torch"]}.items()
        assert stand.packages().keys() == REACHED.keys()
        [row] = [r for r in outcome.look.drift.rows if r.name == "torch"]
        assert row.status is PackageStatus.BROKEN
        assert row.held

    @pytest.mark.parametrize(
        "tag", ["cp27-cp27mu-linux_x86_64", "cp311-cp311-win_amd64", "py3-none-macosx_11_0_arm64"]
    )
    def test_a_wheel_tag_that_the_interpreter_refuses(self, stand, tag):
        [info] = dist_infos(stand.venv, "torch")
        text = (info / "WHEEL").read_text().replace("py3-none-any", tag)
        _rewrite(info / "WHEEL", text)
        before = stand.fingerprint()
        stand.project.write(DECLARED)
        stand.reconcile()
        assert stand.fingerprint() == before
        assert stand.torch_requests() == []
        assert stand.packages() == REACHED

    def test_a_torch_without_record(self, stand):
        [info] = dist_infos(stand.venv, "torch")
        (info / "RECORD").unlink()
        before = {p: s for p, s in tree_fingerprint(stand.venv).items() if "/torch" in p}
        stand.project.write(DECLARED)
        outcome = stand.reconcile()
        after = tree_fingerprint(stand.venv)
        assert {p: after.get(p) for p in before} == before
        assert stand.packages() == REACHED
        [row] = [r for r in outcome.look.drift.rows if r.name == "torch"]
        assert row.status is PackageStatus.BROKEN
        assert "hold restore torch" in row.message

    def test_a_file_of_torch_that_is_gone_is_reported_and_not_reinstalled(self, stand):
        (site_packages(stand.venv) / "torch" / "lib" / "libtorch.so").unlink()
        stand.project.write(DECLARED)
        outcome = stand.reconcile()
        assert stand.torch_requests() == []
        assert stand.packages() == REACHED
        [row] = [r for r in outcome.look.drift.rows if r.name == "torch"]
        assert row.status is PackageStatus.BROKEN
        assert "libtorch.so" in row.message

    @pytest.mark.parametrize(
        "version",
        ["2.5.0.dev20240801+rocm6.1", "2.4.0a0+gitd990dad", "2.4.0rc1", "2.3.1.post7", "1!0.1",
         "2024.7.dev1"],
    )  # fmt: skip
    def test_a_build_that_no_specifier_would_choose(self, stand, tmp_path, version):
        wheel = fake_torch(tmp_path, version, companions=["pytorch-triton-rocm==2.3.1"])
        uninstall(stand.venv, "torchvision")
        install(stand.venv, wheel)
        before = stand.fingerprint()
        stand.project.write(["numpy<2", "torch", "safetensors[torch]"])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert stand.packages()["torch"] == version
        assert {"numpy": "1.26.4", "safetensors": "0.4.3"}.items() <= stand.packages().items()
        assert outcome.look.drift.in_sync
        assert outcome.failed == ()


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
            for path in (site_packages(stand.venv) / "triton").glob("*.py")
        }
        install(stand.venv, make_wheel(tmp_path, "pytorch-triton-rocm", "2.3.1", files=same))
        before = stand.fingerprint()
        stand.settings["prune"] = True
        stand.project.write(["numpy<2"])
        stand.reconcile()
        stand.assert_untouched(before)
        assert "triton" not in stand.packages()


@pytest.mark.usefixtures("mode")
class TestMissing:
    """A hold that is not installed is never installed, whoever requires it."""

    @pytest.mark.parametrize(
        "declared",
        [
            ["torch"],
            ["Torch==2.8.0", "torchvision"],
            ["accelerate"],
            ["diffusers[torch]"],
            ["xformers"],
            ["peft", "safetensors[torch]"],
            ["torch @ {served}"],
        ],
        ids=" ".join,
    )
    @pytest.mark.parametrize("update", list(Update))
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
        [row] = [r for r in outcome.look.drift.rows if r.name == "torch"]
        assert row.status is PackageStatus.HELD_MISSING
        assert "never installed" in row.message
        assert_whole(stand.venv)

    def test_the_message_says_who_requires_it(self, stand):
        hold_nothing_installed(stand)
        stand.project.write(["peft"])
        outcome = stand.reconcile()
        [row] = [r for r in outcome.look.drift.rows if r.name == "torch"]
        assert row.required_by in ("peft", "accelerate")
        assert row.required_by in row.message
        assert "uv pip install" in row.message

    def test_a_missing_torch_beside_an_installed_torchvision(self, stand):
        uninstall(stand.venv, "torch")
        before = tree_fingerprint(stand.venv, "torchvision")
        stand.project.write(["accelerate", "numpy<2"])
        outcome = stand.reconcile()
        assert tree_fingerprint(stand.venv, "torchvision") == before
        assert stand.torch_requests() == []
        assert "torch" not in stand.packages()
        assert {"accelerate": "1.0", "numpy": "1.26.4"}.items() <= stand.packages().items()
        [row] = [r for r in outcome.look.drift.rows if r.name == "torch"]
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
        missing = {r.name for r in outcome.look.drift.rows if r.status == "held-missing"}
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


def _rewrite(path, text: str) -> None:
    path.unlink()  # it may be a hard link to uv's cache
    path.write_text(text)
