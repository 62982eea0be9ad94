"""Whatever state the environment is in, a held package stays, and the rest is done."""

import json
import platform

import pytest

from reconciler.config import Update
from reconciler.state.words import message_of
from reconciler.status import PackageStatus
from tests.holds.stand import BOTH_WAYS, DECLARED, HELD, REACHED, failed_names
from tests.support.environments import (
    dist_infos,
    install,
    site_packages,
    tree_fingerprint,
    uninstall,
)
from tests.support.torch import fake_torch
from tests.support.wheels import make_wheel


@pytest.mark.usefixtures("mode")
class TestInstalledCopy:
    """What uv may not like about the installed copy (uv-facts 8b)."""

    @pytest.mark.parametrize("mode", BOTH_WAYS, indirect=True)
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
        [row] = [r for r in outcome.snapshot.drift.rows if r.name == "torch"]
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
        [row] = [r for r in outcome.snapshot.drift.rows if r.name == "torch"]
        assert row.status is PackageStatus.BROKEN
        assert "hold restore torch" in message_of(row)

    def test_a_file_of_torch_that_is_gone_is_reported_and_not_reinstalled(self, stand):
        (site_packages(stand.venv) / "torch" / "lib" / "libtorch.so").unlink()
        stand.project.write(DECLARED)
        outcome = stand.reconcile()
        assert stand.torch_requests() == []
        assert stand.packages() == REACHED
        [row] = [r for r in outcome.snapshot.drift.rows if r.name == "torch"]
        assert row.status is PackageStatus.BROKEN
        assert "libtorch.so" in message_of(row)

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
        assert outcome.snapshot.drift.in_sync
        assert outcome.failed == ()


@pytest.mark.usefixtures("mode")
class TestOddInstallations:
    """Copies that were not installed from a wheel, or not where one would look."""

    def test_a_torch_that_setup_py_installed(self, stand):
        uninstall(stand.venv, "torch", "torchvision")
        site = site_packages(stand.venv)
        info = site / "torch-2.3.1+rocm5.7-py3.11.egg-info"
        info.mkdir()
        (info / "PKG-INFO").write_text(
            "Metadata-Version: 2.1\nName: torch\nVersion: 2.3.1+rocm5.7\n"
        )
        (site / "torch").mkdir()
        (site / "torch" / "__init__.py").write_text("built = 'here'\n")
        before = tree_fingerprint(stand.venv)
        stand.project.write(["accelerate", "numpy<2", "torch"])
        stand.reconcile()
        after = tree_fingerprint(stand.venv)
        mine = {path: state for path, state in before.items() if "/torch" in path}
        assert len(mine) == 2
        assert {path: after.get(path) for path in mine} == mine
        assert stand.torch_requests() == []
        assert {"accelerate": "0.9", "numpy": "1.26.4"}.items() <= stand.packages().items()

    def test_an_editable_torch(self, stand, tmp_path):
        uninstall(stand.venv, "torch", "torchvision")
        pth = {"__editable__.torch.pth": f"{tmp_path}\n"}
        install(stand.venv, make_wheel(tmp_path, "torch", "2.3.1+rocm5.7", files=pth))
        [info] = dist_infos(stand.venv, "torch")
        origin = {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
        _rewrite(info / "direct_url.json", json.dumps(origin))
        before = stand.fingerprint()
        stand.project.write(["accelerate", "numpy<2", "torch"])
        stand.reconcile()
        assert stand.fingerprint() == before
        assert stand.torch_requests() == []
        assert {"accelerate": "0.9", "numpy": "1.26.4"}.items() <= stand.packages().items()

    def test_a_torch_that_writes_itself_large(self, stand, tmp_path):
        uninstall(stand.venv, "torch", "torchvision")
        install(stand.venv, make_wheel(tmp_path, "Torch", "2.3.1+rocm5.7"))
        before = stand.fingerprint()
        stand.settings["update"] = Update.LATEST
        stand.project.write(["accelerate", "numpy<2", "torch"])
        stand.reconcile()
        stand.assert_untouched(before)
        assert {"accelerate": "0.9", "numpy": "1.26.4"}.items() <= stand.packages().items()

    def test_an_interpreter_whose_platform_packages_go_to_lib64(self, stand, tmp_path):
        # As on Fedora: the folder is a symbolic link in the environment, and none elsewhere.
        site = site_packages(stand.venv)
        (site / "lib64.pth").write_text("import sys; sys.platlibdir = 'lib64'\n")
        stand.variables["UV_CACHE_DIR"] = str(tmp_path / "cache")  # it remembers interpreters
        (stand.venv / "lib64").unlink(missing_ok=True)
        (stand.venv / "lib64").symlink_to("lib")
        tag = f"py3-none-linux_{platform.machine()}"
        files = {"torch/version.py": "hip = None\n"}
        stand.index.add(make_wheel(tmp_path, "intruder", "1.0", files=files, tag=tag))
        stand.index.add(make_wheel(tmp_path, "native", "1.0", tag=tag))
        before = stand.fingerprint()
        stand.project.write(["intruder", "native", "numpy<2"])
        outcome = stand.reconcile()
        stand.assert_untouched(before)
        assert {"native": "1.0", "numpy": "1.26.4"}.items() <= stand.packages().items()
        assert failed_names(outcome) == {"intruder": "HoldConflict"}
        assert (stand.venv / "lib64").is_symlink()


def _rewrite(path, text: str) -> None:
    path.unlink()  # it may be a hard link to uv's cache
    path.write_text(text)
