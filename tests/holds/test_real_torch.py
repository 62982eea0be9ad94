"""A hold on the real torch: kept, replaced together with triton, and restored.

`RECONCILER_TEST_TORCH` names an environment with a GPU build, whose files are linked; without it,
the wheel of torch 2.13.0 in a folder of `PIP_FIND_LINKS` is installed, which has no triton.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import typing_extensions
from packaging.utils import NormalizedName

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from reconciler.holds.monitor import HoldMonitor
from reconciler.passes.restore import restore
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import Hold
from reconciler.vault.copies import digest_of
from tests.support.environments import (
    install,
    run_python,
    site_packages,
    tree_fingerprint,
)
from tests.support.passes import Follower, locked
from tests.support.projects import Project
from tests.support.torch import fake_torch, fake_triton

WHEELS = [
    wheel
    for folder in os.environ.get("PIP_FIND_LINKS", "").split()
    for wheel in Path(folder).glob("torch-2.13.0*-cp3*.whl")
    if f"cp{sys.version_info.major}{sys.version_info.minor}-" in wheel.name
]
BUILT = os.environ.get("RECONCILER_TEST_TORCH")
REPLACED = ("torch", "triton")
pytestmark = [] if WHEELS and BUILT is None else [pytest.mark.real_torch]
"""Where the wheel is there, as on the machines of CI, every run has it."""
CODE = "import warnings; warnings.simplefilter('ignore'); import torch; print(torch.ones(2).sum())"


@pytest.fixture
def project(project: Project, tmp_path: Path) -> Project:
    """With the real torch, and a triton."""
    subprocess.run([sys.executable, "-m", "venv", str(project.venv)], check=True)
    if BUILT is not None:
        site = site_packages(project.venv)
        shutil.rmtree(site)
        shutil.copytree(site_packages(Path(BUILT)), site, symlinks=True, copy_function=os.link)
        for path in (*Path(BUILT).glob("bin/*"), *Path(BUILT).glob("share/**/*")):
            there = project.venv / path.relative_to(BUILT)
            if path.is_file() and not there.exists():
                there.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, there)
    else:
        assert WHEELS, "the real torch 2.13.0 is in no folder of PIP_FIND_LINKS"
        install(project.venv, WHEELS[0], fake_triton(tmp_path, "triton", "3.8.0"))
        # All that `import torch` needs of what torch requires.
        shutil.copy(typing_extensions.__file__, site_packages(project.venv))
    project.write([])
    return project


def environment_of(project: Project) -> Environment:
    config = EnvironmentConfig(
        name="studio", pyproject=project.path, python=project.venv / "bin" / "python",
        hold=("torch",) if BUILT is not None else REPLACED,
    )  # fmt: skip
    return Environment(config, dict(os.environ))


def keep(project: Project) -> dict[str, Hold]:
    environment = environment_of(project)
    snapshot = environment.look(audit_files=True)
    with locked(environment) as lock:
        holds = HoldMonitor(environment).keep(snapshot, lock, compare=True)
    return {hold.name: hold for hold in holds}


def drift(project: Project) -> set[str]:
    return {row.name for row in environment_of(project).look(audit_files=True).drift.drifted}


def contents(venv: Path, names: Iterator[str]) -> dict[str, str]:
    return {
        path: state.sha256 for name in names for path, state in tree_fingerprint(venv, name).items()
    }


@contextmanager
def offline() -> Iterator[None]:
    """No proxy, no index: what asks for one fails at once."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "PIP_INDEX_URL", "HTTPS_PROXY"):
            patch.setenv(variable, "http://127.0.0.1:9/")
        yield


def seconds_to_hash_and_link(store: Path, scratch: Path) -> float:
    """What cannot be saved, in processor time: each file that was replaced is read, and linked."""
    files = [path for name in REPLACED for path in store.glob(f"packages/{name}/files/*")]
    scratch.mkdir()
    started = time.process_time()
    with ThreadPoolExecutor(4) as pool:
        for number, (path, _) in enumerate(zip(files, pool.map(digest_of, files), strict=True)):
            os.link(path, scratch / str(number))
    return time.process_time() - started


def test_the_real_torch_is_kept_and_comes_back_with_its_triton(
    project: Project, tmp_path: Path
) -> None:
    venv, store = project.venv, project.directory / ".reconciler-vault"
    holds = keep(project)
    assert set(holds) >= {*REPLACED}
    assert all(hold.intact and hold.vaulted for hold in holds.values())
    before, drifted = contents(venv, iter(holds)), drift(project)
    assert BUILT is None or drifted == set(), "the wheel alone lacks what it requires"
    hashed = min(seconds_to_hash_and_link(store, tmp_path / f"links{n}") for n in range(2))
    for content in (
        p for p in store.glob("packages/*/files/*") if p.parents[1].name not in REPLACED
    ):
        content.unlink()
        content.touch()  # whoever reads it will see that it is not what was copied

    other = fake_torch(tmp_path, "2.13.1+cu130"), fake_triton(tmp_path, "triton", "3.4.0")
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--force-reinstall", *map(str, other)], check=True)
    assert run_python(venv, "import torch; print(torch.__version__)") == "2.13.1+cu130"
    broken = keep(project)
    assert {name for name, hold in broken.items() if not hold.intact} == {*REPLACED}

    with offline():
        running = Pass(environment_of(project), Cancellation(), Follower())
        started = time.process_time()  # others may use the machine
        outcome = restore(running, NormalizedName("torch"))
        taken = time.process_time() - started
        if BUILT is None:  # then it is a hold of its own
            restore(running, NormalizedName("triton"))

    assert {change.name for change in outcome.changes} <= {*REPLACED}
    print(f"hashed and linked in {hashed:.2f} s, restored in {taken:.2f} s: {running.steps}")
    assert contents(venv, iter(holds)) == before
    assert run_python(venv, CODE) == "tensor(2.)"
    assert drift(project) == drifted
    if BUILT is not None:  # of the wheel's 190 MB, the rest of a pass is half
        assert taken <= 1.5 * hashed
