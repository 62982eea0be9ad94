"""A project with many extras: each requirement counts once, and little is asked to find a culprit.

uv is the real one; a script in front of it counts the runs.
"""

import json
import math
from pathlib import Path

import pytest

from reconciler.environment.environment import Environment
from reconciler.passes.outcome import Outcome
from reconciler.passes.reconcile import plan, reconcile
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from tests.support.environments import install, snapshot, uv_binary
from tests.support.passes import Follower, environment_for
from tests.support.projects import Project
from tests.support.world import World

NAMES = [f"package-{number:02}" for number in range(79)]
EXTRAS = 20


class Counted:
    """Runs passes of one environment, and counts the runs of uv."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.calls = folder / "calls"
        script = folder / "uv"
        script.write_text(f'#!/bin/sh\necho "$@" >> {self.calls}\nexec {uv_binary()} "$@"\n')
        script.chmod(0o755)
        known = environment_for(project, extras=("all",))
        self.environment = Environment(known.config, known.environ, script)
        self.lines: list[str] = []

    def run(self, work) -> tuple[Outcome, int, int]:
        """The outcome, the number of dry runs, and that of other runs."""
        self.calls.write_text("")
        follower = Follower()
        follower.line = self.lines.append
        running = Pass(self.environment, Cancellation(), follower)
        outcome = work(running)
        calls = self.calls.read_text().splitlines()
        dry = sum("--dry-run" in call for call in calls)
        return outcome, dry, sum("install" in call for call in calls) - dry


@pytest.fixture
def many(project, venv, index, tmp_path, gpu_wheels) -> Counted:
    """79 requirements through twenty extras, beside a held torch."""
    install(venv, *gpu_wheels)
    world = World(index, tmp_path / "world")
    for name in NAMES:
        world.wheel(name)
    return Counted(project, tmp_path)


def declare(project: Project, *impossible: str) -> None:
    """Every name in several of the extras; `all` has all extras, twice."""
    lists = {f"e{n}": [*NAMES[n::7], *NAMES[n::5], *impossible] for n in range(EXTRAS)}
    named = ",".join(lists)
    lists["all"] = [f"studio[{named}]", f"studio[{named}]", *impossible]
    extras = "\n".join(f"{name} = {json.dumps(listed)}" for name, listed in lists.items())
    project.write(["torch>=2"], extra=f"[project.optional-dependencies]\n{extras}\n")


def test_a_culprit_among_79_names_through_twenty_extras(many, project, venv):
    names = len(NAMES) + 1
    for impossible in (["gone>=2"], ["gone>=2", "package-07<1", "package-08>1"]):
        declare(project, *impossible)
        planned, dry, others = many.run(plan)
        assert dry <= 4 + 2 * len(impossible) * math.log2(names), "one of them is the plan itself"
        assert others == 0
        assert [row.name for row in planned.snapshot.drift.rows[1:]].count("package-07") == 1
        assert len(planned.snapshot.drift.rows) == names + 1
        failed = {f.requirement: f.origins for f in planned.failed}
        assert list(failed) == sorted(impossible)
        assert len(failed["gone>=2"]) == EXTRAS + 1
        assert "Looking for what cannot be installed: run 2 (at most 16)" in many.lines

    declare(project, "gone>=2")
    applied, dry, others = many.run(lambda running: reconcile(running, audit=True))
    assert set(NAMES) <= snapshot(venv).keys()
    assert [f.requirement for f in applied.failed] == ["gone>=2"]
    assert dry <= 5
    assert others <= 2
    assert many.run(lambda running: reconcile(running, audit=True))[1] <= 5
