"""Which entries of [tool.uv.sources] can be used: uv itself is asked about each."""

import subprocess
from pathlib import Path

import pytest

from reconciler.state.desired import parse
from reconciler.state.uv_workspace import ProjectContext
from tests.state.markers import LINUX_39
from tests.support.environments import uv_binary
from tests.support.wheels import make_sdist, make_wheel, unpack

ENTRIES = """
    {}
    3
    "x"
    {foo=1}
    {index="main"}
    {index="main",foo=1}
    {index="main",editable=true}
    {index="main",rev="x"}
    {index="main",subdirectory="x"}
    {index="main",url="URL"}
    {index="main",extra="x"}
    {index="main",extra="x",group="y"}
    {index="main",extra=3}
    {index="main",marker="nope"}
    {index="main",marker="sys_platform == 'linux'"}
    {index="main",marker=3}
    [{index="main"},{index="main",extra="x"}]
    {index=3}
    {index="zz"}
    {index="Main"}
    {path="folder"}
    {path="folder",foo=1}
    {path="folder",url="URL"}
    {path="folder",index="main"}
    {path="folder",workspace=true}
    {path="folder",rev="x"}
    {path="folder",subdirectory="x"}
    {path="folder",editable=true}
    {path="folder",editable="yes"}
    {path="folder",package=false}
    {path="folder",package=1}
    {path=3}
    {path="nowhere"}
    {url="URL"}
    {url="URL",subdirectory="x"}
    {url="URL",editable=true}
    {url="URL",rev="x"}
    {url="nourl"}
    {url="/abs/x.whl"}
    {git="http://127.0.0.1:9/x"}
    {git="http://127.0.0.1:9/x",editable=true}
    {git="http://127.0.0.1:9/x",rev="a",tag="b"}
    {git="http://127.0.0.1:9/x",index="main"}
    {git="http://127.0.0.1:9/x",rev=3}
    {git="/abs/x"}
    {git="git@github.com:a/b.git"}
    {workspace=true}
    {workspace=true,editable=true}
    {workspace=true,rev="x"}
    {workspace=false}
    {workspace=1}
    {workspace="../nowhere"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_wheel(tmp_path / "index", "gamma", "9.0")
    unpack(make_sdist(tmp_path, "gamma", "7.0")).rename(tmp_path / "folder")
    return tmp_path


def test_an_entry_is_refused_exactly_if_uv_refuses_it(folder: Path, venv: Path):
    file, wrong = folder / "pyproject.toml", {}
    for line in ENTRIES.split("\n"):
        entry = line.strip()
        if not entry:
            continue
        file.write_text(
            '[project]\nname = "p"\nversion = "0"\ndependencies = ["gamma"]\n'
            f"[project.optional-dependencies]\nx = ['gamma']\n[tool.uv.sources]\ngamma = {entry}\n"
            '[[tool.uv.index]]\nname = "main"\nurl = "index"\nformat = "flat"\ndefault = true\n'
            .replace("URL", "http://127.0.0.1:9/gamma-1.0-py3-none-any.whl")
        )  # fmt: skip
        context = ProjectContext(exists=Path.exists)
        [declared] = parse(file, file.read_bytes(), LINUX_39, context=context).requirements
        refused = refused_by_uv(folder, venv)
        if (declared.unusable is not None) is not refused:
            wrong[entry] = declared.unusable, refused
    assert wrong == {}


def refused_by_uv(folder: Path, venv: Path) -> bool:
    """Whether uv finds fault with the file, not with the place that it leads to."""
    command = [uv_binary(), "pip", "install", "--dry-run", "--offline", "-p", venv, "-r",
               "pyproject.toml"]  # fmt: skip
    said = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    ).stderr
    return "Failed to parse" in said or "Distribution not found at" in said
