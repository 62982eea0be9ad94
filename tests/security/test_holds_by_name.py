"""Packages and builds that leave a held package whole by name only: others' code in its place."""

import zipfile
from pathlib import Path

from tests.holds import conftest as holds
from tests.holds.stand import BASE, BESIDE, Stand, failed_names
from tests.support.attacks import Attacks
from tests.support.environments import install, run_python, site_packages
from tests.support.torch import TORCH
from tests.support.wheels import make_wheel

stand, universe, stack, leftover = holds.stand, holds.universe, holds.stack, holds.leftover

EVIL = "raise SystemExit('someone else')\n"


def _suffixes(stand: Stand) -> list[str]:
    code = "import importlib.machinery as m; print(*m.EXTENSION_SUFFIXES)"
    return run_python(stand.venv, code).split()


def test_a_package_never_puts_its_code_where_a_held_module_is(
    stand: Stand, tmp_path: Path, attacks: Attacks
) -> None:
    """One pass is offered all of them; each is left out by itself, and the rest goes on."""
    native, *_ = _suffixes(stand)
    site = site_packages(stand.venv)
    below = f"lib/{site.parent.name}/site-packages"
    tag = f"cpython-{site.parent.name.removeprefix('python').replace('.', '')}"
    module = {"solo.py": "x = 1\n", "spread/part/__init__.py": "y = 1\n"}
    install(stand.venv, make_wheel(tmp_path / "solo", "solo", "1.0", files=module))
    stand.settings["hold"] = ("torch", "torchvision", "solo")
    brought: dict[str, dict[str, dict[str, str]]] = {
        **{
            path: {"files": {path: EVIL}}
            for path in (
                f"torch/__init__{native}",
                "torch/__init__.abi3.so",
                "torch/__init__.pyc",
                f"torch/version{native}",
                "torch/version/__init__.py",
                "torch/extra.pyc",
                "torch/extra.py",
                "torch/lib/libc.so.6",
                f"torch/__pycache__/__init__.{tag}.pyc",
                f"torch/__pycache__/version.{tag}.opt-1.pyc",
                f"torch{native}",
                "torch.abi3.so",
                "torch.py",
                "torch.pyc",
                "solo/__init__.py",
                "solo/__init__.abi3.so",
                f"solo{native}",
                "solo.abi3.so",
                f"__pycache__/solo.{tag}.pyc",
                "spread/__init__.py",
                "spread.py",
                "spread/part.py",
                "spread/part/more.py",
            )
        },
        "an entry point of the hold": {
            "files": {f"torch-{TORCH}.dist-info/entry_points.txt": "[torch.backends]\nx = evil:x\n"}
        },
        "other metadata of the hold": {
            "data": {f"{below}/torch-9.9.dist-info/METADATA": "Name: torch\nVersion: 9.9\n"}
        },
        "through the data folder": {"data": {f"{below}/torch/__init__.abi3.so": EVIL}},
        "beside scripts": {"raw_scripts": {"torch.py": EVIL}},
        "beside scripts, as a package": {"data": {"bin/torch/__init__.py": EVIL}},
    }
    names = {f"evil-{number}": attack for number, attack in enumerate(brought)}
    for name, attack in names.items():
        own = {f"{name.replace('-', '_')}.py": ""}
        given = {"files": own, **brought[attack]}
        stand.index.add(make_wheel(tmp_path, name, "1.0", **given))
    hidden = make_wheel(tmp_path, "unlisted", "1.0")
    with zipfile.ZipFile(hidden, "a") as wheel:  # its RECORD says nothing of this one
        wheel.writestr("torch/__init__.abi3.so", EVIL)
    stand.index.add(hidden)
    names["unlisted"] = "a file that RECORD does not list"
    before = stand.fingerprint()
    stand.project.write([*names, *BESIDE])

    outcome = stand.reconcile()

    failed = failed_names(outcome)
    for name, attack in names.items():
        left_out = failed.get(name) in ("HoldConflict", "Unusable")
        attacks.tried(
            attack, refused=left_out and name not in stand.packages(), found=failed.get(name)
        )
    assert stand.packages() == {**BASE, "solo": "1.0"}
    stand.assert_untouched(before)


def test_a_spelling_that_the_file_system_takes_for_the_same_is_the_same(
    stand: Stand, tmp_path: Path, attacks: Attacks
) -> None:
    """Names that lead to the same file, as where case is ignored (ext4 with casefold, for one)."""
    site = site_packages(stand.venv)
    (site / "Torch").symlink_to("torch")
    (site / "TorchVision").symlink_to("torchvision")
    names = {
        "changed": {"Torch/version.py": EVIL},
        "added": {"Torch/more.py": EVIL},
        "whole": {"TorchVision/__init__.py": EVIL, "TorchVision/_C.so": EVIL},
    }
    for name, files in names.items():
        stand.index.add(make_wheel(tmp_path, name, "1.0", files=files))
    before = stand.fingerprint()
    stand.project.write([*names, *BESIDE])

    failed = failed_names(stand.reconcile())

    for name in names:
        attacks.tried(name, refused=failed.get(name) == "HoldConflict", found=failed.get(name))
    stand.assert_untouched(before)


def test_packages_that_share_a_namespace_with_a_hold_are_installed(
    stand: Stand, tmp_path: Path
) -> None:
    """`nvidia`: with an empty `__init__.py` up to CUDA 12, without one since."""
    held = {
        "nvidia-cublas-cu12": {"nvidia/__init__.py": "", "nvidia/cublas/__init__.py": "",
                               "nvidia/cublas/lib/libcublas.so.12": "blas"},
        "nvidia-cufft": {"cuda/cu13/lib/libcufft.so.12": "fft", "cuda/fft/__init__.py": "x = 1\n"},
    }  # fmt: skip
    fresh = {
        "dali": {"nvidia/__init__.py": "", "nvidia/dali/__init__.py": "", "nvidia/nvjpeg.py": ""},
        "bare": {"nvidia/bare/__init__.py": "x = 1\n"},
        "cusparse": {"cuda/cu13/lib/libcusparse.so.12": "sparse", "cuda/sparse.py": "x = 1\n"},
        "old-style": {"cuda/__init__.py": "# shared\n", "cuda/old/__init__.py": "x = 1\n"},
        "torch-extension": {"torch_extension/__init__.py": "x = 1\n", "torch_extension_C.so": "c"},
        "torch-stubs": {"torch-stubs/__init__.pyi": ""},
    }
    for name, files in held.items():
        install(stand.venv, make_wheel(tmp_path, name, "1.0", files=files))
    for name, files in fresh.items():
        stand.index.add(make_wheel(tmp_path, name, "1.0", files=files))
    stand.settings["hold"] = ("torch", "torchvision", "nvidia-*")
    before = stand.fingerprint()
    stand.project.write([*fresh, *BESIDE])

    outcome = stand.reconcile()

    assert failed_names(outcome) == {}
    assert fresh.keys() <= stand.packages().keys()
    stand.assert_untouched(before)
