"""No test falls out of every run: an ordinary one leaves out only what `.ci/thorough` can run."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def markers(pytestconfig: pytest.Config) -> list[str]:
    """The project's own markers; with --strict-markers no test can have another."""
    lines = (ROOT / "pyproject.toml").read_text().partition("\nmarkers = [\n")[2].partition("\n]")
    return re.findall(r'^    "(\w+):', lines[0], flags=re.MULTILINE)


def test_an_ordinary_run_leaves_out_the_markers_and_nothing_else(
    markers: list[str], pytestconfig: pytest.Config
) -> None:
    addopts = pytestconfig.getini("addopts")
    assert markers
    assert addopts[addopts.index("-m") + 1] == " and ".join(f"not {name}" for name in markers)
    assert "--strict-markers" in addopts


def test_ci_thorough_runs_what_has_the_marker(markers: list[str], tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    script = Path(shutil.copy(ROOT / ".ci/thorough", tmp_path / ".ci"))
    uv = tmp_path / ".uv/bin/uv"
    uv.parent.mkdir(parents=True)
    uv.write_text('#!/bin/sh\necho "$CI $*"\n')
    uv.chmod(0o755)

    def said(*arguments: str, **variables: str) -> str:
        return subprocess.run(
            [script, *arguments], capture_output=True, text=True, check=True, timeout=60,
            env={"PATH": os.defpath, **variables},
        ).stdout  # fmt: skip

    assert said() == "true run pytest -m thorough\n"
    for name in markers:
        ran = said(name, "-rP", RECONCILER_TEST_CORPUS="folder")
        assert ran == f"true run pytest -m {name} -rP\n"
    with pytest.raises(subprocess.CalledProcessError):
        said("corpus")


def test_the_page_and_the_script_name_every_marker(markers: list[str]) -> None:
    for file in ("docs/architecture.md", ".ci/thorough"):
        text = (ROOT / file).read_text()
        assert [name for name in markers if not re.search(rf"\b{name}\b", text)] == [], file


@pytest.mark.xdist_group("source")
def test_tests_of_a_group_stay_with_one_worker(request: pytest.FixtureRequest) -> None:
    """pytest-xdist goes by the end of the name; where that is missing, it says nothing."""
    on_a_worker = hasattr(request.config, "workerinput")
    assert request.node.nodeid.endswith("@source") == on_a_worker
