"""What tells two generations of an accelerator's runtime apart, from the names alone."""

from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.state.runtimes import generation_of, kind_of_build, relatives


def families(*names: str) -> set[frozenset[str]]:
    found = relatives(NormalizedName(name) for name in names)
    return {near | {name} for name, near in found.items()}


def test_names_that_differ_in_their_generation_only_are_relatives():
    assert families(
        "nvidia-nccl-cu12", "nvidia-nccl-cu13", "nvidia-cublas-cu12", "nvidia-cublas",
        "cupy-cuda11x", "cupy-cuda12x", "jax-cuda12-plugin", "jax-cuda13-plugin",
        "jax-rocm60-plugin", "tensorrt-cu12-libs", "tensorrt-cu13-libs",
    ) == {
        frozenset({"nvidia-nccl-cu12", "nvidia-nccl-cu13"}),
        frozenset({"nvidia-cublas-cu12", "nvidia-cublas"}),
        frozenset({"cupy-cuda11x", "cupy-cuda12x"}),
        frozenset({"jax-cuda12-plugin", "jax-cuda13-plugin", "jax-rocm60-plugin"}),
        frozenset({"tensorrt-cu12-libs", "tensorrt-cu13-libs"}),
    }  # fmt: skip


def test_other_names_have_no_relatives():
    assert families(
        "urllib3", "jinja2", "jinja", "psycopg", "psycopg2", "nvidia-cuda-runtime", "cuda-python",
        "cuda-bindings", "nvidia-cudnn-cu12", "nvidia-nccl-cu12", "document-cu", "rocm", "torch",
        "pytorch-triton-rocm", "triton", "pytorch-triton", "h5py", "zstandard-cu",
    ) == set()  # fmt: skip


def test_kinds():
    generations = {n: generation_of(NormalizedName(n)) for n in ("a-cu12", "a-cuda12x", "a")}
    assert [g and (g.kind, g.number) for g in generations.values()] == [
        ("cuda", "12"), ("cuda", "12x"), None,
    ]  # fmt: skip
    builds = {"2.3.1+rocm5.7": "rocm", "2.4.0+cu121": "cuda", "2.8.0+xpu": "xpu"}
    assert {v: kind_of_build(Version(v)) for v in builds} == builds
    assert [kind_of_build(Version(v)) for v in ("2.14.1", "2.4.0+cpu", "1.0+local")] == [None] * 3
