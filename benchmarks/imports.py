"""What it costs to import what a change could break: with and without `proof`."""

import os
import statistics
from pathlib import Path

from benchmarks.measure import Row, Side, in_turn
from benchmarks.scene import Scene, reconcile
from reconciler.config import EnvironmentConfig, Proof
from reconciler.environment.environment import Environment
from tests.support.environments import install, make_venv
from tests.support.index import PackageIndex
from tests.support.passes import FAST
from tests.support.projects import Project
from tests.support.wheels import make_wheel

_AT_MOST = 0.5


def upgrading(scene: Scene, rounds: int) -> list[Row]:
    """A pass that upgrades a pure package with two dependents."""
    proved, unproved = Side("proof"), Side("no proof")
    with PackageIndex() as index:
        old, new = _wheels(scene.work / "wheels")
        index.add(*old, new)

        def upgrade(side: Side, proof: Proof) -> None:
            folder = scene.fresh(side.name.replace(" ", "-"))
            project = Project(folder / "project", index.url)
            project.directory.mkdir()
            install(make_venv(project.venv), *old)
            project.write(["lib>=2", "user-one", "user-two"])
            config = EnvironmentConfig(
                name="studio", pyproject=project.path, python=project.venv / "bin" / "python",
                proof=proof,
            )  # fmt: skip
            environment = Environment(config, {**_environ(), **FAST})
            side.run(lambda: reconcile(environment, audit=True))

        in_turn(
            rounds, lambda: upgrade(proved, Proof.CHANGED), lambda: upgrade(unproved, Proof.OFF)
        )
    extra = proved.median - unproved.median
    cpu = statistics.median(proved.cpu) - statistics.median(unproved.cpu)
    what = "imports before a pure package with two dependents is upgraded"
    return [
        Row(what, f"{extra:.2f} s more (of {proved.median:.2f} s; processor time {cpu:.2f} s)",
            f"at most {_AT_MOST} s", extra <= _AT_MOST),
    ]  # fmt: skip


def _environ() -> dict[str, str]:
    return dict(os.environ)


def _wheels(folder: Path) -> tuple[list[Path], Path]:
    folder.mkdir(exist_ok=True)
    old = [make_wheel(folder, "lib", "1.0")]
    for name in ("user-one", "user-two"):
        module = name.replace("-", "_")
        files = {f"{module}.py": "import lib, json, logging\n"}
        old.append(make_wheel(folder, name, "1.0", requires=["lib"], files=files))
    return old, make_wheel(folder, "lib", "2.0")
