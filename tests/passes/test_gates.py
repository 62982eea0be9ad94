"""When a new tree may go live: windows by the clock, running jobs by the real /proc."""

import datetime as dt
import os
import subprocess
from pathlib import Path

import pytest
from packaging.utils import NormalizedName

from reconciler.config import EnvironmentConfig, Window
from reconciler.environment.environment import Environment
from reconciler.environment.usage import User, users_of
from reconciler.holds.monitor import HoldMonitor
from reconciler.passes.gates import Gates, seconds_until_open
from reconciler.passes.outcome import Postponed
from reconciler.passes.restore import restore
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from tests.support.environments import install, snapshot, uninstall
from tests.support.passes import Follower, locked
from tests.support.processes import wait_until

NIGHT = Window(cron="0 3 * * *", duration=7200.0, timezone="Europe/Berlin")


def at(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("moment", "wait"),
    [
        ("2026-01-10T03:00:00+01:00", 0.0),
        ("2026-01-10T04:59:59+01:00", 0.0),
        ("2026-01-10T05:00:00+01:00", 22 * 3600.0),
        ("2026-01-10T02:59:00+01:00", 60.0),
        ("2026-07-10T03:30:00+02:00", 0.0),
        ("2026-07-10T02:00:00+00:00", 0.0),
        ("2026-07-10T00:30:00+00:00", 1800.0),
    ],
)
def test_window_opens_by_its_own_clock(moment, wait):
    assert seconds_until_open(NIGHT, at(moment)) == wait


@pytest.mark.parametrize(
    ("cron", "start", "end"),
    [
        ("30 2 * * *", "2026-03-29T01:00", "2026-03-29T02:00"),  # 02:30 is skipped: at 03:00
        ("30 2 * * *", "2026-10-25T00:30", "2026-10-25T01:30"),  # 02:30 comes twice: the first
        ("30 1 * * *", "2026-10-24T23:30", "2026-10-25T00:30"),
        ("0 3 * * *", "2026-10-25T02:00", "2026-10-25T03:00"),
    ],
)
def test_a_window_is_as_long_as_ever_where_the_clock_is_changed(cron, start, end):
    window = Window(cron=cron, duration=3600.0, timezone="Europe/Berlin")
    first, last = at(f"{start}+00:00"), at(f"{end}+00:00")
    minutes = [first + 60 * n for n in range(-50, 110)]
    opened = [minute for minute in minutes if seconds_until_open(window, minute) == 0]
    assert opened == [minute for minute in minutes if first <= minute < last]
    assert seconds_until_open(window, first - 60) == 60


def environment(project, **settings) -> Environment:
    config = EnvironmentConfig(
        name="studio", pyproject=project.path, python=project.venv / "bin" / "python", **settings
    )
    return Environment(config, dict(os.environ))


def test_changes_wait_for_the_window_and_say_when_it_opens(project):
    gates = Gates(now=lambda: at("2026-01-10T12:00:00+01:00"))
    with pytest.raises(Postponed) as raised:
        gates.wait_until_open(environment(project, windows=(NIGHT,)), Cancellation())
    assert raised.value.reason == "OutsideWindow"
    assert raised.value.retry_after == 15 * 3600
    assert "2026-01-11 02:00 UTC" in raised.value.message


def test_open_window_lets_changes_through(project):
    gates = Gates(now=lambda: at("2026-01-10T03:30:00+01:00"))
    gates.wait_until_open(environment(project, windows=(NIGHT,)), Cancellation())


def test_a_hold_that_is_put_back_unasked_waits_for_the_window(project, venv, gpu_wheels):
    install(venv, *gpu_wheels)
    project.write(["torch"])
    wanted = environment(project, windows=(NIGHT,))
    with locked(wanted) as lock:
        HoldMonitor(wanted).keep(wanted.look(), lock, compare=True)
    uninstall(venv, "torch")
    gates = Gates(now=lambda: at("2026-01-10T12:00:00+01:00"))
    unasked = Pass(wanted, Cancellation(), Follower(), gates)
    with pytest.raises(Postponed, match="maintenance window"):
        restore(unasked, NormalizedName("torch"))
    assert "torch" not in snapshot(venv)
    restore(Pass(wanted, Cancellation(), Follower()), NormalizedName("torch"))
    assert snapshot(venv)["torch"] == "2.3.1+rocm5.7"


