"""Changes that wait for a running job or for the maintenance window, and who is told of what."""

import datetime as dt
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.asking import ask, condition, in_sync_with, statuses
from tests.support.environments import snapshot
from tests.support.index import PackageIndex
from tests.support.processes import wait_until
from tests.support.projects import Project
from tests.support.service import ServiceFactory


@pytest.fixture
def job(venv: Path, tmp_path: Path) -> Iterator[int]:
    """Somebody else's `python train.py` in the activated environment; it runs until the end."""
    pid = tmp_path / "pid"
    (tmp_path / "train.py").write_text(
        "import os, time\n"
        f"open('{pid}.new', 'w').write(str(os.getpid()))\n"
        f"os.rename('{pid}.new', '{pid}')\n"
        "time.sleep(120)\n"
    )
    path = f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
    # Adopted by init: what the service or the tests start themselves is no such job.
    subprocess.run(
        ["sh", "-c", "setsid python train.py &"],
        cwd=tmp_path, env={**os.environ, "PATH": path}, check=True,
    )  # fmt: skip
    wait_until(pid.exists, what="the job to run")
    yield int(pid.read_text())
    os.kill(int(pid.read_text()), signal.SIGKILL)


def test_changes_wait_for_a_running_job_until_the_limit_decides(
    small: PackageIndex, project: Project, venv: Path, service: ServiceFactory, job: int
) -> None:
    """The job outlives the limit: once, each look at it began the limit anew, for ever."""
    project.write(["alpha"])
    process = service(interval="1h", wait_while_in_use="3s")

    row = process.wait_for_environment(
        lambda row: condition(row, "Ready")["reason"] == "InUse" and row["phase"] == "Drifted"
    )

    assert f"process {job} (python)" in condition(row, "Ready")["message"]
    assert statuses(row) == {"alpha": "missing"}, "drift is reported at once"
    assert snapshot(venv) == {}
    assert ask(process, "reconcile")["message"].startswith("InUse: "), "asking does not hurry it"
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]))
    os.kill(job, 0)
    assert process.events("pass.failed") == [], "waiting is no error"
    history = process.client.get("/history").json()["passes"]
    assert sorted(entry["result"] for entry in history) == ["changed", "failed"], (
        "only what was asked for, and what changed something, fills the history"
    )


def test_changes_wait_for_the_window_and_hooks_are_told(
    small: PackageIndex, project: Project, venv: Path, service: ServiceFactory, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    month = (dt.datetime.now(dt.UTC).month + 5) % 12 + 1
    process = service.prepare(interval="1h")
    hook = ["sh", "-c", f"cat >> {told}; echo >> {told}; exit 3"]
    with process.config.open("a") as config:
        config.write(
            f'[[environments.studio.windows]]\ncron = "0 3 1 {month} *"\nduration = "1h"\n'
            '[[environments.studio.notify]]\non = ["changed", "failed"]\n'
            f"command = {json.dumps(hook)}\n"
        )
    project.write(["alpha"])
    process.start()

    row = process.wait_for_environment(
        lambda row: condition(row, "Ready")["reason"] == "OutsideWindow"
    )

    assert (row["phase"], statuses(row)) == ("Drifted", {"alpha": "missing"})
    assert snapshot(venv) == {}
    assert 'result="failed"} 1.0' not in process.client.get("/metrics").text
    entry = ask(process, "reconcile", apply=True)
    assert entry["result"] == "changed", "a hook that fails harms no pass"
    process.wait_for_phase("InSync")
    wait_until(lambda: process.events("notify.failed"), what="the hook to end")
    [notice] = [json.loads(line) for line in told.read_text().splitlines()]
    assert (notice["occasion"], notice["environment"]) == ("changed", "studio")
    assert notice["pass"]["id"] == entry["id"]
    assert [change["name"] for change in notice["pass"]["changes"]] == ["alpha"]
    assert "ended with 3" in process.events("notify.failed")[0]["reason"]


def test_an_environment_is_made_in_its_maintenance_window(
    small: PackageIndex, project: Project, service: ServiceFactory
) -> None:
    """Making it is a change like any other."""
    month = (dt.datetime.now(dt.UTC).month + 5) % 12 + 1
    process = service.prepare(interval="1h", wait_while_in_use=True)
    with process.config.open("a") as config:
        config.write(
            f'[[environments.studio.windows]]\ncron = "0 3 1 {month} *"\nduration = "1h"\n'
        )
    project.write(["alpha"])
    process.start(until="/livez")

    process.wait_for_environment(lambda row: condition(row, "Ready")["reason"] == "OutsideWindow")

    assert not project.venv.exists()
    ask(process, "reconcile", apply=True)
    process.wait_for_environment(lambda row: in_sync_with(row, ["alpha"]))
