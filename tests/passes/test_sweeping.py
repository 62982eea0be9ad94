"""A pass ends without removing trees; they are removed after it, by whoever ran it."""

import os

from reconciler.passes.reconcile import reconcile
from reconciler.passes.running import Pass
from reconciler.passes.sweeping import sweep
from reconciler.processes import Cancellation
from reconciler.status import Result
from reconciler.trees import generations
from tests.support.environments import assert_whole, snapshot
from tests.support.passes import Follower, environment_for, locked
from tests.support.processes import run_cli
from tests.support.wheels import make_wheel

NOBODY = 65534


def test_what_a_pass_discards_is_removed_after_it(project, venv, index, tmp_path):
    environment = environment_for(project, keep_generations=1)
    for version in ("1.0", "2.0", "3.0"):
        index.add(make_wheel(tmp_path, "thing", version))
        project.write([f"thing=={version}"])
        running = Pass(environment, Cancellation(), Follower())
        assert reconcile(running, audit=True).result is Result.CHANGED
    workspace = environment.workspace
    assert [g.number for g in generations.kept(workspace)] == [2]
    left = workspace.discarded()
    names = [folder.name for folder in left]
    assert {"gone-0", "gone-1"} <= set(names), "the oldest trees are out of the way"
    assert len([name for name in names if name.startswith("gone-work-")]) == 3
    (workspace.root / "0").mkdir()
    workspace.discard(workspace.root / "0")
    assert len(workspace.discarded()) == len(left) + 1, "a name may come again"
    left = workspace.discarded()
    with locked(environment):  # a pass that runs meanwhile does not mind, and needs none of it
        assert workspace.clean_up() == 0
        assert workspace.discarded() == left

    if os.geteuid() == 0:
        os.chown(workspace.root, NOBODY, -1)
        sweep(environment)
        assert workspace.discarded() == left, "root removes nothing where others may write"
        os.chown(workspace.root, 0, -1)
    sweep(environment)
    assert workspace.discarded() == []

    assert snapshot(venv) == {"thing": "3.0"}
    assert_whole(venv)
    assert [g.number for g in generations.kept(workspace)] == [2]


def test_a_command_removes_what_an_earlier_one_was_killed_before(project, venv, tmp_path):
    root = environment_for(project).workspace.root
    (root / "gone-x" / "3" / "lib").mkdir(parents=True)
    (root / "gone-y").symlink_to(tmp_path)
    root.chmod(0o700)
    project.write([])
    for command in ("apply", "plan"):
        (root / "gone-z").mkdir()
        ran = run_cli(command, cwd=project.directory, env={"STATE_DIRECTORY": str(tmp_path / "s")})
        assert ran.returncode == 0, ran.stderr
        assert "ecovered" not in ran.stdout + ran.stderr, "nothing was interrupted"
        assert [p.name for p in root.iterdir() if p.name.startswith(("gone-", "work-"))] == []
    assert tmp_path.is_dir(), "a link is removed itself"
