"""What a program started is ended with it, wherever it has gone; what is not ours never is."""

import contextlib
import subprocess
import sys
import threading
from pathlib import Path

from reconciler.processes import Cancellation, Cancelled, Program, TookTooLong, run
from tests.support.attacks import Attacks
from tests.support.processes import wait_until

AWAY = {
    "in the background": "",
    "a group of its own": "os.setpgid(0, 0)",
    "a session of its own": "os.setsid()",
    "forked twice": "os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0)",
    "deaf": "os.setsid(); [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 10, 15)]",
    "with nothing open": "os.setsid(); os.closerange(0, 100)",
    "with another environment": (
        "os.setsid(); os.execve(sys.executable, [sys.executable, '-c', LATER], {})"
    ),
    "not dying with its parent": (
        "ctypes.CDLL(None).prctl(1, 0); os.setsid(); ctypes.CDLL(None).prctl(36, 1)"
    ),
    "with a child": "os.setsid(); os.fork()",
}
LATER = "import os, time; os.rename({0!r} + '.new', {0!r}); time.sleep(600)"
SHOW = "open({0!r} + '.new', 'w').write(str(os.getpid()))"


def _leaving(shown: Path, way: str, then: str = "") -> Program:
    """A program that leaves a process behind, which writes down its id, and goes on with `then`."""
    path = str(shown)
    code = (
        "import ctypes, os, signal, sys, time\n"
        f"LATER = {LATER.format(path)!r}\n"
        "if os.fork() == 0:\n"
        f"    {way or 'pass'}\n" + f"    {SHOW.format(path)}\n    exec(LATER)\n"
        f"while not os.path.exists({path!r}): time.sleep(0.01)\n{then}\n"
    ).replace("os.execve", f"{SHOW.format(path)}; os.execve")
    return Program([sys.executable, "-I", "-S", "-c", code])


def _is_running(shown: Path) -> bool:
    try:
        stat = Path(f"/proc/{int(shown.read_text())}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_what_a_program_leaves_behind_ends_with_it(attacks: Attacks, tmp_path: Path) -> None:
    for number, (name, way) in enumerate(AWAY.items()):
        shown = tmp_path / str(number)
        assert run(_leaving(shown, way), limit=60).status == 0
        attacks.tried(name, refused=not _is_running(shown))


def test_what_it_leaves_behind_ends_with_a_program_that_is_ended(
    attacks: Attacks, tmp_path: Path
) -> None:
    way = AWAY["forked twice"]
    deaf = "signal.signal(15, signal.SIG_IGN)\ntime.sleep(600)"

    late = tmp_path / "late"
    try:
        run(_leaving(late, way, "time.sleep(600)"), limit=2)
    except TookTooLong:
        attacks.tried("past its limit", refused=late.exists() and not _is_running(late))

    cancelled, cancel = tmp_path / "cancelled", Cancellation()
    ending = threading.Thread(target=lambda: (wait_until(cancelled.exists), cancel.cancel()))
    ending.start()
    try:
        run(_leaving(cancelled, way, deaf), limit=60, cancel=cancel)
    except Cancelled:
        attacks.tried("cancelled, and deaf", refused=not _is_running(cancelled))
    ending.join()

    stopping, frozen = tmp_path / "stopping", "os.kill(os.getppid(), 19)\ntime.sleep(600)"
    try:
        run(_leaving(stopping, way, frozen), limit=2)
    except TookTooLong:
        attacks.tried("its supervisor is stopped", refused=not _is_running(stopping))
    assert attacks.count == 3


def test_what_is_left_behind_ends_with_a_killed_service(attacks: Attacks, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    program = _leaving(shown, AWAY["forked twice"], "time.sleep(600)")
    code = f"from reconciler.processes import *\nrun(Program({program.words!r}), limit=None)"
    service = subprocess.Popen([sys.executable, "-c", code])
    wait_until(shown.exists)
    service.kill()
    service.wait()
    wait_until(lambda: not _is_running(shown), what="the end of what the program left")
    attacks.tried("kill -9 of the service", refused=True)


def test_each_program_ends_its_own_and_nobody_else_s(tmp_path: Path) -> None:
    """Two passes at once, and a process that is ours but not of any pass."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    bystander = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    cancel = Cancellation()

    def second() -> None:
        with contextlib.suppress(Cancelled):
            run(_leaving(other, AWAY["forked twice"], "time.sleep(600)"), limit=60, cancel=cancel)

    running = threading.Thread(target=second)
    running.start()
    wait_until(other.exists)
    run(_leaving(mine, AWAY["forked twice"]), limit=60)
    found = (_is_running(mine), _is_running(other), bystander.poll())
    cancel.cancel()
    running.join()
    after = (_is_running(other), bystander.poll())
    bystander.kill()
    bystander.wait()
    assert found == (False, True, None)
    assert after == (False, None)


def test_the_program_s_status_is_its_own(tmp_path: Path) -> None:
    """Though what is waited for is its supervisor."""
    wanted = {
        "exit 3": 3,
        "kill -9 $$": -9,
        "kill -11 $$": -11,
        "kill -15 $$": -15,
        "kill -10 $$": -10,
    }
    found = {script: run(Program(["sh", "-c", script]), limit=60).status for script in wanted}
    assert found == wanted
