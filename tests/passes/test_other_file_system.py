"""Packages on another file system than their environment: every move is a copy, for real."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from packaging.utils import NormalizedName

from reconciler.holds.monitor import HoldMonitor
from reconciler.passes.prove import VerifyFailed
from reconciler.passes.restore import restore
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import Result
from tests.support.environments import (
    FileState,
    assert_whole,
    install,
    site_packages,
    snapshot,
    strays,
    tree_fingerprint,
)
from tests.support.index import PackageIndex
from tests.support.passes import Follower, environment_for, locked, reconcile
from tests.support.projects import Project
from tests.support.torch import fake_torch, gpu_stack
from tests.support.wheels import make_wheel

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


@pytest.fixture
def elsewhere(venv: Path) -> Iterator[Path]:
    """site-packages, on a file system of its own."""
    site = site_packages(venv)
    aside = site.with_name("aside")
    site.rename(aside)
    site.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", site], check=True)
    try:
        shutil.copytree(aside, site, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(aside)
        yield site
    finally:
        subprocess.run(["umount", "-l", site], check=True)


def contents(tree: Mapping[str, FileState]) -> dict[str, str]:
    return {path: state.sha256 for path, state in tree.items()}


def test_packages_on_another_file_system_are_changed_undone_and_restored(
    project: Project, venv: Path, index: PackageIndex, elsewhere: Path, tmp_path: Path
) -> None:
    files = {"thing/__init__.py": "", "thing/deep/a.py": "a = 1\n", "both.py": ""}
    index.add(make_wheel(tmp_path, "thing", "1.0", files=files, scripts={"say": "thing:main"}))
    index.add(make_wheel(tmp_path, "thing", "2.0", files={"thing.py": "", "new/b.py": ""}))
    install(venv, *gpu_stack(tmp_path / "gpu", files=3))
    torch = contents(tree_fingerprint(venv, "torch"))
    project.write(["thing==1.0"])
    environment = environment_for(project)
    outcome = reconcile(environment)
    assert (outcome.result, outcome.atomic) == (Result.CHANGED, False)
    assert snapshot(venv)["thing"] == "1.0"

    before = contents(tree_fingerprint(venv))
    project.write(["thing==2.0"])
    with pytest.raises(VerifyFailed):
        reconcile(environment_for(project, verify=(("false",),)))
    assert contents(tree_fingerprint(venv)) == before, "it was undone"
    assert_whole(venv)

    assert reconcile(environment).result is Result.CHANGED
    assert snapshot(venv)["thing"] == "2.0"
    assert not (elsewhere / "thing").exists()
    assert_whole(venv)
    assert strays(venv) == set()

    with locked(environment) as lock:
        HoldMonitor(environment).keep(environment.look(), lock, compare=True)
    install(venv, fake_torch(tmp_path, "2.8.0"))
    running = Pass(environment, Cancellation(), Follower())
    assert restore(running, NormalizedName("torch")).result is Result.CHANGED
    assert contents(tree_fingerprint(venv, "torch")) == torch
    assert_whole(venv)
