"""A child is waited for until it ends, and ended with all that it started."""

import subprocess
import sys
import threading

import pytest

from reconciler import processes
from reconciler.processes import Cancellation, Cancelled, wait


def child(code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", code], text=True, start_new_session=True)


@pytest.fixture(params=["told", "asking"])
def way(request, monkeypatch) -> str:
    """With pidfd_open(2), and where a filter forbids it."""
    if request.param == "asking":

        def forbidden(pid: int) -> int:
            raise PermissionError(pid)

        monkeypatch.setattr(processes.os, "pidfd_open", forbidden)
    return request.param


@pytest.mark.parametrize("timeout", [None, 60.0, 30 * 86_400.0])
def test_the_end_of_a_child_is_waited_for(way, timeout):
    with child("import time; time.sleep(0.1); raise SystemExit(7)") as process:
        wait(process, timeout)
        assert process.returncode == 7


def test_a_child_that_has_ended_already(way):
    with child("pass") as process:
        process.communicate()
        wait(process, 0.0)
        assert process.returncode == 0


def test_a_time_limit_ends_the_waiting(way):
    with child("import time; time.sleep(60)") as process:
        with pytest.raises(subprocess.TimeoutExpired):
            wait(process, 0.05)
        processes.end_group(process)
        assert process.returncode is not None


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_cancellation_ends_the_waiting(way, timeout):
    cancel = Cancellation()
    with child("import time; time.sleep(60)") as process:
        timer = threading.Timer(0.2, cancel.cancel)
        timer.start()
        with pytest.raises(Cancelled):
            cancel.wait_for(process, timeout)
        timer.join()
        assert process.returncode == -15