@pytest.fixture
def job(venv: Path):
    """A real process that runs the environment's Python until it is ended."""
    process = subprocess.Popen(
        [venv / "bin" / "python", "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    process.stdout.readline()
    yield process
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


def test_own_children_do_not_count_as_users(venv, job):
    assert users_of(venv.resolve()) == []


def test_a_running_job_is_found_by_its_interpreter(venv, tmp_path):
    """Started by somebody else: adopted by init, as after a double fork."""
    pid_file = tmp_path / "pid"
    release = tmp_path / "release"
    code = (
        "import os,sys,time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        f"open({str(pid_file)!r}+'.new','w').write(str(os.getpid()))\n"
        f"os.rename({str(pid_file)!r}+'.new', {str(pid_file)!r})\n"
        f"end=time.monotonic()+60\n"
        f"while not os.path.exists({str(release)!r}) and time.monotonic()<end: time.sleep(0.05)\n"
    )
    subprocess.run([venv / "bin" / "python", "-c", code], check=True)
    wait_until(pid_file.exists, what="the job to run")
    pid = int(pid_file.read_text())
    try:
        wait_until(lambda: users_of(venv.resolve()), what="the job to be seen")
        [user] = users_of(venv.resolve())
        assert user.pid == pid
        assert user.command.startswith("python")
        assert pid_file.name not in str(user)  # an argument
    finally:
        release.touch()
    wait_until(lambda: not users_of(venv.resolve()), what="the job to be gone")


@pytest.fixture
def pretended(tmp_path: Path):
    """A /proc with one process of somebody else's in it, as proc(5) writes it."""
    proc = tmp_path / "proc"

    def make(*command: str, cwd: Path, path: str = "/usr/bin") -> Path:
        entry = proc / "4242"
        entry.mkdir(parents=True)
        (entry / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in command))
        (entry / "stat").write_text("4242 (python) S 1 4242")
        (entry / "status").write_text("Name:\tpython\nUid:\t0\t0\t0\t0\n")
        (entry / "environ").write_bytes(f"HOME=/root\0PATH={path}\0".encode())
        (entry / "maps").touch()
        (entry / "cwd").symlink_to(cwd)
        return proc

    return make


@pytest.mark.parametrize("word", [".venv/bin/python", "../project/.venv/bin/python"])
def test_a_job_is_found_though_its_program_was_typed_as_a_relative_path(
    project, venv, pretended, word
):
    proc = pretended(word, "train.py", cwd=project.directory)
    assert [user.pid for user in users_of(venv.resolve(), proc)] == [4242]


def test_a_job_of_an_activated_environment_is_found(venv, pretended, tmp_path):
    proc = pretended("python", "train.py", cwd=tmp_path, path=f"/nowhere:{venv}/bin:/usr/bin")
    assert [user.pid for user in users_of(venv.resolve(), proc)] == [4242]


def test_a_job_is_found_through_a_link_to_the_environment(venv, pretended, tmp_path):
    (tmp_path / "link").symlink_to(venv)
    proc = pretended(f"{tmp_path}/link/bin/python", "train.py", cwd=tmp_path)
    assert [user.pid for user in users_of(venv.resolve(), proc)] == [4242]


@pytest.mark.parametrize("program", ["vim", "bash", "/usr/bin/env"])
def test_other_programs_of_an_activated_shell_do_not_count(project, venv, pretended, program):
    path = f"{venv}/bin:/usr/bin:/bin"
    proc = pretended(program, "train.py", cwd=project.directory, path=path)
    assert users_of(venv.resolve(), proc) == []


def test_a_job_puts_changes_off_until_the_limit_decides(project, venv):
    now = [1000.0]
    jobs = [User(77, "python train.py")]
    gates = Gates(elapsed=lambda: now[0], users=lambda _: jobs)
    wanted = environment(project, wait_while_in_use=60.0)
    with pytest.raises(Postponed) as raised:
        gates.wait_until_open(wanted, Cancellation())
    assert "process 77 (python train.py)" in raised.value.message
    assert raised.value.retry_after == 30.0
    now[0] += 45
    with pytest.raises(Postponed) as raised:
        gates.wait_until_open(wanted, Cancellation())
    assert raised.value.retry_after == 15.0
    now[0] += 15
    gates.wait_until_open(wanted, Cancellation())
    now[0] += 2
    gates.wait_until_open(wanted, Cancellation())  # a pass asks again before its exchange
    gates.went_live()
    with pytest.raises(Postponed):
        gates.wait_until_open(wanted, Cancellation())


def test_a_new_job_gets_the_whole_limit_again(project, venv):
    now, jobs = [1000.0], [User(77, "python")]
    gates = Gates(elapsed=lambda: now[0], users=lambda _: list(jobs))
    wanted = environment(project, wait_while_in_use=60.0)
    with pytest.raises(Postponed):
        gates.wait_until_open(wanted, Cancellation())
    jobs.clear()
    now[0] += 100
    gates.wait_until_open(wanted, Cancellation())
    jobs.append(User(78, "python"))
    with pytest.raises(Postponed):
        gates.wait_until_open(wanted, Cancellation())
