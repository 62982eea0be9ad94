"""A pass that is ended, met by someone else, or refused by a verify command."""

import os
import shutil
import signal
import threading
import time

import pytest

from reconciler.files.trust import Insecure
from reconciler.passes.outcome import KeepsChanging
from reconciler.passes.prove import VerifyFailed
from reconciler.processes import Cancellation, Cancelled
from reconciler.status import Result
from tests.support.environments import (
    assert_whole,
    install,
    site_packages,
    snapshot,
    strays,
    tree_fingerprint,
    uninstall,
)
from tests.support.passes import Follower, environment_for, reconcile, start
from tests.support.wheels import make_wheel
from tests.support.world import World


@pytest.fixture
def world(index, tmp_path) -> World:
    return World(index, tmp_path / "world")


# Cancelling


@pytest.mark.parametrize("step", ["look", "plan", "install", "verify", "exchange"])
def test_a_pass_that_is_cancelled_at_any_step_leaves_the_old_tree(project, venv, world, step):
    world.wheel("a")
    install(venv, world.wheel("b"))
    project.write(["a", "b"])
    environment = environment_for(project)
    before = tree_fingerprint(venv)
    cancel = Cancellation()
    follower = Follower(lambda name: cancel.cancel() if name == step else None)
    with pytest.raises(Cancelled):
        reconcile(environment, cancel=cancel, follower=follower)
    assert tree_fingerprint(venv) == before
    assert follower.steps[-1] == step
    assert start(environment).result is Result.CHANGED
    leftover = {p.name for p in (venv / ".reconciler").iterdir()}
    assert not {n for n in leftover if n.startswith(("stage-", "work-", "intent"))}
    assert_whole(venv)


# Somebody else at work


@pytest.mark.skipif(os.geteuid() != 0, reason="only root refuses what others may write")
@pytest.mark.parametrize("step", ["plan", "install", "verify"])
def test_what_others_may_write_by_now_does_not_go_live(project, venv, world, step):
    world.wheel("a")
    install(venv, world.wheel("b"))
    project.write(["a", "b"])
    environment = environment_for(project)
    before = tree_fingerprint(venv)
    lib = venv / "lib"
    follower = Follower(lambda name: lib.chmod(0o777) if name == step else None)
    with pytest.raises(Insecure, match=f"{lib} is writable by everyone"):
        reconcile(environment, follower=follower)
    lib.chmod(0o755)
    assert tree_fingerprint(venv) == before
    assert start(environment).result is Result.CHANGED


def stalled_pass(environment, world):
    """Start a pass that waits for a download; the thread and its outcome."""
    stall = world.index.stall_downloads()
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(reconcile(environment))
        except KeepsChanging as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    stall.wait_reached()
    return thread, ended, stall


def test_a_live_tree_that_changes_meanwhile_is_looked_at_anew(project, venv, world, tmp_path):
    world.wheel("a")
    install(venv, world.wheel("b"), world.wheel("c"))
    project.write(["a", "b"])
    environment = environment_for(project)
    environment.look()
    thread, ended, stall = stalled_pass(environment, world)
    install(venv, make_wheel(tmp_path, "stranger", "1.0", scripts={"hello": "stranger:main"}))
    uninstall(venv, "c")
    stall.release()
    thread.join(60)
    [outcome] = ended
    assert outcome.result is Result.CHANGED
    assert set(snapshot(venv)) == {"a", "b", "stranger"}
    assert (venv / "bin" / "hello").exists()
    assert_whole(venv)
    assert strays(venv) == set()


def test_metadata_that_vanishes_while_it_is_read_starts_the_pass_over(
    project, venv, world, gpu_wheels
):
    install(venv, *gpu_wheels, world.wheel("b"))
    world.wheel("a")
    project.write(["a"])
    info = next(site_packages(venv).glob("b-*.dist-info"))
    follower = Follower(
        lambda step: shutil.rmtree(info) if step == "plan" and info.exists() else None
    )
    environment = environment_for(project)
    assert "b" in environment.look().installed.distributions
    assert reconcile(environment, follower=follower).result is Result.CHANGED
    assert follower.steps.count("plan") == 2
    assert snapshot(venv).keys() >= {"a", "torch"}


def test_somebody_elses_installation_of_the_very_same_is_enough(project, venv, world):
    wheel = world.wheel("a")
    project.write(["a"])
    environment = environment_for(project)
    thread, ended, stall = stalled_pass(environment, world)
    install(venv, wheel)
    stall.release()
    thread.join(60)
    assert ended[0].result is Result.UNCHANGED
    assert snapshot(venv) == {"a": "1.0"}
    assert_whole(venv)


