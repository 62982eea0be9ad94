"""What a hold needs to run on the accelerator is held with it, and nothing else (runtime)."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from reconciler.state.holds import hold_set
from reconciler.state.installed import InstalledReader
from tests.state.markers import LINUX_39
from tests.state.site import Site
from tests.support.elf import shared_library

PURE = {"thing.py": "1\n"}
LIBRARY = {"thing/lib/libthing.so.1": "1\n", "thing/__init__.py": ""}


@pytest.fixture
def site(tmp_path) -> Site:
    return Site(tmp_path / "site")


def because(site: Site, *patterns: str) -> dict[str, tuple[str | None, str | None]]:
    """The held names, each with the package through which it is reached, and why."""
    installed = InstalledReader([site.folder]).read()
    held = hold_set(patterns or ("torch",), installed, LINUX_39).held
    return {name: (one.pinned_by, one.because) for name, one in held.items()}


def bound_by(site: Site, requirement: str, version: str, files: Mapping[str, str]) -> str | None:
    """Why a package is held that torch requires so, or None."""
    shutil.rmtree(site.folder, ignore_errors=True)
    site.add("torch", requires=[requirement])
    site.add("thing", version, files=files)
    return because(site).get("thing", (None, None))[1]


def test_the_bound_and_compiled_code_decide(site) -> None:
    cases = {
        ("thing==2.3.1", "2.3.1"): "pinned",
        ("thing==2.3.1", "2.3.1+rocm5.7"): "pinned",
        ("thing===2.3.1", "2.3.1"): "pinned",
        ("thing==2.3.1,!=2.0", "2.3.1"): "pinned",
        ("thing==13.1.1.3.*", "13.1.1.3"): "pinned",
        ("thing==2.3.*", "2.3.1"): "compatible",
        ("thing==2.*", "2.3.1"): "compatible",
        ("thing~=2.3.0", "2.3.1"): "compatible",
        ("thing~=2.3", "2.9"): "compatible",
        ("thing<14,>=13.0.3", "13.5"): "compatible",
        ("thing>=13.0.3,<=13.9", "13.5"): "compatible",
        ("thing>13.0,<13.7.1", "13.5"): "compatible",
        ("thing<3,>=1.17", "2.4"): None,  # says which were tried, not which one it is built for
        ("thing<3", "2.4"): None,
        ("thing>=2.4", "2.4"): None,
        ("thing", "2.4"): None,
        ("thing!=8.3.*,>=5.3.0", "13.0"): None,  # pillow
        ("thing~=3.8.0", "3.4.0"): None,  # not what the hold needs: a pass installs that
        ("thing==2.3.1; sys_platform == 'win32'", "2.3.1"): None,
    }
    found = {case: bound_by(site, *case, LIBRARY) for case in cases}
    assert found == cases
    assert {case: bound_by(site, *case, PURE) for case in cases} == dict.fromkeys(cases)


def test_compiled_code_is_what_the_list_of_files_shows(site) -> None:
    cases = {
        "thing/_C.so": True,
        "thing/_C.cpython-39-x86_64-linux-gnu.so": True,
        "thing/_C.abi3.so": True,
        "nvidia/cu13/lib/libthing.so.13.0.1": True,
        "../../../lib/libsycl.so.8": True,  # Intel's are in the environment's `lib`
        "thing/lib/libstatic.a": True,
        "torch/.kpack/thing.kpack": True,
        "thing/library/kernels.hsaco": True,
        "thing/so.py": False,
        "thing/x.so.py": False,
        "thing/bin/cmake": False,
    }
    found = {
        path: bound_by(site, "thing~=2.3", "2.3", {path: "1", "thing/__init__.py": ""}) is not None
        for path in cases
    }
    assert found == cases


def test_a_package_without_a_list_of_files_counts_as_compiled(site) -> None:
    site.add("torch", requires=["thing==2.0", "other"])
    for name in ("thing", "other"):
        info = site.add(name, "2.0", files=PURE, record=False)
        (info / "INSTALLER").write_text("conda\n")
    assert because(site) == {"torch": (None, None), "thing": ("torch", "pinned")}


def test_a_metapackage_of_compiled_ones_is_held_and_one_of_others_is_not(site) -> None:
    site.add("torch", requires=["rocm[libraries]~=7.14.0", "sympy==1.13.1", "nothing==1.0"])
    site.add(
        "rocm", "7.14.0", files={"rocm_sdk/__init__.py": ""}, extras=["libraries", "devel"],
        requires=["rocm-sdk-core==7.14.0", "rocm-sdk-libraries==7.14.0; extra == 'libraries'",
                  "rocm-sdk-devel==7.14.0; extra == 'devel'"],
    )  # fmt: skip
    site.add("rocm-sdk-core", "7.14.0", files={"_rocm_sdk_core/lib/libamdhip64.so.7": ""})
    site.add("rocm-sdk-libraries", "7.14.0", files={"_rocm_sdk_libraries/lib/librccl.so.1": ""})
    site.add("sympy", "1.13.1", requires=["mpmath<1.4,>=1.1.0"], files={"sympy/core.py": ""})
    site.add("mpmath", "1.3.0", files={"mpmath/__init__.py": ""})
    site.add("nothing", "1.0", files={})
    assert because(site) == {
        "torch": (None, None),
        "rocm": ("torch", "compatible"),
        "nothing": ("torch", "pinned"),
        "rocm-sdk-core": ("rocm", "pinned"),
        "rocm-sdk-libraries": ("rocm", "pinned"),
    }


def test_what_is_installed_of_any_extra_is_held_if_it_is_for_the_accelerator(site) -> None:
    """AMD's code for one kind of GPU arrives by an extra, which nothing may ask for."""
    gfx = ["device-gfx1100", "device-gfx942", "test", "opt-einsum"]
    site.add(
        "torch", "2.14.0+rocm7.14.0", extras=gfx,
        requires=["amd-torch-device-gfx1100==2.14.0+rocm7.14.0; extra == 'device-gfx1100'",
                  "amd-torch-device-gfx942==2.14.0+rocm7.14.0; extra == 'device-gfx942'",
                  "cython<3.2,>=3.1; extra == 'test'", "scipy; extra == 'test'",
                  "nvidia-nvvm==13.*; extra == 'test'", "opt-einsum>=3.3; extra == 'opt-einsum'"],
    )  # fmt: skip
    site.add(
        "amd-torch-device-gfx1100", "2.14.0+rocm7.14.0",
        requires=["torch==2.14.0+rocm7.14.0", "rocm-sdk-device-gfx1100==7.14.0"],
        files={"torch/.kpack/torch_gfx1100.kpack": "1"},
    )  # fmt: skip
    site.add("rocm-sdk-device-gfx1100", "7.14.0", files={"_rocm_sdk_libraries/.info": "1"})
    site.add("cython", "3.1.0", files={"Cython/Code.cpython-39-x86_64-linux-gnu.so": "1"})
    site.add("scipy", files={"scipy/_lib.cpython-39-x86_64-linux-gnu.so": "1"})
    site.add("opt-einsum", "3.4.0")
    site.add("nvidia-nvvm", "13.0", files={"nvidia/cu13/lib/libnvvm.so.4": "1"})
    assert because(site) == {
        "torch": (None, None),
        "amd-torch-device-gfx1100": ("torch", "device"),
        "nvidia-nvvm": ("torch", "device"),
        "rocm-sdk-device-gfx1100": ("amd-torch-device-gfx1100", "device"),
    }


