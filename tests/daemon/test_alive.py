"""Whether a worker hangs: what the watchdog is told."""

import fcntl
import os
import time

import pytest

from reconciler.daemon.claim import Claim
from reconciler.daemon.turns import Turns
from reconciler.daemon.worker import Worker
from reconciler.journal.history import Journal
from reconciler.status import Trigger
from tests.support.passes import environment_for
from tests.support.processes import wait_until


@pytest.fixture
def worker(project, venv, tmp_path):
    """The worker of an environment that is there, not yet started."""
    project.write([])
    environment = environment_for(project)
    journal = Journal(tmp_path / "journal.sqlite3")
    worker = Worker(
        environment, journal, Claim(environment), lambda _: None, lambda *_: None, Turns(1)
    )
    yield worker
    worker.stop(20)
    journal.close()


def test_waiting_for_somebody_else_s_uv_is_no_hang(worker, venv):
    (venv / ".reconciler").mkdir()
    lock = os.open(venv / ".reconciler/pass.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    worker.start(Trigger.START)
    wait_until(lambda: worker.busy, what="a pass")
    silence = 0.5
    wait_until(lambda: time.monotonic() - worker.beat > silence, what="a long wait")

    wait_until(lambda: worker.is_alive(time.monotonic(), silence), timeout=10, what="a heart beat")

    assert worker.busy
    os.close(lock)
