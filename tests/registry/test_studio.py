"""The main job on real input: the example's 36 requirements against the real registry.

Run them with `.ci/thorough registry`; it downloads about 250 MB once for each run.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.environments import (
    FileState,
    assert_whole,
    install,
    make_venv,
    pythons,
    run_python,
    snapshot,
    strays,
    tree_fingerprint,
    uninstall,
)
from tests.support.projects import Project
from tests.support.service import ServiceFactory, ServiceProcess

EXAMPLE = Path(__file__).parents[2] / "examples/studio/pyproject.toml"
HELD = ("torch", "torchvision", "pytorch-triton-rocm")

pytestmark = pytest.mark.registry


@pytest.fixture
def studio(project: Project, gpu_wheels: list[Path]) -> Project:
    """The example, with an environment that holds nothing but the GPU build."""
    project.write_text(EXAMPLE.read_text())
    make_venv(project.venv, "3.11" if "3.11" in pythons() else None)
    install(project.venv, *gpu_wheels)
    return project


def held_files(venv: Path) -> dict[str, FileState]:
    """Return inode and SHA-256 of every file of the GPU build."""
    return {path: state for name in HELD for path, state in tree_fingerprint(venv, name).items()}


def after(service: ServiceProcess, act: Callable[[], object]) -> dict[str, Any]:
    """Act, and return the environment's status once a later pass has brought it in sync."""
    before = service.environment()["last_pass"]["id"]
    act()
    return service.wait_for_environment(
        lambda row: row["last_pass"]["id"] > before and row["phase"] == "InSync", timeout=300
    )


def edit(project: Project, old: str, new: str) -> None:
    """Replace text in the example, which must be there."""
    text = project.path.read_text()
    assert text.count(old) == 1, old
    project.write_text(text.replace(old, new))


def test_studio_from_empty_to_in_sync_and_through_a_day_of_edits(
    studio: Project, service: ServiceFactory
) -> None:
    held = held_files(studio.venv)
    process = service(until="/livez", interval="1h")

    # Empty: everything comes in one pass, around the GPU build.
    row = process.wait_for_phase("InSync", timeout=300)
    results = [record["result"] for record in process.events("pass.finished")]
    # Our own exchange is a reason to look again, and there is nothing to do.
    assert (results[0], {*results[1:]} - {"unchanged"}) == ("changed", set())
    assert {change["action"] for change in row["last_pass"]["changes"]} == {"install"}
    assert row["atomic"] is True
    assert row["problem"] is None
    declared = [package for package in row["packages"] if package["required_by"] is None]
    assert len(declared) == 36
    assert all(package["ok"] for package in row["packages"])
    assert {row["name"] for row in row["packages"] if row["status"] == "held"} >= {*HELD[:2]}
    assert {hold["name"]: hold["intact"] for hold in row["holds"]} == dict.fromkeys(HELD, True)
    assert snapshot(studio.venv)["numpy"].startswith("1.26.")
    assert not [name for name in snapshot(studio.venv) if name.startswith("nvidia-")]
    run_python(studio.venv, "import numpy, pandas, scipy, cv2, fastapi, sqlalchemy, PIL")
    assert held_files(studio.venv) == held

    # The GPU block comes from a process of its own, after the pass.
    row = process.wait_for_environment(lambda row: row["gpu"])
    assert (row["gpu"]["available"], row["gpu"]["backend"]) == (True, "rocm")
    assert row["gpu"]["name"] == "Radeon Instinct MI25"

    # Somebody removes a package by hand.
    row = after(process, lambda: uninstall(studio.venv, "einops"))
    assert row["last_pass"]["trigger"] == "environment"
    assert [change["name"] for change in row["last_pass"]["changes"]] == ["einops"]
    assert "einops" in snapshot(studio.venv)

    # A line is added.
    row = after(process, lambda: edit(studio, '"einops>=0.8",', '"einops>=0.8",\n    "humanize",'))
    assert row["last_pass"]["trigger"] == "file"
    assert "humanize" in snapshot(studio.venv)

    # A bound is lowered, then raised again.
    row = after(process, lambda: edit(studio, '"rich>=13.7"', '"rich>=13.7,<14"'))
    assert snapshot(studio.venv)["rich"].startswith("13.")
    row = after(process, lambda: edit(studio, '"rich>=13.7,<14"', '"rich>=14"'))
    assert int(snapshot(studio.venv)["rich"].partition(".")[0]) >= 14

    # The file is broken: nothing changes, and the status says where; then it is mended.
    good = tree_fingerprint(studio.venv)
    edit(studio, '"rich>=14"', '"rich>=14')
    row = process.wait_for_environment(lambda row: row["problem"])
    text = studio.path.read_text().splitlines()
    assert text[row["problem"]["line"] - 1].strip() == '"rich>=14,'
    assert row["problem"]["file"] == str(studio.path)
    assert tree_fingerprint(studio.venv) == good
    edit(studio, '"rich>=14,', '"rich>=14", "more-itertools",')
    row = process.wait_for_environment(
        lambda row: (
            row["problem"] is None
            and row["phase"] == "InSync"
            and "more-itertools" in {package["name"] for package in row["packages"]}
        ),
        timeout=300,
    )
    assert "more-itertools" in snapshot(studio.venv)

    # The GPU build was never touched, and the environment is whole.
    assert held_files(studio.venv) == held
    assert_whole(studio.venv)
    assert strays(studio.venv) == set()
    assert process.stop() == 0
    assert process.noise() == []
