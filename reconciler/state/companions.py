"""Packages that are built against one GPU build of torch, and should be held with it.

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
"""Name to the builds that own the same files: do not hold it if one of these is installed."""


def worth_holding(installed: Installed, holds: HoldSet) -> Iterator[tuple[str, str]]:
    """Packages that depend on the held torch but are not held themselves, each with the reason."""
    if "torch" not in holds.held:
        return
    for name, reason in COMPANIONS.items():
        rival = any(b in holds.held for b in RIVALS.get(name, ()))
        held = holds.covers(NormalizedName(name))
        if installed.get(name) is not None and not held and not rival:
            yield (
                name,
                f"{name} {installed.version(name)} is installed and not held, though {reason}",
            )
