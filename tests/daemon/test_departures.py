"""Changes that wait for programs begin as soon as the last of these has ended."""

import os
import signal
import subprocess
import threading
import time

import pytest

from reconciler.daemon.departures import Departures
from reconciler.status import Reason, Trigger
from tests.daemon.test_worker import stand
from tests.support.processes import wait_until
from tests.support.wheels import make_wheel

__all__ = ["stand"]  # a fixture


@pytest.fixture
def programs():
    started = [subprocess.Popen(["sleep", "600"]) for _ in range(3)]
    yield started
    for program in started:
        program.kill()
        program.wait()


def test_it_tells_once_the_last_one_has_ended(programs):
    told = []
    ended = threading.Event()
    departures = Departures(lambda: (told.append(time.monotonic()), ended.set()))
    first, second, other = programs
    departures.of([first.pid, second.pid])
    first.kill()
    first.wait()
    assert not ended.wait(1.5), "one is still there"

    second.kill()
    at = time.monotonic()

    assert ended.wait(30)
    assert told[0] - at < 2
    departures.of([other.pid])
    departures.of([])
    other.kill()
    wait_until(lambda: not departures._runs, what="the end of its thread")
    assert len(told) == 1, "nobody waits any more"


def test_a_change_goes_live_as_soon_as_the_program_has_ended(
    stand, project, venv, index, wheelhouse, tmp_path
):
    index.add(make_wheel(wheelhouse / "departures", "alpha", "1.0"))
    project.write(["alpha"])
    pid = tmp_path / "pid"
    code = f"import os, time; open('{pid}', 'w').write(str(os.getpid())); time.sleep(600)"
    # Adopted by init: what we start ourselves is no such job.
    start = f'setsid {venv}/bin/python -c "{code}" &'
    subprocess.run(["sh", "-c", start], check=True)
    wait_until(lambda: pid.exists() and pid.read_text(), what="the job to run")
    waiting = stand(wait_while_in_use=float("inf"))
    waiting.worker.start(Trigger.START)
    try:
        wait_until(
            lambda: any(
                c.reason is Reason.IN_USE for row in waiting.shown[-1:] for c in row.conditions
            ),
            what="the change to wait",
        )
        os.kill(int(pid.read_text()), signal.SIGKILL)
        wait_until(
            lambda: waiting.shown[-1].phase == "InSync", timeout=20, what="the change, at once"
        )
    finally:
        assert waiting.worker.stop(30)
    assert waiting.shown[-1].last_pass.trigger == Trigger.RETRY