class TestLinked:
    """nvidia-cusparse-cu12 requires any nvidia-nvjitlink-cu12, and its library loads it."""

    NAME = "libnvJitLink.so.12"

    def stack(self, site: Site, *, requires: Sequence[str] = ("jitlink",), **paths: object) -> None:
        site.add("torch", requires=["cusparse==12.5"])
        site.add("cusparse", "12.5", requires=requires, files={"nvidia/sparse/libcusparse.so": ""})
        files = {f"nvidia/jit/{self.NAME}": "1", "nvidia/jit/_m.abi3.so": "1"}
        site.add("jitlink", "12.9", files=files)
        library = shared_library(needed=["libc.so.6", self.NAME], **paths)
        (site.folder / "nvidia/sparse/libcusparse.so").write_bytes(library)

    @pytest.mark.parametrize(
        "paths",
        [
            {"runpath": ["$ORIGIN/../jit"]},
            {"rpath": ["/usr/lib", "$ORIGIN", "${ORIGIN}/../jit/."]},
            {"runpath": ["$ORIGIN/../jit"], "rpath": ["$ORIGIN"]},
        ],
    )
    def test_what_a_library_needs_is_held(self, site, paths) -> None:
        self.stack(site, **paths)
        assert because(site)["jitlink"] == ("cusparse", "linked")

    @pytest.mark.parametrize(
        "paths",
        [
            {},
            {"runpath": ["$ORIGIN"]},
            {"runpath": ["$ORIGINAL/../jit"]},
            {"runpath": ["$ORIGIN"], "rpath": ["$ORIGIN/../jit"]},  # RUNPATH makes RPATH void
        ],
    )
    def test_a_name_alone_is_not_enough(self, site, paths) -> None:
        """numpy and pillow need a `libz.so.1`, as torchvision bundles one (uv-facts 36)."""
        self.stack(site, **paths)
        assert "jitlink" not in because(site)

    def test_what_no_hold_requires_is_not_looked_at(self, site) -> None:
        self.stack(site, requires=(), runpath=["$ORIGIN/../jit"])
        assert "jitlink" not in because(site)

    def test_what_is_needed_may_need_more(self, site) -> None:
        self.stack(site, requires=("jitlink", "deeper"), runpath=["$ORIGIN/../jit"])
        site.add("deeper", files={"deeper/libdeeper.so": "1"})
        library = shared_library(needed=["libdeeper.so"], runpath=["$ORIGIN/../../deeper"])
        (site.folder / "nvidia/jit" / self.NAME).write_bytes(library)
        assert because(site)["deeper"] == ("jitlink", "linked")


