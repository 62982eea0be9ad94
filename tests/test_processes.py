"""A program is followed until it ends, and ended with everything that it started."""

import os
import pwd
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from reconciler import processes
from reconciler.processes import Cancellation, Cancelled, NotStarted, Program, TookTooLong, run
from tests.support.processes import wait_until


def python(code: str, **what) -> Program:
    return Program([sys.executable, "-c", code], **what)


def shell(script: str, **what) -> Program:
    return Program(["sh", "-c", script], **what)


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.fixture(params=["told", "asking"])
def way(request, monkeypatch) -> str:
    """With pidfd_open(2), and where a filter forbids it."""
    if request.param == "asking":

        def forbidden(pid: int) -> int:
            raise PermissionError(pid)

        monkeypatch.setattr(processes.os, "pidfd_open", forbidden)
    return request.param


# What it says


@pytest.mark.parametrize("limit", [None, 60.0, 30 * 86_400.0])
def test_it_is_followed_to_its_end(way, limit):
    code = "import sys, time; print('out'); print('err', file=sys.stderr); time.sleep(0.1); exit(7)"
    ended = run(python(code), limit=limit)
    assert (ended.status, ended.out, ended.err, ended.left_out) == (7, "out\n", "err\n", 0)


def test_the_signal_that_ended_it_is_its_status():
    assert run(shell("kill -9 $$"), limit=60).status == -signal.SIGKILL


def test_both_outputs_can_be_one():
    assert run(shell("echo a; echo b >&2; echo c", merged=True), limit=60).out == "a\nb\nc\n"


def test_lines_are_handed_on_while_it_runs(tmp_path):
    """The program waits until its first line has been taken."""
    taken = tmp_path / "taken"
    lines = []

    def take(line: str) -> None:
        lines.append(line)
        taken.touch()

    script = f"echo first >&2; while [ ! -e {taken} ]; do sleep 0.01; done; printf 'the rest' >&2"
    ended = run(shell(script), limit=60, on_line=take)
    assert lines == ["first", "the rest"]
    assert ended.err == "first\nthe rest"


def test_an_error_in_taking_a_line_ends_it(tmp_path):
    def take(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError, match=r"\d+") as caught:
        run(shell("echo $$ >&2; sleep 600"), limit=60, on_line=take)
    assert not is_running(int(str(caught.value)))


def test_beginning_and_end_of_much_output_are_kept_and_what_is_missing_is_counted():
    code = "for number in range(100_000): print(f'{number:09}')"
    ended = run(python(code), limit=60, keep=1000)
    assert ended.out.startswith("000000000\n000000001\n")
    assert f"[... {ended.left_out + 9} characters are left out ...]" in ended.out
    assert len(ended.out) < 1100
    assert ended.out.endswith("000099998\n000099999\n")
    assert ended.left_out == 1_000_000 - 1000


def test_a_character_that_arrives_in_two_parts_is_one_and_what_is_none_is_marked():
    script = r"printf 'a\303'; sleep 0.2; printf '\244\377z'"
    assert run(shell(script), limit=60).out == "aä\N{REPLACEMENT CHARACTER}z"


def test_a_terminal_may_take_its_output():
    code = "import sys; print(sys.stdout.isatty(), sys.stderr.isatty(), sys.stdin.isatty())"
    assert run(python(code, channel=os.openpty), limit=60).out == "True False False\n"


# What it sees


def test_its_standard_input_is_empty_or_what_is_given():
    long = "x" * 300_000
    assert run(shell("cat"), limit=60).out == ""
    assert run(shell("cat", given=long), limit=60, keep_out=300_000).out == long
    assert run(shell("exit 3", given=long), limit=60).status == 3


def test_it_runs_in_its_folder_with_its_variables_and_in_a_session_of_its_own(tmp_path):
    code = "import os; print(os.getcwd(), os.environ.get('A'), os.environ.get('HOME'))"
    ended = run(python(code, environ={"A": "1"}, folder=tmp_path), limit=60)
    assert ended.out == f"{tmp_path} 1 None\n"
    assert run(python("import os; print(os.getsid(0) == os.getpid())"), limit=60).out == "True\n"


def test_it_runs_as_another_user():
    if os.geteuid() != 0:
        with pytest.raises(NotStarted, match="not permitted"):
            run(shell("id -u", user=pwd.getpwnam("nobody")), limit=60)
    else:
        nobody = pwd.getpwnam("nobody")
        ended = run(shell("id -u; id -g", user=nobody, folder=Path("/")), limit=60)
        assert ended.out == f"{nobody.pw_uid}\n{nobody.pw_gid}\n"


def test_no_descriptor_is_left_open():
    before = descriptors()
    run(shell("echo x", given="y"), limit=60)
    with pytest.raises(NotStarted):
        run(Program(["/nonexistent"]), limit=60)
    assert descriptors() == before


# How it ends


@pytest.mark.parametrize("words", [["/nonexistent/program"], ["/"], ["/etc/passwd"]])
def test_what_does_not_start_is_an_error_that_says_why(words):
    with pytest.raises(NotStarted) as caught:
        run(Program(words), limit=60)
    assert isinstance(caught.value.error, OSError)
    assert str(caught.value) == str(caught.value.error)


def test_a_time_limit_ends_it_and_what_it_said_is_kept(way):
    with pytest.raises(TookTooLong) as caught:
        run(shell("echo $$; echo now >&2; sleep 600"), limit=0.5)
    assert not is_running(int(caught.value.ended.out))
    assert caught.value.ended.err == "now\n"
    assert str(caught.value) == "it took longer than 0.5 s"


@pytest.mark.parametrize("limit", [None, 600.0])
def test_a_cancellation_ends_it_even_if_it_ignores_the_first_signal(way, limit):
    cancel = Cancellation()
    lines = []

    def take(line: str) -> None:
        lines.append(line)
        threading.Timer(0.1, cancel.cancel).start()

    started = time.monotonic()
    with pytest.raises(Cancelled):
        run(shell("trap '' TERM; echo $$ >&2; while :; do sleep 1; done"), limit=limit,
            cancel=cancel, on_line=take)  # fmt: skip
    assert time.monotonic() - started < 20
    assert not is_running(int(lines[0]))
    assert not cancel.has_children


def test_it_is_told_to_end_before_it_is_killed(tmp_path):
    said = tmp_path / "said"
    script = f"trap 'echo bye > {said}; exit' TERM; while :; do sleep 0.05; done"
    with pytest.raises(TookTooLong):
        run(shell(script), limit=0.5)
    assert said.read_text() == "bye\n"


def test_after_a_cancellation_nothing_is_started(tmp_path):
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(Cancelled):
        run(Program(["touch", tmp_path / "started"]), limit=60, cancel=cancel)
    assert not (tmp_path / "started").exists()


def test_what_it_has_started_ends_with_it(way):
    ended = run(shell("sleep 600 & echo $!"), limit=60)
    wait_until(lambda: not is_running(int(ended.out)), what="the end of its child")


def test_what_it_leaves_running_in_another_session_holds_nobody_up(way, tmp_path):
    """Though that keeps the output open, and prints all the time."""
    pid = tmp_path / "pid"
    script = (
        f"setsid sh -c 'echo $$ > {pid}.new; mv {pid}.new {pid}; exec yes' & "
        f"while [ ! -e {pid} ]; do sleep 0.01; done"
    )
    started = time.monotonic()
    ended = run(shell(script), limit=60)
    assert ended.status == 0
    assert time.monotonic() - started < 20
    wait_until(lambda: not is_running(int(pid.read_text())), what="the end of the talker")
