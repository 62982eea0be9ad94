"""What cannot be had does not block the rest, and what fails leaves the tree as it was."""

import shutil

import pytest

from reconciler.config import OnError
from reconciler.passes.outcome import Unready
from reconciler.status import Result
from reconciler.uv.program import DiskFull, NetworkTrouble, NoSolution, TimedOut, UvMissing
from tests.support.environments import (
    assert_whole,
    install,
    site_packages,
    snapshot,
    tree_fingerprint,
)
from tests.support.passes import Follower, environment_for, reconcile
from tests.support.wheels import BUILD_FAILURE, make_sdist
from tests.support.world import World


@pytest.fixture
def world(index, tmp_path) -> World:
    return World(index, tmp_path / "world")


def failed(outcome) -> dict[str, str]:
    return {failure.name: failure.reason for failure in outcome.failed}


# Culprits


def test_one_missing_requirement_does_not_block_the_others(project, venv, world):
    for name in ("a", "b", "c"):
        world.wheel(name)
    project.write(["a", "gone>=2", "b", "c"])
    environment = environment_for(project)
    outcome = reconcile(environment)
    assert outcome.result is Result.PARTIAL
    assert set(snapshot(venv)) == {"a", "b", "c"}
    [failure] = outcome.failed
    assert (failure.name, failure.requirement, failure.reason) == ("gone", "gone>=2", "NoSolution")
    assert "gone" in failure.message
    assert not outcome.snapshot.drift.in_sync
    again = reconcile(environment)
    assert (again.result, again.changes) == (Result.PARTIAL, ())
    world.wheel("gone", "2.0")
    assert reconcile(environment).result is Result.CHANGED
    assert_whole(venv)


def test_of_two_that_exclude_each_other_the_later_one_goes(project, venv, world):
    world.wheel("a", "1.0", "c<2")
    world.wheel("b", "1.0", "c>=2")
    for version in ("1.0", "2.0"):
        world.wheel("c", version)
    world.wheel("fine")
    project.write(["a", "b", "fine"])
    outcome = reconcile(environment_for(project))
    assert failed(outcome) == {"b": "NoSolution"}
    assert "It conflicts with a" in outcome.failed[0].message
    assert snapshot(venv) == {"a": "1.0", "c": "1.0", "fine": "1.0"}
    project.write(["b", "a", "fine"])
    outcome = reconcile(environment_for(project))
    assert failed(outcome) == {"a": "NoSolution"}
    assert snapshot(venv)["c"] == "2.0"


def test_a_chain_of_conflicts_costs_as_few_as_possible(project, venv, world):
    # x1 excludes x2, x2 excludes x3, x3 excludes x4: two have to go, not three.
    for name in ("p", "q", "r"):
        for version in ("1.0", "2.0"):
            world.wheel(name, version)
    world.wheel("x1", "1.0", "p<2")
    world.wheel("x2", "1.0", "p>=2", "q<2")
    world.wheel("x3", "1.0", "q>=2", "r<2")
    world.wheel("x4", "1.0", "r>=2")
    project.write(["x1", "x2", "x3", "x4"])
    outcome = reconcile(environment_for(project))
    assert len(outcome.failed) == 2
    assert set(failed(outcome)) == {"x2", "x4"}
    assert {"x1", "x3"} <= set(snapshot(venv))
    assert_whole(venv)


def test_several_unrelated_culprits_are_each_told(project, venv, world):
    world.wheel("a", "1.0", "nowhere")
    world.wheel("b", requires_python=">=3.99")
    world.wheel("c", tag="cp311-cp311-win_amd64")
    world.wheel("good")
    project.write(["a", "b", "gone", "c", "good>=5", "good"])
    outcome = reconcile(environment_for(project))
    assert set(failed(outcome)) == {"a", "b", "c", "gone", "good"}
    assert snapshot(venv) == {"good": "1.0"}


def test_nothing_of_it_can_be_had(project, venv, world):
    project.write(["gone", "lost", "missing"])
    outcome = reconcile(environment_for(project))
    assert outcome.result is Result.PARTIAL
    assert set(failed(outcome)) == {"gone", "lost", "missing"}
    assert snapshot(venv) == {}


def test_a_culprit_that_is_installed_stays_as_it_is(project, venv, world):
    world.wheel("a", "1.0")
    project.write(["a"])
    environment = environment_for(project)
    reconcile(environment)
    before = tree_fingerprint(venv)
    project.write(["a>=2"])
    outcome = reconcile(environment)
    assert failed(outcome) == {"a": "NoSolution"}
    assert tree_fingerprint(venv) == before


def test_a_failure_on_which_the_configuration_says_abort_changes_nothing(project, venv, world):
    world.wheel("a")
    project.write(["a", "gone"])
    before = tree_fingerprint(venv)
    with pytest.raises(NoSolution, match="gone"):
        reconcile(environment_for(project, on_error=OnError.ABORT))
    assert tree_fingerprint(venv) == before


# Builds


def test_a_failing_build_drops_its_dependents_and_only_those(project, venv, world):
    world.sdist("bad", fails=True)
    world.wheel("on-bad", "1.0", "bad")
    world.wheel("on-on-bad", "1.0", "on-bad")
    world.sdist("good", "1.0", "base")
    world.wheel("base")
    project.write(["on-on-bad", "good", "bad", "base"])
    environment = environment_for(project)
    outcome = reconcile(environment)
    assert snapshot(venv) == {"good": "1.0", "base": "1.0"}
    assert failed(outcome) == {"bad": "BuildFailed", "on-on-bad": "DependencyFailed"}
    messages = {f.name: f.message for f in outcome.failed}
    assert BUILD_FAILURE in messages["bad"]
    assert "it needs bad" in messages["on-on-bad"]
    assert_whole(venv)
    assert reconcile(environment).changes == ()


