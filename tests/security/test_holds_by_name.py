"""Packages and builds that leave a held package whole by name only: others' code in its place."""

import marshal
import shutil
import zipfile
from collections.abc import Iterable
from contextlib import closing
from importlib.util import MAGIC_NUMBER
from itertools import chain
from pathlib import Path

import pytest
from packaging.utils import NormalizedName

from reconciler.config import Build
from reconciler.environment.environment import Environment
from reconciler.holds.held_bytes import contents
from reconciler.holds.monitor import HoldMonitor
from reconciler.holds.sampling import Sampling
from reconciler.journal.history import Journal
from reconciler.passes.reconcile import reconcile
from reconciler.passes.runner import PassRunner, Recorded
from reconciler.processes import Cancellation, Cancelled
from reconciler.status import Reason
from reconciler.vault.breaks import Break
from tests.holds import conftest as holds
from tests.holds.stand import BASE, BESIDE, Stand, failed_names
from tests.holds.test_vault import accept, keep, put_back
from tests.support.attacks import Attacks
from tests.support.environments import install, run_python, site_packages
from tests.support.passes import Follower, locked
from tests.support.torch import TORCH
from tests.support.wheels import make_sdist, make_wheel, unpack

stand, universe, stack, leftover = holds.stand, holds.universe, holds.stack, holds.leftover
mode = holds.mode

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
        left_out = failed.get(name) in ("HoldConflict", "LeadsOut")
        attacks.tried(name, refused=left_out, found=failed.get(name))
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


EDIT = """\
import mmap, os
def edit(path):
    before = os.stat(path)
    if {how!r} == "mapped":
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
            view[0:1] = b"#"
    else:
        with open(path, "r+b") as file:
            file.write(b"#")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
"""


def _project_that_edits(
    folder: Path, name: str, target: Path, *, hook: str, how: str = "written", fails: bool = False
) -> Path:
    """A project whose build backend edits a file and sets its time back."""
    project = unpack(make_sdist(folder, name, "1.0", static_metadata=False, fails=fails))
    backend = project / "backend.py"
    lines = backend.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.startswith(f"def {hook}(")) + 1
    call = f"    edit({str(target)!r})\n"
    backend.write_text(EDIT.format(how=how) + "".join([*lines[:at], call, *lines[at:]]))
    return project


def _run(stand: Stand, monitor: HoldMonitor, environment: Environment) -> Recorded:
    with closing(Journal(stand.home / "journal")) as journal:
        return PassRunner(environment, journal, monitor).run(
            lambda running: reconcile(running, audit=True), trigger="manual", pass_id=None,
            cancel=Cancellation(), listener=Follower(),
        )  # fmt: skip


@pytest.fixture
def unshared(stand: Stand) -> Stand:
    """With files of its own: edited in place, those of uv's cache would reach the next test."""
    for path in site_packages(stand.venv).glob("torch*/**/*"):
        if path.is_file():
            copy = path.with_name("copy")
            shutil.copy2(path, copy)
            copy.rename(path)
    return stand


@pytest.mark.usefixtures("mode", "unshared")
def test_an_edit_in_place_with_the_old_time_is_noticed(
    stand: Stand, tmp_path: Path, attacks: Attacks
) -> None:
    """Each build, and each verify command, edits another file of torch by its absolute path.

    As if builds could not be kept from it (`test_builds`).
    """
    stand.settings["build"] = Build.UNCONFINED
    site = site_packages(stand.venv)
    part = "torch/include/ATen/part_000"
    tries = {
        "metadata": {"hook": "prepare_metadata_for_build_wheel"},
        "mapped": {"hook": "build_wheel", "how": "mapped"},
        "failing": {"hook": "build_wheel", "fails": True},
        "unisolated": {"hook": "build_wheel"},
        "verify": {},
    }
    for number, (name, options) in enumerate(tries.items()):
        keep(stand)
        target = site / f"{part}/op_{number:05}.h"
        before = target.stat()
        extra = ""
        stand.settings.pop("verify", None)
        if options:
            project = _project_that_edits(tmp_path / name, name, target, **options)
            extra = '[tool.uv]\nno-build-isolation-package = ["unisolated"]\n'
            extra += f'[tool.uv.sources]\n{name} = {{path = "{project}"}}\n'
        else:
            program = tmp_path / "verify.py"
            program.write_text(EDIT.format(how="written") + f"edit({str(target)!r})\n")
            stand.settings["verify"] = (("python", str(program)),)
        stand.project.write([*([name] if options else ["packaging"]), *BESIDE], extra=extra)
        environment = stand.environment()
        monitor = HoldMonitor(environment)

        recorded = _run(stand, monitor, environment)

        attacked = target.read_bytes()[:1] == b"#"
        assert attacked, f"{name}: the attack itself does not work"
        assert target.stat().st_ino == before.st_ino
        trouble = recorded.trouble
        refused = trouble is not None and trouble.reason is Reason.HOLD_VIOLATION
        attacks.tried(f"{name}: the pass", refused=refused and target.name in trouble.message,
                      found=trouble)  # fmt: skip
        attacks.tried(f"{name}: nothing went live", refused=name not in stand.packages())
        held = keep(stand)["torch"]  # as seen by another process
        attacks.tried(f"{name}: called intact", refused=not held.intact, found=held.message)
        accept(stand, "torch")


