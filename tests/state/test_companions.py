"""Warnings about packages that belong to a GPU build."""

from pathlib import Path

from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.state.companions import worth_holding
from reconciler.state.holds import hold_set
from reconciler.state.installed import Distribution, collect


def warned(*specs: str, hold: tuple[str, ...] = ("torch",)) -> tuple[str, ...]:
    pairs = [spec.split("==") for spec in specs]
    installed = collect(
        Distribution(NormalizedName(name), Version(version), Path(f"{name}.dist-info"))
        for name, version in pairs
    )
    return tuple(why for _, why in worth_holding(installed, hold_set(hold, installed, {})))


def test_a_companion_that_is_not_held_is_named_with_the_reason():
    [line] = warned("torch==2.3.1+rocm5.7", "xformers==0.0.27", "numpy==1.26.4")
    assert line.startswith("xformers 0.0.27 is installed and not held, though its kernels")


def test_a_held_companion_is_no_reason_to_warn():
    assert warned("torch==2.3.1", "xformers==0.0.27", hold=("torch", "xformers")) == ()


def test_without_a_held_torch_there_is_nothing_to_belong_to():
    assert warned("xformers==0.0.27") == ()


def test_a_rival_of_a_held_build_is_not_worth_holding():
    assert warned(
        "torch==2.3.1", "pytorch-triton-rocm==2.3.1", "triton==3.4.0",
        hold=("torch", "pytorch-triton-rocm"),
    ) == ()  # fmt: skip


def test_a_triton_of_its_own_is_worth_holding():
    [line] = warned("torch==2.3.1", "triton==2.3.1")
    assert line.startswith("triton 2.3.1 is installed and not held")
