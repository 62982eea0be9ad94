"""`systemctl reload` waits for the outcome: two real processes, a real signal."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from reconciler.systemd.reload import (
    ReloadOutcome,
    ReloadUnanswered,
    monotonic_usec,
    record_outcome,
    request_reload,
    runtime_directory,
)

SERVICE = """
import signal, sys
from pathlib import Path
from reconciler.systemd.reload import ReloadOutcome, monotonic_usec, record_outcome

def reload(*_):
    outcome = ReloadOutcome(started_usec=monotonic_usec(), accepted=False, message="line 3 is bad")
    record_outcome(Path(sys.argv[1]), outcome)

signal.signal(signal.SIGHUP, {on_hup})
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def service(tmp_path):
    started = []

    def start(on_hup):
        program = textwrap.dedent(SERVICE).format(on_hup=on_hup)
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", program, str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environ)
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_outcome_of_this_reload_is_returned_not_of_an_earlier_one(tmp_path, service):
    record_outcome(
        tmp_path, ReloadOutcome(started_usec=monotonic_usec(), accepted=True, message="old")
    )

    outcome = request_reload(service("reload").pid, tmp_path, timeout=20)

    assert (outcome.accepted, outcome.message) == (False, "line 3 is bad")


def damaged(file):
    file.write_bytes(b'{"started_usec": 1')


def not_text(file):
    file.write_bytes(b"\xff\xfe")


def of_another_kind(file):
    file.write_text('{"started_usec": "soon"}')


def a_folder(file):
    file.mkdir()


def a_pipe(file):
    os.mkfifo(file)


def a_loop(file):
    file.symlink_to(file)


SPOILS = (damaged, not_text, of_another_kind, a_folder, a_pipe, a_loop)


@pytest.mark.parametrize("spoil", SPOILS)
def test_an_outcome_that_cannot_be_read_is_named(tmp_path, service, spoil):
    file = tmp_path / "reload.json"
    spoil(file)

    with pytest.raises(ReloadUnanswered, match="did not answer in time") as caught:
        request_reload(service("signal.SIG_IGN").pid, tmp_path, timeout=0.2)

    assert f"{file} cannot be used" in str(caught.value)


def test_a_damaged_outcome_is_replaced_by_the_next(tmp_path, service):
    damaged(tmp_path / "reload.json")

    outcome = request_reload(service("reload").pid, tmp_path, timeout=20)

    assert outcome.message == "line 3 is bad"


def test_a_service_that_says_nothing_in_time_is_named(tmp_path, service):
    with pytest.raises(ReloadUnanswered, match="did not answer in time"):
        request_reload(service("signal.SIG_IGN").pid, tmp_path, timeout=0.2)


def test_a_service_that_dies_of_the_reload_is_named(tmp_path, service):
    with pytest.raises(ReloadUnanswered, match="ended during the reload"):
        request_reload(service("signal.SIG_DFL").pid, tmp_path, timeout=20)


def test_a_service_that_is_gone_is_named(tmp_path, service):
    process = service("reload")
    process.send_signal(signal.SIGKILL)
    process.wait()

    with pytest.raises(ReloadUnanswered, match="is the service running"):
        request_reload(process.pid, tmp_path, timeout=20)


def test_outside_systemd_nothing_is_written(tmp_path):
    folder = runtime_directory({})
    record_outcome(folder, ReloadOutcome(started_usec=1, accepted=True, message=""))

    assert folder is None
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_several_runtime_directories_is_ours():
    assert str(runtime_directory({"RUNTIME_DIRECTORY": "/run/a:/run/b"})) == "/run/a"