def test_a_tree_that_changes_before_it_is_cloned_is_looked_at_anew(project, venv, world):
    # The plan is for a tree that the clone has not: it must not go live.
    world.wheel("a")
    install(venv, world.wheel("b"))
    project.write(["a", "b"])
    environment = environment_for(project)
    done = []

    def meddle(name: str) -> None:
        if name == "plan" and not done:
            done.append(name)
            uninstall(venv, "b")

    outcome = reconcile(environment, follower=Follower(meddle))
    assert done
    assert outcome.snapshot.drift.in_sync
    assert snapshot(venv) == {"a": "1.0", "b": "1.0"}
    assert_whole(venv)


def test_a_tree_that_keeps_changing_is_left_for_later(project, venv, world):
    world.wheel("a")
    project.write(["a"])
    environment = environment_for(project)
    count = iter(range(100))

    def meddle(name: str) -> None:
        if name == "verify":
            (site_packages(venv) / f"mine_{next(count)}.pth").touch()

    with pytest.raises(KeepsChanging, match="site-packages"):
        reconcile(environment, follower=Follower(meddle))
    assert snapshot(venv) == {}
    assert next(count) == 4


def test_caches_that_a_program_writes_meanwhile_disturb_nobody_and_stay(project, venv, world):
    install(venv, world.wheel("b"))
    world.wheel("a")
    project.write(["a"])
    environment = environment_for(project)
    site = site_packages(venv)
    written = ("__pycache__/x.cpython-311.pyc", "b/kernel.nbi", ".nvidia/cache/kernel")
    follower = Follower()

    def run(name: str) -> None:
        if name == "verify":
            for path in written:
                (site / path).parent.mkdir(parents=True, exist_ok=True)
                (site / path).write_text(str(len(follower.steps)))

    follower.on_phase = run
    assert reconcile(environment, follower=follower).result is Result.CHANGED
    assert follower.steps.count("plan") == 1
    assert (site / "b/kernel.nbi").exists()
    assert (site / ".nvidia/cache/kernel").exists()
    assert_whole(venv)


# Verify commands


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("python", "-c", "import sys; print('no good'); sys.exit(3)"), "exited with 3"),
        (("python", "-c", "import a, not_there"), "exited with 1"),
        (("no-such-program",), "does not start"),
        (("python", "-c", "import os, signal; os.kill(os.getpid(), 9)"), "exited with -9"),
    ],
)
def test_a_verify_command_that_fails_keeps_the_old_tree(project, venv, world, command, words):
    world.wheel("a")
    project.write(["a"])
    before = tree_fingerprint(venv)
    with pytest.raises(VerifyFailed, match=words) as caught:
        reconcile(environment_for(project, verify=(command,)))
    assert caught.value.reason == "VerifyFailed"
    assert tree_fingerprint(venv) == before


def test_verify_commands_see_the_new_tree_and_users_still_the_old_one(project, venv, world):
    install(venv, make_wheel(world.folder / "old", "a", "1.0"))
    world.wheel("a", "2.0", scripts={"say": "a:main"})
    project.write(["a>=2"])
    live = site_packages(venv) / "a" / "__init__.py"
    checks = (
        ("python", "-c", "import a; assert a.__version__ == '2.0', a"),
        ("python", "-c", f"assert '1.0' in open({str(live)!r}).read()"),
        ("say",),
    )
    outcome = reconcile(environment_for(project, verify=checks))
    assert outcome.result is Result.CHANGED
    assert snapshot(venv) == {"a": "2.0"}


def test_verify_commands_change_nothing_that_goes_live(project, venv, world):
    install(venv, make_wheel(world.folder / "old", "b", "1.0"))
    world.wheel("a")
    project.write(["a", "b"])
    before = tree_fingerprint(venv)
    code = "import os, b; os.unlink(b.__file__)"
    with pytest.raises(VerifyFailed, match=r"changed packages in the stage \(b\)"):
        reconcile(environment_for(project, verify=(("python", "-c", code),)))
    assert tree_fingerprint(venv) == before


def test_a_verify_command_that_takes_too_long_is_ended(project, venv, world):
    world.wheel("a")
    project.write(["a"])
    sleepy = ("python", "-c", "print('zzz', flush=True); import time; time.sleep(600)")
    with pytest.raises(VerifyFailed, match="took longer than 1 s") as caught:
        reconcile(environment_for(project, verify=(sleepy,), verify_timeout=1.0))
    assert "zzz" in caught.value.output
    assert snapshot(venv) == {}


def test_a_process_that_a_verify_command_leaves_behind_holds_nobody_up(
    project, venv, world, tmp_path
):
    world.wheel("a")
    project.write(["a"])
    pid = tmp_path / "pid"
    script = (
        f"setsid sh -c 'echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 60' & "
        f"while [ ! -e {pid} ]; do sleep 0.01; done; echo fine"
    )
    leaving = ("sh", "-c", script)
    started = time.monotonic()
    outcome = reconcile(environment_for(project, verify=(leaving,), verify_timeout=30.0))
    assert time.monotonic() - started < 25
    assert outcome.result is Result.CHANGED
    with pytest.raises(ProcessLookupError):  # it has been ended
        os.killpg(int(pid.read_text()), signal.SIGKILL)
