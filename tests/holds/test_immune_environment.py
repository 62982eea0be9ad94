"""Whatever state the environment is in, a held package stays, and the rest is done."""

import pytest

from reconciler.status import PackageStatus
from tests.holds.stand import DECLARED, HELD, REACHED
from tests.support.environments import (
    dist_infos,
    install,
    site_packages,
    tree_fingerprint,
    uninstall,
)
from tests.support.torch import fake_torch


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


def _rewrite(path, text: str) -> None:
    path.unlink()  # it may be a hard link to uv's cache
    path.write_text(text)
