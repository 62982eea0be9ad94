"""A folder shaped like an environment, and ways to clone it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.processes import Cancellation
from reconciler.state.installed import Installed, InstalledReader
from reconciler.trees.census import Census
from reconciler.trees.stage import clone

RECORD = ("pkg/__init__.py", "pkg/deep/er/m.py", "link.py", "../../../bin/tool")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder shaped like an environment, with everything odd in it."""
    tree = tmp_path / "env"
    site = tree / "lib" / "python3.9" / "site-packages"
    (site / "pkg" / "deep" / "er").mkdir(parents=True)
    (site / "pkg" / "__init__.py").write_text("1\n")
    (site / "pkg" / "deep" / "er" / "m.py").write_text("2\n")
    (site / "pkg" / "__pycache__").mkdir()
    (site / "pkg" / "__pycache__" / "m.pyc").write_text("3\n")
    info = site / "pkg-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\n\n")
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in RECORD))
    (site / "empty").mkdir()
    (site / "link.py").symlink_to("pkg/__init__.py")
    (site / "dangling").symlink_to("nowhere")
    (tree / "bin").mkdir()
    (tree / "bin" / "tool").write_text("#!python\n")
    (tree / "bin" / "tool").chmod(0o750)
    (tree / "bin" / "python").symlink_to(sys.executable)
    (tree / "lib64").symlink_to("lib")
    (tree / "pyvenv.cfg").write_text("home = /usr\n")
    (tree / ".lock").touch()
    (tree / ".gitignore").write_text("*")
    (tree / ".reconciler" / "generations").mkdir(parents=True)
    return tree


@pytest.fixture
def packages(tree: Path) -> Installed:
    """What is installed in the tree, read before anything changes there."""
    return InstalledReader([site_of(tree)]).read()


@pytest.fixture
def cloned() -> Callable[[Path], tuple[Path, Census]]:
    """Clone a tree: the stage, and its census."""

    def run(tree: Path) -> tuple[Path, Census]:
        stage = tree / ".reconciler" / "stage"
        stage.mkdir()
        return stage, clone(tree, stage, Cancellation())

    return run


def site_of(tree: Path) -> Path:
    """Its site-packages."""
    return tree / "lib" / "python3.9" / "site-packages"