def test_two_failing_builds_are_both_told(project, venv, world):
    world.sdist("bad-one", fails=True)
    world.sdist("bad-two", fails=True)
    world.wheel("good")
    project.write(["bad-one", "good", "bad-two"])
    outcome = reconcile(environment_for(project))
    assert failed(outcome) == {"bad-one": "BuildFailed", "bad-two": "BuildFailed"}
    assert snapshot(venv) == {"good": "1.0"}


def test_what_depends_on_a_failing_build_is_not_pushed_back_to_an_ancient_version(
    project, venv, world
):
    world.sdist("bad", "2.0", fails=True)
    world.wheel("user", "1.0")
    world.wheel("user", "2.0", "bad>=2")
    world.wheel("other")
    project.write(["user", "other"])
    outcome = reconcile(environment_for(project))
    assert snapshot(venv) == {"other": "1.0"}
    assert failed(outcome)["user"] == "DependencyFailed"


def test_a_failing_build_of_an_upgrade_leaves_the_installed_version(project, venv, world):
    install(venv, world.wheel("thing", "1.0"))
    world.sdist("thing", "2.0", fails=True)
    world.wheel("other")
    project.write(["thing>=2", "other"])
    outcome = reconcile(environment_for(project))
    assert snapshot(venv) == {"thing": "1.0", "other": "1.0"}
    assert failed(outcome) == {"thing": "BuildFailed"}


def test_a_broken_package_that_does_not_build_any_more_is_told_and_the_rest_mended(
    project, venv, world, tmp_path
):
    good = make_sdist(tmp_path / "once", "thing", "1.0")
    install(venv, good, world.wheel("needs", "1.0", "thing"), world.wheel("other"))
    world.sdist("thing", "1.0", fails=True)
    (site_packages(venv) / "thing-1.0.dist-info" / "direct_url.json").unlink()  # from the index
    for name in ("thing", "other"):
        (site_packages(venv) / name / "__init__.py").unlink()
    project.write(["needs", "other", "thing"])
    outcome = reconcile(environment_for(project))
    assert failed(outcome)["thing"] == "BuildFailed"
    assert {c.name for c in outcome.changes} == {"other"}
    assert (site_packages(venv) / "other" / "__init__.py").exists()


# The network


def test_network_failure_is_no_culprit_and_changes_nothing(project, venv, world):
    world.wheel("a")
    world.wheel("b")
    project.write(["a", "b"])
    environment = environment_for(project)
    before = tree_fingerprint(venv)
    world.index.fail(500, for_name="b")
    with pytest.raises(NetworkTrouble):
        reconcile(environment)
    world.index.down()
    with pytest.raises(NetworkTrouble):
        reconcile(environment)
    assert tree_fingerprint(venv) == before
    world.index.up()
    assert reconcile(environment).result is Result.CHANGED
    assert snapshot(venv) == {"a": "1.0", "b": "1.0"}


def test_network_failure_while_culprits_are_looked_for_is_none(project, venv, world):
    world.wheel("a")
    world.wheel("b")
    project.write(["a", "gone", "b"])
    world.index.fail(500, for_name="b")
    with pytest.raises(NetworkTrouble):
        reconcile(environment_for(project))
    assert snapshot(venv) == {}


def test_a_download_that_fails_changes_nothing(project, venv, world):
    world.wheel("a")
    project.write(["a"])
    environment = environment_for(project)
    follower = Follower(lambda name: world.index.fail(500) if name == "install" else None)
    with pytest.raises(NetworkTrouble):
        reconcile(environment, follower=follower)
    assert follower.steps[-1] == "install"
    assert snapshot(venv) == {}
    world.index.heal()
    assert reconcile(environment).result is Result.CHANGED


# uv


def test_without_uv_the_pass_says_so(project, venv, world, tmp_path):
    project.write(["a"])
    environment = environment_for(project)
    environment.uv._executable = tmp_path / "no-uv"
    with pytest.raises(UvMissing):
        reconcile(environment)


def test_a_pass_that_takes_too_long_is_ended(project, venv, world):
    world.wheel("a")
    stall = world.index.stall_downloads()
    project.write(["a"])
    with pytest.raises(TimedOut):
        reconcile(environment_for(project, timeout=1.5))
    stall.release()
    assert snapshot(venv) == {}


def test_a_full_disk_is_told_as_such(project, venv, world, tmp_path):
    world.wheel("a")
    project.write(["a"])
    environment = environment_for(project)
    fake = tmp_path / "uv"
    fake.write_text("#!/bin/sh\necho 'error: No space left on device (os error 28)' >&2\nexit 2\n")
    fake.chmod(0o755)
    environment.uv._executable = fake
    with pytest.raises(DiskFull):
        reconcile(environment)


# Files


def test_a_project_that_never_was_good_changes_nothing(project, venv):
    project.write_text("[[[")
    with pytest.raises(Unready) as caught:
        reconcile(environment_for(project))
    assert caught.value.problem.line == 1


def test_an_environment_that_vanishes_is_told(project, venv, world):
    world.wheel("a")
    project.write(["a"])
    environment = environment_for(project)
    environment.look()
    shutil.rmtree(venv / "lib")
    (venv / "lib").mkdir()
    # What is left of it is no environment, or one without packages; never a traceback.
    try:
        outcome = reconcile(environment)
    except OSError as error:
        assert str(venv.resolve()) in str(error)
    else:
        assert outcome.snapshot.drift.in_sync
