"""Which packages are held: the configured ones, and what `hold_closure = "pins"` adds."""

import pytest
from packaging.version import Version

from reconciler.state.holds import (
    HoldClosure,
    HoldSet,
    companions_of,
    hold_set,
    matches,
    requires_of,
)
from reconciler.state.installed import Installed, InstalledReader
from tests.state.markers import LINUX_39
from tests.state.site import Site


@pytest.fixture
def site(tmp_path) -> Site:
    return Site(tmp_path / "site")


def installed(site: Site) -> Installed:
    return InstalledReader([site.folder]).read()


def held(site: Site, *patterns: str) -> dict[str, str | None]:
    """The names held where only exact pins count, each with what pins it."""
    found = hold_set(patterns, installed(site), LINUX_39, HoldClosure.PINS).held
    return {name: hold.pinned_by for name, hold in found.items()}


def test_configured_names_that_are_installed_are_held(site):
    site.add("torch", "2.3.1+rocm5.7")
    site.add("numpy")
    holds = hold_set(("torch", "torchvision"), installed(site), LINUX_39)
    assert set(holds.held) == {"torch"}
    assert holds.held["torch"].version == Version("2.3.1+rocm5.7")
    assert holds.held["torch"].pin == "torch==2.3.1+rocm5.7"
    assert holds.held["torch"].name == "torch"


def test_what_is_configured_and_not_installed_is_covered_all_the_same(site):
    site.add("numpy")
    holds = hold_set(("torch", "nvidia-*"), installed(site), LINUX_39)
    assert holds.held == {}
    assert holds.covers("torch")
    assert holds.covers("nvidia-cublas-cu12")
    assert not holds.covers("numpy")


def test_nothing_is_held_where_nothing_is_configured(site):
    site.add("torch", requires=["triton==1.0"])
    site.add("triton", "1.0")
    holds = hold_set((), installed(site), LINUX_39)
    assert holds.held == {}
    assert not holds.covers("torch")
    assert holds.missing(["torch"]) == frozenset()


def test_what_a_hold_pins_is_held_with_it_transitively(site):
    site.add("torch", requires=["pytorch-triton-rocm==2.3.1", "nvidia-cudnn-cu12===9.1", "sympy"])
    site.add("pytorch-triton-rocm", "2.3.1")
    site.add("nvidia-cudnn-cu12", "9.1", requires=["nvidia-cublas-cu12==12.4"])
    site.add("nvidia-cublas-cu12", "12.4")
    site.add("sympy")
    assert held(site, "torch") == {
        "torch": None,
        "pytorch-triton-rocm": "torch",
        "nvidia-cudnn-cu12": "torch",
        "nvidia-cublas-cu12": "nvidia-cudnn-cu12",
    }


@pytest.mark.parametrize(
    "requirement",
    [
        "triton>=2.3.1",
        "triton==2.3.*",
        "triton==2.*",
        "triton==2.3.1.*,!=2.3.1.post1",
        "triton==2.3.1.0.*",
        "triton~=2.3.1",
        "triton==2.3.1,!=2.0",  # more than a pin
        "triton==3.0.0",  # another version than the installed one
        "triton",
        "triton==2.3.1; sys_platform == 'win32'",
        "triton==2.3.1; extra == 'gpu'",
    ],
)
def test_what_is_not_pinned_exactly_on_this_target_is_not_held(site, requirement):
    site.add("torch", requires=[requirement], extras=["gpu"])
    site.add("triton", "2.3.1")
    assert held(site, "torch") == {"torch": None}


@pytest.mark.parametrize(
    ("requirement", "version"),
    [
        ("triton==2.3.1", "2.3.1"),
        ("triton==2.3.1", "2.3.1+rocm5.7"),  # PEP 440: a pin without local part admits any
        ("triton==2.3.1+rocm5.7", "2.3.1+rocm5.7"),
        ("triton===2.3.1", "2.3.1"),
        ("triton==2.3.1.*", "2.3.1"),  # as NVIDIA's metadata has it
        ("triton==13.1.1.3.*", "13.1.1.3"),
        ("Triton==2.3.1; platform_system == 'Linux'", "2.3.1"),
        ("triton==3.0.0rc1", "3.0.0rc1"),
    ],
)
def test_an_exact_pin_is_held(site, requirement, version):
    site.add("torch", requires=[requirement])
    site.add("triton", version)
    assert held(site, "torch") == {"torch": None, "triton": "torch"}


