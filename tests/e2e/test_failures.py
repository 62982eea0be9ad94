"""What cannot be done now is tried again on schedule; what cannot be had is told, and no more."""

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.asking import ask, condition, in_sync_with, passes, statuses
from tests.support.environments import assert_whole, snapshot, tree_fingerprint
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.service import Json, ServiceFactory, ServiceProcess
from tests.support.wheels import BUILD_FAILURE, make_sdist, make_wheel

QUICK = {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "5"}
"""uv's own patience with an index, which is not what these tests are about."""


@pytest.fixture
def impatient(small: PackageIndex, project: Project, service: ServiceFactory) -> ServiceProcess:
    """In sync with `alpha`, and quick to see that the index is down."""
    project.write(["alpha"])
    process = service(interval="1h", env=QUICK)
    process.wait_for_phase("InSync")
    return process


def waits(row: Json) -> bool:
    return row["phase"] == "Failed" and row["current_pass"] is None


def seconds_until(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp() - time.time()


def goes_down(index: PackageIndex) -> None:
    index.down()


def answers_500(index: PackageIndex) -> None:
    index.fail(500)


def comes_up(index: PackageIndex) -> None:
    index.up()


def heals(index: PackageIndex) -> None:
    index.heal()


@pytest.mark.parametrize(
    ("breaks", "mends"),
    [(goes_down, comes_up), (answers_500, heals)],
    ids=["refuses", "answers-500"],
)
def test_without_the_index_nothing_changes_and_it_is_tried_again(
    breaks: Callable[[PackageIndex], None],
    mends: Callable[[PackageIndex], None],
    impatient: ServiceProcess,
    project: Project,
    small: PackageIndex,
) -> None:
    before = tree_fingerprint(project.venv)
    breaks(small)
    project.save(["alpha", "beta"])
    row = impatient.wait_for_environment(waits)

    ready = condition(row, "Ready")
    assert ready["reason"] == "NetworkTrouble"
    assert row["last_pass"]["result"] == "failed"
    assert row["last_pass"]["failed"] == [], "nobody's requirement is to blame"
    assert statuses(row) == {"alpha": "ok", "beta": "missing"}
    assert tree_fingerprint(project.venv) == before
    failed = impatient.events("pass.failed")
    assert {record["reason"] for record in failed} == {"NetworkTrouble"}
    assert seconds_until(row["next_check_at"]) <= 5 * 2 ** (len(failed) - 1)

    # It comes right by itself, and not before the time that was announced.
    mends(small)
    impatient.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta"]), timeout=90)
    assert impatient.environment()["last_pass"]["trigger"] == "retry"
    assert_whole(project.venv)
    assert condition(impatient.environment(), "Ready")["reason"] == "InSync"


def test_a_failure_backs_off_and_a_touched_file_does_not_hurry_it(
    impatient: ServiceProcess, project: Project, small: PackageIndex
) -> None:
    small.down()
    project.save(["alpha", "beta"])
    row = impatient.wait_for_environment(waits)
    announced = [row["next_check_at"]]
    tried = len(impatient.events("pass.failed"))

    for _ in range(3):
        count = len(passes(impatient, "file"))
        project.path.touch()
        impatient.wait_for(lambda _: len(passes(impatient, "file")) > count)  # noqa: B023
        now = impatient.wait_for_environment(waits)
        assert condition(now, "Ready")["reason"] == "NetworkTrouble", "looking forgets nothing"
        if len(impatient.events("pass.failed")) == tried and seconds_until(announced[0]) > 1:
            assert now["next_check_at"] == announced[0], "looking puts nothing off either"

    # Two more failures, on schedule: each announced within its bounds.
    impatient.wait_for(lambda _: len(impatient.events("pass.failed")) >= tried + 2, timeout=90)
    failed = [e["pass"] for e in impatient.events("pass.failed")]
    triggers = {e["pass"]: e["trigger"] for e in passes(impatient)}
    assert {triggers[number] for number in failed[1:]} == {"retry"}
    assert impatient.environment()["phase"] in ("Failed", "Reconciling")


def test_a_new_revision_is_tried_at_once(
    impatient: ServiceProcess, project: Project, small: PackageIndex
) -> None:
    small.down()
    project.save(["alpha", "beta"])
    impatient.wait_for_environment(waits)
    impatient.wait_for(lambda _: len(impatient.events("pass.failed")) >= 2, timeout=60)
    small.up()

    project.save(["alpha", "beta", "gamma"])
    row = impatient.wait_for_environment(lambda row: in_sync_with(row, ["alpha", "beta", "gamma"]))

    assert row["last_pass"]["trigger"] in ("file", "retry")
    assert row["last_applied_revision"] == row["revision"] == row["last_attempted_revision"]


def test_who_asks_does_not_wait_for_the_schedule(
    impatient: ServiceProcess, project: Project, small: PackageIndex
) -> None:
    small.down()
    project.save(["alpha", "beta"])
    impatient.wait_for_environment(waits)
    small.up()

    entry = ask(impatient, "reconcile")

    assert entry["result"] in ("changed", "unchanged")
    assert snapshot(project.venv).keys() == {"alpha", "beta"}


def test_one_missing_requirement_does_not_block_the_others(
    impatient: ServiceProcess, project: Project, small: PackageIndex
) -> None:
    project.save(["alpha", "beta", "never-published>=9", "delta"])
    row = impatient.wait_for_phase("Degraded")

    assert snapshot(project.venv).keys() == {"alpha", "beta", "delta", "gamma"}
    assert statuses(row) == {
        "alpha": "ok",
        "beta": "ok",
        "delta": "ok",
        "never-published": "failed",
    }
    assert condition(row, "Ready")["reason"] == "PackagesFailed"
    (failure,) = row["last_pass"]["failed"]
    assert failure["requirement"] == "never-published>=9"
    assert failure["reason"] == "NoSolution"
    assert "not found" in failure["message"], "in uv's own words"
    told = impatient.events("package.failed")[0]
    assert (told["package"], told["reason"]) == ("never-published", "NoSolution")
    assert row["last_pass"]["result"] == "partial"

    # The verdict outlives a look, and ends when the package can be had.
    count = len(passes(impatient, "file"))
    project.path.touch()
    impatient.wait_for(lambda _: len(passes(impatient, "file")) > count)
    assert impatient.wait_for_phase("Degraded")["packages"] == row["packages"]
    small.add(make_wheel(project.directory, "never-published", "9.0"))
    impatient.wait_for_phase("InSync", timeout=90)
    assert snapshot(project.venv)["never-published"] == "9.0"


def test_two_requirements_that_exclude_each_other(
    impatient: ServiceProcess, project: Project, small: PackageIndex, tmp_path: Path
) -> None:
    small.add(make_wheel(tmp_path, "needs-old-beta", "1.0", requires=["beta<2"]))

    project.save(["alpha", "beta>=2", "needs-old-beta"])
    row = impatient.wait_for_phase("Degraded")

    assert snapshot(project.venv) == {"alpha": "2.0", "beta": "2.0"}
    (failure,) = row["last_pass"]["failed"]
    assert failure["name"] == "needs-old-beta"
    assert "beta>=2" in failure["message"], "the message names what it does not go with"


def test_a_package_that_does_not_build_is_left_out(
    impatient: ServiceProcess, project: Project, small: PackageIndex, tmp_path: Path
) -> None:
    small.add(make_sdist(tmp_path, "stubborn", "1.0", fails=True))
    small.add(make_wheel(tmp_path, "dependent", "1.0", requires=["stubborn"]))

    project.save(["alpha", "beta", "dependent"])
    row = impatient.wait_for_phase("Degraded")

    assert snapshot(project.venv).keys() == {"alpha", "beta"}
    reasons = {f["name"]: f["reason"] for f in row["last_pass"]["failed"]}
    assert reasons == {"stubborn": "BuildFailed", "dependent": "DependencyFailed"}
    assert statuses(row)["dependent"] == "failed"
    entry = impatient.client.get(f"/history/{row['last_pass']['id']}").json()
    assert BUILD_FAILURE in entry["log"]
    assert_whole(project.venv)


def test_on_error_abort_changes_nothing(
    small: PackageIndex, project: Project, venv: Path, service: ServiceFactory
) -> None:
    project.write(["alpha", "never-published"])
    process = service(interval="1h", on_error="abort", env=QUICK)

    row = process.wait_for_environment(waits)

    assert condition(row, "Ready")["reason"] == "NoSolution"
    assert snapshot(venv) == {}


def test_a_verify_command_that_fails_keeps_the_old_tree(
    small: PackageIndex, project: Project, venv: Path, service: ServiceFactory
) -> None:
    """The stage was complete, and the user's own check did not like it."""
    project.write(["alpha<2"])
    code = "import alpha; print('alpha is', alpha.__version__); exit(alpha.__version__ > '1.5')"
    process = service(interval="1h", verify=["python", "-c", code])
    process.wait_for_phase("InSync")
    before = tree_fingerprint(venv)

    project.save(["alpha>=2"])
    row = process.wait_for_environment(waits)

    assert condition(row, "Ready")["reason"] == "VerifyFailed"
    assert tree_fingerprint(venv) == before
    assert process.events("verify.failed")[0]["output"].strip() == "alpha is 2.0"
    assert row["generation"] == 1
    entry = process.client.get(f"/history/{row['last_pass']['id']}").json()
    assert "\nalpha is 2.0\n" in entry["log"], "what it printed is kept with the pass"
    assert (entry["revision"], entry["generation"]) == (row["revision"], 1)
    assert [(change["from"], change["to"]) for change in entry["plan"]] == [("1.0", "2.0")]
    project.save(["alpha<2"])
    process.wait_for_phase("InSync")
