"""Packages that are built for one GPU build of torch and should be held with it.

Pure: names installed packages that are not held; decides nothing.
"""

from collections.abc import Iterator

from packaging.utils import NormalizedName

from reconciler.state.holds import HoldSet
from reconciler.state.installed import Installed

COMPANIONS = {
    "torchaudio": "it is compiled against one version of torch",
    "triton": "torch only works with the version that it was built for",
    "pytorch-triton-rocm": "it is the triton of ROCm builds of torch",
    "xformers": "its kernels are compiled against one version of torch",
    "flash-attn": "its kernels are compiled against one version of torch",
    "bitsandbytes": "its kernels are built for one kind of GPU",
    "onnxruntime-gpu": "plain onnxruntime overwrites its files",
    "onnxruntime-rocm": "plain onnxruntime overwrites its files",
    "deepspeed": "it compiles its operators against the installed torch",
    "vllm": "it pins one version of torch, and its kernels are compiled against it",
    "torchao": "its kernels are compiled against one version of torch",
    "apex": "its kernels are compiled against the installed torch",
    "torch-scatter": "it is compiled against one version of torch",
    "torch-sparse": "it is compiled against one version of torch",
    "mamba-ssm": "its kernels are compiled against one version of torch",
    "causal-conv1d": "its kernels are compiled against one version of torch",
    "auto-gptq": "its kernels are compiled against one version of torch",
}
"""Name to the reason why the newest version from an index would not work."""


RIVALS = {
    "triton": ("pytorch-triton-rocm", "pytorch-triton", "pytorch-triton-xpu", "triton-rocm"),
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime-rocm", "onnxruntime-directml"),
}
"""Name to the builds that own the same files: it must not be installed beside one of them."""


def warnings_for(installed: Installed, holds: HoldSet) -> tuple[str, ...]:
    """Warnings about installed packages that depend on the GPU build."""
    return (*_rivals(installed, holds), *_unheld(installed, holds))


def _rivals(installed: Installed, holds: HoldSet) -> Iterator[str]:
    """Packages that own files of a held one, so they have overwritten them or will."""
    for name, builds in RIVALS.items():
        beside = [b for b in builds if b in holds.held]
        if beside and installed.get(name) is not None and name not in holds.held:
            yield (
                f"{name} {installed.version(name)} is installed beside {beside[0]}, which is held "
                "and owns the same files. Removing it with another tool would remove those: let "
                "`prune = true` remove it, or remove it and `reconciler hold restore "
                f"{beside[0]}`."
            )


def _unheld(installed: Installed, holds: HoldSet) -> Iterator[str]:
    """Packages bound to the held torch that are not held themselves."""
    if "torch" not in holds.held:
        return
    for name, reason in COMPANIONS.items():
        rival = any(b in holds.held for b in RIVALS.get(name, ()))
        held = holds.covers(NormalizedName(name))
        if installed.get(name) is not None and not held and not rival:
            yield (
                f"{name} {installed.version(name)} is installed and not held, though {reason}: "
                f'add "{name}" to `hold` to keep it.'
            )
