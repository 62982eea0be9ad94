"""A change that breaks imports is left out; of what, and what it costs, is told."""

import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reconciler.config import Build, OnError, Proof
from reconciler.passes import reconcile as passes
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import ExpectedEnd, Reason, Result
from tests.support.environments import (
    assert_whole,
    install,
    site_packages,
    snapshot,
    tree_fingerprint,
)
from tests.support.passes import Follower, environment_for, reconcile, start
from tests.support.processes import reconciler_command, wait_until
from tests.support.world import World

COMPARING = """\
import one, two
if (one.ABI, two.ABI) not in OK:
    raise ImportError("compiled against other versions")
"""


@pytest.fixture
def world(index, tmp_path) -> World:
    return World(index, tmp_path / "world")


def module(name: str, text: str) -> dict[str, str]:
    return {f"{name}.py": text}


def broken_upgrade(world, venv, *more) -> None:
    """A library whose upgrade breaks what requires it."""
    old = world.wheel("lib", "1.0", files=module("lib", "gone = 1\n"))
    user = world.wheel("user", "1.0", "lib", files=module("user", "from lib import gone\n"))
    world.wheel("lib", "2.0", files=module("lib", ""))
    install(venv, old, user, *more)


def failed(outcome) -> dict[str, str]:
    return {failure.name: failure.reason for failure in outcome.failed}


def run(environment):
    """One pass with its proof."""
    running = Pass(environment, Cancellation(), Follower())
    outcome = passes.reconcile(running, audit=True)
    return outcome, running.proof


def test_the_message_names_both_and_the_exception(project, venv, world):
    broken_upgrade(world, venv)
    project.write(["lib>=2", "user"])
    outcome, proof = run(environment_for(project))
    [failure] = outcome.failed
    assert (failure.name, failure.requirement) == ("lib", "lib>=2")
    assert "with lib 2.0, user can no longer be imported, but with lib 1.0" in failure.message
    lib = site_packages(venv) / "lib.py"
    assert f"ImportError: cannot import name 'gone' from 'lib' ({lib})." in failure.message
    assert outcome.result is Result.PARTIAL
    assert [(one.module, one.because) for one in proof.imported] == [("lib", None), ("user", "lib")]
    assert [(one.package, one.because) for one in proof.failed] == [("user", "lib")]


def test_what_needs_the_change_is_left_out_with_it(project, venv, world):
    broken_upgrade(world, venv)
    world.wheel("new", "1.0", "lib>=2")
    world.wheel("other")
    project.write(["lib", "user", "new", "other"])
    outcome = reconcile(environment_for(project))
    assert snapshot(venv) == {"lib": "1.0", "user": "1.0", "other": "1.0"}
    assert failed(outcome) == {"lib": "ImportBroken", "new": "DependencyFailed"}
    assert_whole(venv)


def test_the_responsible_change_is_found_by_undoing_others(project, venv, world):
    """The traceback leads only to the package that compares them."""
    comparing = module("user", COMPARING.replace("OK", "{(1, 1), (2, 1)}"))
    installed = [world.wheel("user", "1.0", "one", "two", files=comparing)]
    for name in ("one", "two"):
        installed.append(world.wheel(name, "1.0", files=module(name, "ABI = 1\n")))
        world.wheel(name, "2.0", files=module(name, "ABI = 2\n"))
    install(venv, *installed)
    project.write(["one>=2", "two>=2", "user"])
    outcome = reconcile(environment_for(project))
    assert failed(outcome) == {"two": "ImportBroken"}
    assert snapshot(venv) == {"one": "2.0", "two": "1.0", "user": "1.0"}
    assert_whole(venv)


def test_in_place_the_old_files_are_restored_and_the_rest_goes_live(project, venv, world):
    broken_upgrade(world, venv, world.wheel("other"), world.wheel(
        "always", files=module("always", "raise OSError\n")))  # fmt: skip
    world.wheel("other", "2.0")
    world.wheel("always", "2.0", files=module("always", "raise OSError\n"))
    project.write(["lib>=2", "user", "other>=2", "always>=2"])
    environment = environment_for(project)
    environment.in_place = "the test wants it so"
    outcome, proof = run(environment)
    assert failed(outcome) == {"lib": "ImportBroken"}
    assert snapshot(venv) == {"lib": "1.0", "user": "1.0", "other": "2.0", "always": "2.0"}
    assert not outcome.atomic
    assert {one.package: one.because for one in proof.failed} == {"user": "lib", "always": None}
    assert_whole(venv)