def test_members_are_found_in_any_order_and_circles_end(site) -> None:
    site.add("apex", "1.0", requires=["torch[fused]==2.0"], files=LIBRARY)
    site.add("torch", "2.0", requires=["kernels==1.0.0; extra == 'fused'", "torchvision~=0.18.0"],
             extras=["fused"])  # fmt: skip
    site.add("torchvision", "0.18", requires=["torch==2.0"], files={"torchvision/_C.so": "1"})
    site.add("kernels", "1.0.0", files={"kernels/_C.so": "1"})
    assert because(site, "apex", "torch") == {
        "apex": (None, None),
        "torch": (None, None),
        "kernels": ("torch", "pinned"),
        "torchvision": ("torch", "compatible"),
    }
    assert because(site, "torchvision") == {"torchvision": (None, None)}


def test_deleted_and_damaged_libraries_are_no_error(site, tmp_path: Path) -> None:
    files = {"thing/liba.so": "\x7fELF nonsense", "thing/libb.so": "", "thing/libc.so": "text"}
    site.add("torch", requires=["thing==1.0", "other"])
    site.add("thing", requires=["other"], files=files)
    site.add("other", files={"other/libother.so": "1"})
    (site.folder / "thing/libb.so").unlink()
    assert set(because(site)) == {"torch", "thing"}


def test_metapackages_that_require_each_other_end(site) -> None:
    names = [f"meta{number}" for number in range(40)]
    everything = [f"{name}==1.0" for name in names]
    site.add("torch", requires=everything)
    for name in names:
        site.add(name, requires=everything)
    assert set(because(site)) == {"torch"}
    site.add("kernels", files=LIBRARY)
    shutil.rmtree(site.folder / "meta7-1.0.dist-info")
    site.add("meta7", requires=["kernels==1.0"])
    assert set(because(site)) == {"torch", "kernels", *names}
