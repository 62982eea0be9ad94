"""What a worker says is whole: nobody sees one half of it before the other."""

from datetime import datetime

from reconciler.daemon.claim import Claim
from reconciler.daemon.worker import Worker
from reconciler.journal.history import Journal
from reconciler.status import EnvironmentStatus
from tests.support.passes import environment_for
from tests.support.processes import wait_until


def test_a_failure_is_never_shown_without_the_time_of_its_retry(project, venv, index, tmp_path):
    project.write(["alpha"])
    index.down()
    environment = environment_for(project, interval=3600.0)
    journal = Journal(tmp_path / "journal.sqlite")
    shown: list[EnvironmentStatus] = []
    claim = Claim(environment)
    worker = Worker(environment, journal, claim, shown.append, lambda _kind, _data: None)
    worker.start()
    try:
        wait_until(lambda: [row for row in shown if row.phase == "Failed"], what="a failure")
    finally:
        assert worker.stop(30)
    failed = [row for row in shown if row.phase == "Failed" and row.current_pass is None]
    for row in failed:
        since = datetime.fromisoformat(row.last_pass.started_at)
        assert (datetime.fromisoformat(row.next_check_at) - since).total_seconds() < 60
