"""Cloning a large environment by hard links, beside `cp -al`."""

import shutil
import subprocess

from benchmarks.measure import Row, Side, in_turn, ratio
from benchmarks.scene import Scene, files_in
from reconciler.processes import Cancellation
from reconciler.trees.stage import clone


def cloning(scene: Scene, rounds: int) -> list[Row]:
    """46,000 files; each clone is removed before the next one."""
    venv = scene.large / ".venv"
    target = scene.work / "clone"
    ours, theirs = Side("clone"), Side("cp -al")

    def by_us() -> None:
        target.mkdir()
        ours.run(lambda: clone(venv, target, Cancellation()))
        shutil.rmtree(target)

    def by_cp() -> None:
        command = ["cp", "-al", str(venv), str(target)]
        theirs.run(lambda: subprocess.run(command, check=True))
        shutil.rmtree(target)

    in_turn(rounds, by_us, by_cp)
    return [ratio(f"cloning {files_in(venv)} files", ours, theirs, None)]
