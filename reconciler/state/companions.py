"""Packages that are built against one GPU build of torch, and so are worth holding with it.

Pure: names what is installed and not held; decides nothing.
"""

from packaging.utils import NormalizedName

from reconciler.state.holds import HoldSet
from reconciler.state.installed import Installed

COMPANIONS = {
    "torchaudio": "it is compiled against one version of torch",
    "triton": "torch compiles kernels with just the version that it was built for",
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
"""Name to the reason for which an index's newest version would not do."""


def warnings_for(installed: Installed, holds: HoldSet) -> tuple[str, ...]:
    """A sentence for each installed companion of a held torch that is not held itself."""
    if NormalizedName("torch") not in holds.held:
        return ()
    return tuple(
        f"{name} {installed.version(name)} is installed and not held, though {reason}: "
        f'add "{name}" to `hold` to keep it.'
        for name, reason in COMPANIONS.items()
        if installed.get(name) is not None and not holds.covers(NormalizedName(name))
    )
