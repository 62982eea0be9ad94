"""A small world of machine-learning packages for the index, shaped like the real one.

Its plain torch and everything that comes with that are bait: they must never be installed.
"""

from dataclasses import dataclass, field
from pathlib import Path

from tests.support.torch import fake_torch, fake_torchvision, fake_triton
from tests.support.wheels import make_wheel


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a package on the index."""

    name: str
    version: str
    requires: tuple[str, ...] = ()
    extras: dict[str, tuple[str, ...]] = field(default_factory=dict)
    scripts: dict[str, str] = field(default_factory=dict)


BAIT = frozenset({"nvidia-cublas-cu12", "nvidia-cudnn-cu12", "torch", "torchvision", "triton"})
"""Names that only ever come with the index's torch."""

RELEASES = (
    # From before it declared torch: where a careless hold ends up (uv-facts 8).
    Release("accelerate", "0.0.1", ("numpy",)),
    Release("accelerate", "0.9", ("numpy", "packaging", "torch>=2.0")),
    Release("accelerate", "1.0", ("numpy", "packaging", "torch>=2.4")),
    Release("certifi", "2024.7.4"),
    Release("charset-normalizer", "3.3.2"),
    Release("diffusers", "0.29.2", ("huggingface-hub", "numpy", "pillow", "safetensors")),
    Release(
        "diffusers",
        "0.30.0",
        ("huggingface-hub>=0.23.2", "numpy", "pillow", "safetensors>=0.3.1"),
        extras={"torch": ("torch>=1.4", "accelerate>=0.9")},
    ),
    Release("filelock", "3.15.4"),
    Release("fsspec", "2024.6.1"),
    Release(
        "huggingface-hub",
        "0.24.5",
        ("filelock", "fsspec", "packaging", "pyyaml", "requests", "tqdm", "typing-extensions"),
        scripts={"huggingface-cli": "huggingface_hub:main"},
    ),
    Release("idna", "3.7"),
    Release("jinja2", "3.1.4", ("markupsafe>=2.0",)),
    Release("markupsafe", "2.1.5"),
    Release("mpmath", "1.3.0"),
    Release("networkx", "3.3"),
    Release("numpy", "1.24.4"),
    Release("numpy", "1.26.4", scripts={"f2py": "numpy:main"}),
    Release("numpy", "2.1.0", scripts={"f2py": "numpy:main"}),
    Release("nvidia-cublas-cu12", "12.4.5.8"),
    Release("nvidia-cudnn-cu12", "9.1.0.70", ("nvidia-cublas-cu12",)),
    Release("packaging", "24.1"),
    Release("pandas", "2.1.4", ("numpy>=1.22.4,<2", "python-dateutil", "pytz", "tzdata")),
    Release("pandas", "2.2.2", ("numpy>=1.22.4", "python-dateutil", "pytz", "tzdata")),
    Release("peft", "0.12.0", ("accelerate>=0.9", "torch>=1.13", "transformers", "tqdm")),
    Release("pillow", "10.4.0"),
    Release("python-dateutil", "2.9.0", ("six>=1.5",)),
    Release("pytz", "2024.1"),
    Release("pyyaml", "6.0.1"),
    Release("requests", "2.32.3", ("certifi", "charset-normalizer", "idna", "urllib3")),
    Release("safetensors", "0.4.3", extras={"torch": ("torch>=1.10",)}),
    Release("six", "1.16.0"),
    Release("sympy", "1.12.1", ("mpmath",)),
    Release("sympy", "1.13.1", ("mpmath",)),
    Release("tokenizers", "0.19.1", ("huggingface-hub>=0.16.4,<1.0",)),
    Release("tqdm", "4.66.4", scripts={"tqdm": "tqdm:main"}),
    Release(
        "transformers",
        "4.43.3",
        ("huggingface-hub>=0.23", "numpy>=1.17", "packaging", "tokenizers>=0.19,<0.20", "tqdm"),
    ),
    Release(
        "transformers",
        "4.44.0",
        ("huggingface-hub>=0.23", "numpy>=1.17", "packaging", "tokenizers>=0.19,<0.20", "tqdm"),
        extras={"torch": ("torch", "accelerate>=0.9")},
    ),
    Release("typing-extensions", "4.12.2"),
    Release("tzdata", "2024.1"),
    Release("urllib3", "2.2.2"),
    # Fits no torch but the index's own, whatever its version.
    Release("xformers", "0.0.27.post2", ("numpy", "torch==2.4.0")),
    Release("xformers", "0.0.32", ("numpy", "torch==2.8.0")),
)

_TORCH_REQUIRES = ("filelock", "fsspec", "jinja2", "networkx", "typing-extensions>=4.8.0")


def build_universe(directory: Path) -> list[Path]:
    """Build every wheel of the universe; takes some tens of milliseconds."""
    wheels = [
        make_wheel(
            directory,
            release.name,
            release.version,
            requires=release.requires,
            extras=release.extras,
            scripts=release.scripts,
        )
        for release in RELEASES
    ]
    return wheels + _index_torch(directory)


def _index_torch(directory: Path) -> list[Path]:
    wheels = []
    for torch, vision, triton, sympy in (
        ("2.4.0", "0.19.0", "3.0.0", "sympy"),
        ("2.8.0", "0.23.0", "3.4.0", "sympy>=1.13.1"),
    ):
        companions = ("nvidia-cublas-cu12==12.4.5.8", "nvidia-cudnn-cu12==9.1.0.70")
        requires = (*_TORCH_REQUIRES, sympy, f"triton=={triton}")
        wheels += [
            fake_torch(directory, torch, requires=requires, companions=companions, files=4),
            fake_torchvision(directory, vision, torch=torch, requires=("numpy", "pillow")),
            fake_triton(directory, "triton", triton),
        ]
    return wheels
