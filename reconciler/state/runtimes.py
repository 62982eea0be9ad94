"""What a package's name says about the accelerator runtime that it belongs to.

Pure, and without a list of packages: `nvidia-nccl-cu12` and `nvidia-nccl-cu13` are two generations
of one runtime, like `nvidia-cublas-cu12` and `nvidia-cublas` (CUDA 13), or `jax-cuda12-plugin` and
`jax-cuda13-plugin`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec
from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.patterns import regex

_GENERATION = regex(r"-(?P<kind>cu|cuda|rocm)-?(?P<number>\d[\dx]*)(?=-|$)")
_LOCAL = regex(r"(?P<kind>cu|rocm|xpu)[\d.]*")
_CUDA = "cuda"


class RuntimeGeneration(msgspec.Struct, frozen=True):
    """A generation of an accelerator's runtime: CUDA 12, ROCm 7."""

    kind: str
    number: str


def generation_of(name: NormalizedName) -> RuntimeGeneration | None:
    """The generation that a name ends with, or has in it; None if it names none."""
    found = _GENERATION.search(name)
    return RuntimeGeneration(_kind(found["kind"]), found["number"]) if found else None


def kind_of_build(version: Version) -> str | None:
    """The kind of accelerator that a build is for: `2.3.1+rocm5.7`; None if it does not say."""
    found = _LOCAL.match(version.local or "")
    return _kind(found["kind"]) if found else None


Kin = Mapping[NormalizedName, frozenset[NormalizedName]]


def relatives(names: Iterable[NormalizedName]) -> Kin:
    """For each name, those that differ from it only in the generation; empty ones are left out."""
    families: dict[str, set[NormalizedName]] = defaultdict(set)
    for name in names:
        families[_GENERATION.sub("", name)].add(name)
    return {
        name: frozenset(family - {name})
        for family in families.values()
        if len(family) > 1
        for name in family
    }


def _kind(word: str) -> str:
    return _CUDA if word == "cu" else word
