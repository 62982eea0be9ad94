"""A GPU stack that nobody needs a GPU for: wheels named and shaped like the real ones.

They come from local files, as a hand-installed build does; never put them on an index.
"""

from collections.abc import Sequence
from pathlib import Path

from packaging.version import Version

from tests.support.wheels import make_wheel

TORCH = "2.3.1+rocm5.7"
TORCHVISION = "0.18.1+rocm5.7"
TRITON_ROCM = "2.3.1"
GPU_NAMES = {"rocm": "Radeon Instinct MI25", "cuda": "NVIDIA H100"}


def gpu_stack(directory: Path, *, requires: Sequence[str] = (), files: int = 40) -> list[Path]:
    """Build torch, torchvision and the triton that torch pins, all for ROCm 5.7.

    Args:
        directory: Where the wheels go.
        requires: What torch requires beside its triton.
        files: How many files torch has beside its modules.
    """
    companions = (f"pytorch-triton-rocm=={TRITON_ROCM}",)
    return [
        fake_torch(directory, requires=requires, companions=companions, files=files),
        fake_torchvision(directory),
        fake_triton(directory, "pytorch-triton-rocm", TRITON_ROCM),
    ]


def fake_torch(
    directory: Path,
    version: str = TORCH,
    *,
    requires: Sequence[str] = (),
    companions: Sequence[str] = (),
    files: int = 40,
    import_error: str | None = None,
    tag: str = "py3-none-any",
) -> Path:
    """Build a torch wheel; its local version says which GPU it is for.

    Args:
        directory: Where the wheel goes.
        version: `+rocm5.7` and `+cu121` builds find a GPU; others do not.
        requires: Further Requires-Dist.
        companions: What it pins exactly, `name==version`.
        files: How many headers and libraries it has beside its modules.
        import_error: Importing it raises ImportError with these words.
        tag: The wheel's compatibility tag.
    """
    modules: dict[str, str | bytes] = {
        "torch/__init__.py": _torch_init(import_error),
        "torch/version.py": _torch_version(version),
        "torch/cuda.py": _torch_cuda(version),
        "torch/lib/libtorch.so": b"\x7fELF" + version.encode() * 4096,
    }
    ballast = {
        f"torch/include/ATen/part_{number // 100:03}/op_{number:05}.h": f"// {version} {number}\n"
        for number in range(files)
    }
    return make_wheel(
        directory,
        "torch",
        version,
        requires=[*requires, *companions],
        files={**modules, **ballast},
        scripts={"torchrun": "torch:main"},
        tag=tag,
    )


def fake_torchvision(
    directory: Path,
    version: str = TORCHVISION,
    *,
    torch: str | None = TORCH,
    requires: Sequence[str] = (),
) -> Path:
    """Build a torchvision wheel, which pins its torch as the real one does.

    Args:
        directory: Where the wheel goes.
        version: Its version.
        torch: The torch that it pins; None for none.
        requires: Further Requires-Dist.
    """
    pins = [] if torch is None else [f"torch=={torch}"]
    files: dict[str, str | bytes] = {
        "torchvision/__init__.py": f'__version__ = "{version}"\n',
        "torchvision/_C.so": b"\x7fELF" + version.encode() * 256,
    }
    return make_wheel(directory, "torchvision", version, requires=[*pins, *requires], files=files)


def fake_triton(directory: Path, name: str = "triton", version: str = TRITON_ROCM) -> Path:
    """Build a triton: `triton` and `pytorch-triton-rocm` own the same files, as in life."""
    files: dict[str, str | bytes] = {
        "triton/__init__.py": f'__version__ = "{version}"\nBUILD = "{name}"\n',
        "triton/language.py": f'BUILD = "{name}"\n',
        "triton/_C/libtriton.so": b"\x7fELF, the same in every build here",
    }
    return make_wheel(directory, name, version, files=files)


def backend_of(version: str) -> str | None:
    """Return `rocm` or `cuda` as the local version says, or None."""
    local = Version(version).local or ""
    if local.startswith("rocm"):
        return "rocm"
    return "cuda" if local.startswith("cu") else None


def _torch_init(import_error: str | None) -> str:
    if import_error is not None:
        return f"raise ImportError({import_error!r})\n"
    return (
        "from torch import cuda, version\n"
        "from torch.version import __version__\n\n\n"
        "def main():\n    print(__version__)\n"
    )


def _torch_version(version: str) -> str:
    local = Version(version).local or ""
    backend = backend_of(version)
    hip = local.removeprefix("rocm") + ".31921" if backend == "rocm" else None
    digits = local.removeprefix("cu")
    cuda = f"{digits[:-1]}.{digits[-1]}" if backend == "cuda" else None
    return f"__version__ = {version!r}\nhip = {hip!r}\ncuda = {cuda!r}\n"


def _torch_cuda(version: str) -> str:
    name = GPU_NAMES.get(backend_of(version) or "")
    return (
        f"_NAME = {name!r}\n\n\n"
        "def is_available():\n    return _NAME is not None\n\n\n"
        "def device_count():\n    return int(is_available())\n\n\n"
        "def get_device_name(device=None):\n"
        "    if _NAME is None:\n"
        '        raise RuntimeError("No CUDA GPUs are available")\n'
        "    return _NAME\n"
    )