def test_in_place_several_changes_may_have_to_go(project, venv, world):
    comparing = module("user", COMPARING.replace("OK", "{(1, 1), (2, 1)}"))
    installed = [world.wheel("user", "1.0", "one", "two", files=comparing)]
    for name in ("one", "two"):
        installed.append(world.wheel(name, "1.0", files=module(name, "ABI = 1\n")))
        world.wheel(name, "2.0", files=module(name, "ABI = 2\n"))
    install(venv, *installed)
    project.write(["one>=2", "two>=2", "user"])
    environment = environment_for(project)
    environment.in_place = "the test wants it so"
    outcome = reconcile(environment)
    assert failed(outcome) == {"one": "ImportBroken", "two": "ImportBroken"}
    assert snapshot(venv) == {"one": "1.0", "two": "1.0", "user": "1.0"}


def test_a_failure_on_which_the_configuration_says_abort_changes_nothing(project, venv, world):
    broken_upgrade(world, venv)
    world.wheel("other")
    project.write(["lib>=2", "user", "other"])
    before = tree_fingerprint(venv)
    with pytest.raises(ExpectedEnd, match="user can no longer be imported") as caught:
        reconcile(environment_for(project, on_error=OnError.ABORT))
    assert caught.value.reason is Reason.IMPORT_BROKEN
    assert tree_fingerprint(venv) == before


@pytest.mark.parametrize("settings", [{"proof": Proof.OFF}, {"build": Build.NEVER}])
def test_it_can_be_turned_off(project, venv, world, settings):
    broken_upgrade(world, venv)
    project.write(["lib>=2", "user"])
    outcome, proof = run(environment_for(project, **settings))
    assert (failed(outcome), proof) == ({}, None)
    assert snapshot(venv)["lib"] == "2.0"


def test_with_builds_off_it_can_be_turned_on(project, venv, world):
    broken_upgrade(world, venv)
    project.write(["lib>=2", "user"])
    environment = environment_for(project, build=Build.NEVER, proof=Proof.CHANGED)
    assert failed(reconcile(environment)) == {"lib": "ImportBroken"}


def test_what_only_adds_packages_imports_nothing_unless_everything_is_asked_for(
    project, venv, world
):
    install(venv, world.wheel("there"))
    world.wheel("new-one", files=module("new_one", "raise OSError\n"))
    world.wheel("new-two")
    project.write(["there", "new-one"])
    _, proof = run(environment_for(project))
    assert proof is None
    project.write(["there", "new-one", "new-two"])
    outcome, proof = run(environment_for(project, proof=Proof.FULL))
    assert failed(outcome) == {}
    assert {one.package for one in proof.imported} == {"there", "new-one"}
    assert [(one.package, one.because) for one in proof.failed] == [("new-one", None)]


def test_what_there_is_no_time_for_is_not_tried_and_told(project, venv, world):
    slow = "import time\ntime.sleep(1.2)\n"
    names = [f"slow-{n}" for n in range(6 * len(os.sched_getaffinity(0)))]
    for name in names:
        install(venv, world.wheel(name, files=module(name.replace("-", "_"), slow)))
        world.wheel(name, "2.0", files=module(name.replace("-", "_"), slow))
    project.write([f"{name}>=2" for name in names])
    outcome, proof = run(environment_for(project, proof_budget=5.0))
    assert failed(outcome) == {}
    assert set(snapshot(venv).values()) == {"2.0"}
    assert proof.not_tried
    assert {*proof.not_tried, *(one.package for one in proof.imported)} == set(names)


REACHING = """\
import socket
try:
    socket.create_connection(("127.0.0.1", PORT), 1).close()
except OSError:
    pass
else:
    raise RuntimeError("there is a network")
try:
    open(__file__ + ".new", "w").close()
except OSError:
    pass
"""


def test_an_import_reaches_neither_the_network_nor_the_environment(project, venv, world, index):
    reaching = REACHING.replace("PORT", str(urlsplit(index.url).port))
    install(venv, world.wheel("reaching", files=module("reaching", "")))
    world.wheel("reaching", "2.0", files=module("reaching", reaching))
    project.write(["reaching>=2"])
    outcome, proof = run(environment_for(project))
    assert failed(outcome) == {}
    assert [one.package for one in proof.imported] == ["reaching"]
    assert list(venv.rglob("*.new")) == []


def test_a_kill_in_the_middle_leaves_the_old_tree_and_nothing_else(project, venv, world, tmp_path):
    began = tmp_path / "began"
    hanging = (
        f"import os, time\nwith open({str(began)!r}, 'w') as f:\n    f.write(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    install(venv, world.wheel("hanging", files=module("hanging", "")))
    world.wheel("hanging", "2.0", files=module("hanging", hanging))
    project.write(["hanging>=2"])
    command = reconciler_command(["apply", "--pyproject", project.path, "--python", venv])
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as apply:
        wait_until(lambda: began.exists() and began.read_text())
        there = Path("/proc", began.read_text())
        assert there.exists()
        apply.kill()
    wait_until(lambda: not there.exists())
    assert snapshot(venv) == {"hanging": "1.0"}
    environment = environment_for(project, proof=Proof.OFF)
    start(environment)
    assert snapshot(venv) == {"hanging": "2.0"}
    assert list(environment.workspace.root.glob("work-*")) == []