@pytest.mark.usefixtures("unshared")
def test_the_audit_reads_all_held_files_in_turn(
    stand: Stand, tmp_path: Path, attacks: Attacks
) -> None:
    """An edit between two passes, its time set back: found within as many audits as it takes."""
    keep(stand)
    environment = stand.environment()
    snapshot = environment.look(audit_files=True)
    size = sum(Path(path).stat().st_size for path, *_ in contents(snapshot))
    sampling = Sampling(budget=size // 5, start=lambda: 0.7)
    edit: dict[str, object] = {}
    exec(EDIT.format(how="written"), edit)
    for target in ("torch/__init__.py", "torch/lib/libtorch.so", "torchvision/__init__.py"):
        path = site_packages(stand.venv) / target
        edit["edit"](str(path))
        assert keep(stand)[target.partition("/")[0]].intact, "else this test shows nothing"

        found = [sampling.take(snapshot, Cancellation()) for _ in range(11)]

        attacks.tried(
            f"{target}: found", refused=str(path) in chain.from_iterable(found), found=found
        )
        attacks.tried(f"{target}: told", refused=not keep(stand)[target.partition("/")[0]].intact)
        accept(stand, "torch")


@pytest.mark.usefixtures("unshared")
def test_an_audit_reads_no_more_than_its_budget_and_ends_when_asked(stand: Stand) -> None:
    keep(stand)
    snapshot = stand.environment().look(audit_files=True)
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(Cancelled):
        Sampling().take(snapshot, cancel)
    path = site_packages(stand.venv) / "torch/lib/libtorch.so"
    edit: dict[str, object] = {}
    exec(EDIT.format(how="written"), edit)
    edit["edit"](str(path))
    first = [path for path, *_ in contents(snapshot)].index(str(path))
    sampling = Sampling(
        path.stat().st_size // 2, start=lambda: first / len(list(contents(snapshot))) + 1e-9
    )
    taken = [bool(sampling.take(snapshot, Cancellation())) for _ in range(3)]
    assert taken == [False, False, True]


@pytest.mark.usefixtures("mode")
def test_what_shadows_a_held_module_in_the_environment_is_found_and_removed(
    stand: Stand, attacks: Attacks
) -> None:
    """Put there after the copy was made; every file of torch is as it was."""
    stand.project.write(["torch", "torchvision", *BESIDE])
    assert keep(stand)["torch"].intact
    site = site_packages(stand.venv)
    run_python(stand.venv, "import torch.cuda, torchvision")  # ordinary bytecode is fine
    assert keep(stand)["torch"].intact
    native, *_ = _suffixes(stand)
    tag = f"cpython-{site.parent.name.removeprefix('python').replace('.', '')}"
    places = {
        site / f"torch/__init__{native}": "an extension module beside __init__.py",
        site / "torch/version.abi3.so": "one beside a module",
        site / "torch/version/__init__.py": "a package over a module",
        site / "torch/more.pyc": "bytecode without a source",
        site / f"torch/__pycache__/version.{tag}.pyc": "unchecked bytecode",
        site / "torch.py": "a module beside the package",
        stand.venv / "bin/torch.py": "a module beside the scripts",
    }
    before = stand.fingerprint()

    _put_in(places)
    found = _breaks_of_torch(stand).added
    for path, attack in places.items():
        there = str(path.relative_to(stand.venv))
        attacks.tried(f"{attack}: found", refused=there in found, found=found)
    attacks.tried("called intact", refused=not keep(stand)["torch"].intact)
    accept(stand, "torch")
    attacks.tried("accepted as it is", refused=keep(stand)["torch"].intact)
    for path in places:
        path.unlink()
    attacks.tried("what was accepted is gone", refused=len(_breaks_of_torch(stand).files) == 7)
    accept(stand, "torch")
    assert keep(stand)["torch"].intact

    _put_in(places)
    put_back(stand, "torch")
    for path, attack in places.items():
        attacks.tried(f"{attack}: removed by a restore", refused=not path.exists())
    attacks.tried("whole again", refused=keep(stand)["torch"].intact)
    assert stand.fingerprint() == before


def _put_in(places: Iterable[Path]) -> None:
    unchecked = MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(1)
    for path in places:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(unchecked)


def _breaks_of_torch(stand: Stand) -> Break:
    environment = stand.environment()
    monitor = HoldMonitor(environment)
    with locked(environment) as lock:
        monitor.keep(environment.look(audit_files=True), lock, compare=True)
    return monitor.breaks[NormalizedName("torch")]