def test_what_a_pinned_package_pins_by_an_extra_that_was_asked_for_is_held(site):
    """So does a CUDA torch of today name its libraries."""
    site.add("torch", "2.14.1", requires=["cuda-toolkit[cublas,NVTX]==13.0.3"])
    site.add(
        "cuda-toolkit",
        "13.0.3.0",
        requires=[
            "nvidia-cublas==13.1.1.3.*; sys_platform == 'linux' and extra == 'cublas'",
            "nvidia-nvtx==13.0.85.*; extra == 'nvtx'",
            "nvidia-curand==10.4.0.*; extra == 'curand'",
        ],
        extras=["cublas", "nvtx", "curand"],
    )
    site.add("nvidia-cublas", "13.1.1.3")
    site.add("nvidia-nvtx", "13.0.85")
    site.add("nvidia-curand", "10.4.0")
    assert held(site, "torch") == {
        "torch": None,
        "cuda-toolkit": "torch",
        "nvidia-cublas": "cuda-toolkit",
        "nvidia-nvtx": "cuda-toolkit",
    }
    everything = hold_set(("torch",), installed(site), LINUX_39, HoldClosure.PINS).held
    assert {h.name for h in companions_of("torch", everything.values())} == {
        "cuda-toolkit", "nvidia-cublas", "nvidia-nvtx"
    }  # fmt: skip
    assert companions_of("nvidia-nvtx", everything.values()) == []


def test_an_extra_that_another_hold_asks_for_later_counts_as_well(site):
    site.add("apex", "1.0", requires=["torch[fused]==2.0"])
    site.add("torch", "2.0", requires=["fused-kernels==1.0.0; extra == 'fused'"], extras=["fused"])
    site.add("fused-kernels", "1.0.0")
    assert held(site, "apex", "torch") == {"apex": None, "torch": None, "fused-kernels": "torch"}


def test_holds_that_pin_each_other_end(site):
    site.add("torch", "2.0", requires=["torchvision==0.18"])
    site.add("torchvision", "0.18", requires=["torch==2.0"])
    assert held(site, "torch", "torchvision") == {"torch": None, "torchvision": None}
    assert held(site, "torch") == {"torch": None, "torchvision": "torch"}


def test_globs_hold_all_that_match(site):
    for name in ("nvidia-cublas-cu12", "nvidia-ml-py", "nvidiafoo"):
        site.add(name)
    assert set(held(site, "nvidia-*")) == {"nvidia-cublas-cu12", "nvidia-ml-py"}


@pytest.mark.parametrize(
    ("name", "patterns", "expected"),
    [
        ("torch", ("torch",), True),
        ("torchvision", ("torch",), False),
        ("torchvision", ("torch*",), True),
        ("torch-scatter", ("torch-?catter",), True),
        ("torch1", ("torch[12]",), True),
        ("torch", (), False),
    ],
)
def test_names_and_globs(name, patterns, expected):
    assert matches(name, patterns) is expected


def test_missing_holds_are_the_configured_names_and_what_a_glob_meets(site):
    site.add("torch")
    holds = hold_set(("torch", "torchvision", "nvidia-*"), installed(site), LINUX_39)
    names = ["torch", "nvidia-cublas-cu12", "numpy"]
    assert holds.missing(names) == {"torchvision", "nvidia-cublas-cu12"}
    assert HoldSet(("torch",), {}).missing([]) == {"torch"}


def test_a_marker_that_means_nothing_in_somebody_elses_metadata_does_not_count(site):
    site.add("torch", requires=["a; sys_platform ~= 'linux'", "b; '1' > 'x'", "c"])
    distribution = installed(site).get("torch")
    assert [r.name for r in requires_of(distribution, LINUX_39)] == ["c"]


def test_requirements_with_extras_are_those_of_the_target(site):
    site.add(
        "thing",
        requires=[
            "always",
            "old; python_version < '3.10'",
            "new; python_version >= '3.10'",
            "web; extra == 'Web_UI'",
            "both; extra == 'gpu' and python_version < '3.10'",
            "never; extra == 'gpu' and sys_platform == 'win32'",
        ],
        extras=["Web_UI", "gpu"],
    )
    distribution = installed(site).get("thing")

    def names(*extras):
        return {r.name for r in requires_of(distribution, LINUX_39, extras)}

    assert names() == {"always", "old"}
    assert names("web-ui") == {"always", "old", "web"}
    assert names("gpu", "web-ui") == {"always", "old", "web", "both"}
    assert names("unknown") == {"always", "old"}
