"""A wheel whose metadata stopped the service: it costs its own package, also after a restart."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.e2e.asking import in_sync_with
from tests.support.attacks import Attacks
from tests.support.environments import make_venv, site_packages, snapshot
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.service import ServiceProcess
from tests.support.wheels import make_wheel

DIGITS = "1" * 60_000


def test_a_wheel_with_60000_digits_stops_neither_its_environment_nor_another(
    tmp_path: Path,
    small: PackageIndex,
    services: Callable[..., ServiceProcess],
    attacks: Attacks,
) -> None:
    bomb = make_wheel(tmp_path, "bomb", "1.0", requires=[f"alpha>={DIGITS}"])
    small.add(bomb)
    projects = {name: Project(tmp_path / name, small.url) for name in ("hit", "other")}
    projects["hit"].write(["bomb", "beta"])
    projects["other"].write(["alpha"])
    make_venv(projects["hit"].venv)
    shutil.unpack_archive(bomb, site_packages(projects["hit"].venv), "zip")  # uv refuses it
    process = services(
        {
            name: {"pyproject": str(project.path), "debounce": "50ms", "interval": "1h"}
            for name, project in projects.items()
        }
    )

    for moment in ("installed", "after a restart"):
        process.start()
        row = process.wait_for_phase("Degraded", name="hit")
        attacks.tried(
            f"{moment}, its own environment",
            refused="beta" in snapshot(projects["hit"].venv),
            found=row["packages"],
        )
        process.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]), name="other")
        (bad,) = [p for p in row["packages"] if p["name"] == "bomb"]
        attacks.tried(
            f"{moment}, plainly",
            refused=bad["status"] == "failed" and len(bad["message"]) < 2000,
            found=(len(bad["message"]), bad["message"][:500]),
        )
        assert process.stop() == 0
