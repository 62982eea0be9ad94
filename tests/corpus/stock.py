"""What the corpus may be installed from: an index, a second one, and a folder of wheels.

Every package is a few lines long. The index's torch and triton are bait.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.index import PackageIndex
from tests.support.torch import fake_torch, fake_torchvision, fake_triton, gpu_stack
from tests.support.wheels import make_sdist, make_wheel


@dataclass(frozen=True, slots=True)
class Stock:
    """Where the corpus's packages are."""

    index: PackageIndex
    house: PackageIndex
    """An index with builds of its own, by the same names."""
    flat: Path
    """A folder of wheels, for `--find-links`."""
    gpu: Path
    """A folder with the GPU build of torch, which no index has."""
    built: Path
    """The folder that the files of `index` were built in."""

    def places(self) -> dict[str, str]:
        """What the words in the corpus's files stand for."""
        return {
            "@index@": self.index.url,
            "@house@": self.house.url,
            "@index-files@": self.index.file_url(""),
            "@house-files@": self.house.file_url(""),
            "@flat@": str(self.flat),
            "@gpu@": str(self.gpu),
            **{f"@sha256:{path.name}@": _sha256(path) for path in self.built.iterdir()},
        }


@contextmanager
def open_stock(folder: Path) -> Iterator[Stock]:
    """Build everything and serve it."""
    flat, gpu = folder / "flat", folder / "gpu"
    make_wheel(flat, "phi", "1.0")
    make_wheel(flat, "alpha", "1.7")
    gpu_stack(gpu, files=4)
    fake_torch(gpu, "2.3.1+cu121", files=4)
    make_wheel(gpu, "torchaudio", "2.3.1+rocm5.7", requires=["torch==2.3.1+rocm5.7"])
    with PackageIndex() as index, PackageIndex() as house:
        index.add(*_wheels(folder / "index"), *_sdists(folder / "index"))
        index.add(*_machine_learning(folder / "index"))
        house.add(*_house(folder / "house"))
        yield Stock(index, house, flat, gpu, folder / "index")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _wheels(into: Path) -> Iterator[Path]:
    for version in ("1.0", "1.5", "2.0", "3.0a1"):
        yield make_wheel(into, "alpha", version)
    yield make_wheel(into, "beta", "1.0", requires=["alpha<2"])
    yield make_wheel(into, "beta", "2.0", requires=["alpha>=2"])
    for version in ("1.0", "2.0"):
        yield make_wheel(into, "gamma", version)
    extras = {"fast": ["epsilon"], "slow": ["eta<2"], "all": ["delta[fast,slow]"]}
    yield make_wheel(into, "delta", "1.0", requires=["alpha"], extras=extras)
    for version in ("1.0", "1.1"):
        yield make_wheel(into, "epsilon", version)
        yield make_wheel(into, "zeta", version, requires=["eta>=1"])
    for version in ("1.0", "2.0"):
        yield make_wheel(into, "eta", version)
    yield make_wheel(into, "theta", "1.0")
    yield make_wheel(into, "theta", "2.0", requires_python=">=3.99")
    yield make_wheel(into, "mu-name", "1.0")
    yield make_wheel(into, "nu", "1.0rc1")
    for version in ("1.0", "1.0+cpu", "1.0+cu121"):
        yield make_wheel(into, "xi", version)
    yield make_wheel(
        into, "omicron", "1.0", scripts={"omicron": "omicron:main"},
        raw_scripts={"omicron-raw": "#!python\nprint('raw')\n"}, data={"share/omicron/a.txt": "a"},
    )  # fmt: skip
    elsewhere = ["epsilon; sys_platform == 'win32'", "zeta; python_version >= '3.8'"]
    yield make_wheel(into, "psi", "1.0", requires=elsewhere)
    yield make_wheel(into, "wild", "1.0", requires=["alpha (>=1.0)", "eta>=1.0"])


def _sdists(into: Path) -> Iterator[Path]:
    yield make_sdist(into, "iota", "1.0", requires=["eta"])
    yield make_sdist(into, "upsilon", "1.0", requires=["eta<2"], static_metadata=False)
    yield make_sdist(into, "kappa", "1.0", fails=True)
    yield make_sdist(into, "tau", "1.0", build_requires=["torch"])


def _machine_learning(into: Path) -> Iterator[Path]:
    for torch, vision, triton in (("2.4.0", "0.19.0", "3.0.0"), ("2.8.0", "0.23.0", "3.4.0")):
        yield fake_torch(into, torch, companions=[f"triton=={triton}"], files=4)
        yield fake_torchvision(into, vision, torch=torch)
        yield fake_triton(into, "triton", triton)
        yield make_wheel(into, "torchaudio", torch, requires=[f"torch=={torch}"])
    yield make_wheel(into, "torchaudio", "2.3.1", requires=["torch==2.3.1"])
    yield make_wheel(into, "rho", "1.0", requires=["torch>=2.0", "alpha"])
    yield make_wheel(into, "rho", "2.0", requires=["torch>=2.4", "alpha"])
    yield make_wheel(into, "sigma", "1.0", requires=["torch>=2.4"])


def _house(into: Path) -> Iterator[Path]:
    yield make_wheel(into, "gamma", "1.0", files={"gamma/__init__.py": "HOUSE = True\n"})
    yield make_wheel(into, "eta", "1.5", files={"eta/__init__.py": "HOUSE = True\n"})
    yield make_wheel(into, "chi", "1.0", requires=["alpha"])
