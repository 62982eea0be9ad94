"""What is taken away and put back while it is read was never gone: no hold counts as broken."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal
from reconciler.passes.outcome import KeepsChanging
from reconciler.passes.publish import until_unchanged
from reconciler.passes.reconcile import reconcile
from reconciler.passes.runner import PassRunner
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import Result
from tests.support.environments import dist_infos, install, site_packages
from tests.support.passes import Follower, environment_for
from tests.support.processes import wait_until
from tests.support.wheels import make_wheel

_READS = frozenset({"open", "os.listdir", "os.scandir"})


class Interference:
    """Does something at each moment that a process reads below a folder (sys.addaudithook)."""

    def __init__(self) -> None:
        self.below, self.act, self.count = "", None, 0
        sys.addaudithook(self._hear)

    @contextmanager
    def at_each_read(self, below, act):
        """In this context, call `act(n)` before the n-th read."""
        self.below, self.act, self.count = str(below), act, 0
        try:
            yield self
        finally:
            self.act = None

    def _hear(self, event, arguments):
        act = self.act
        if act is None or event not in _READS or not isinstance(arguments[0], str | os.PathLike):
            return
        path = os.fspath(arguments[0])
        if isinstance(path, str) and path.startswith(self.below):
            self.act = None  # what it does itself is no read
            self.count += 1
            act(self.count)
            self.act = act


@pytest.fixture(scope="module")
def interference():
    return Interference()


@pytest.fixture
def studio(project, venv, wheelhouse):
    """A held torch, and another package, just as declared."""
    install(venv, *(make_wheel(wheelhouse / "vanish", n, "1.0") for n in ("torch", "alpha")))
    project.write(["torch", "alpha"])
    return venv


def one_pass(project, journal):
    environment = environment_for(project)
    monitor = HoldMonitor(environment)
    seen = []

    def look(running):
        snapshot = running.look(audit=True)
        return snapshot, monitor.keep(
            snapshot, running.lock, compare=True, refuse_moved=running.refuse_moved
        )

    def work(running):
        _, holds = until_unchanged(running, lambda: look(running))
        seen.extend(hold.message for hold in holds if not hold.intact)
        return reconcile(running, audit=False)

    recorded = PassRunner(environment, journal, monitor).run(
        work, trigger="manual", pass_id=None, cancel=Cancellation(), listener=Follower()
    )
    return recorded, seen


def test_what_vanishes_for_a_moment_while_it_is_read_costs_nothing(
    project, studio, tmp_path, interference
):
    """As another installer does it, at every moment at which something is read."""
    site = site_packages(studio)
    (site / "extra.pth").write_text("/nowhere\n")
    (torch,), (alpha,) = dist_infos(studio, "torch"), dist_infos(studio, "alpha")
    journal = Journal(tmp_path / "journal.sqlite3")
    with interference.at_each_read(site, lambda _: None) as undisturbed:
        assert one_pass(project, journal)[0].detail.result is Result.UNCHANGED
        reads = undisturbed.count
    wrong = []
    targets = [torch, torch / "RECORD", alpha / "METADATA", alpha, torch / "METADATA",
               alpha / "RECORD", site / "extra.pth", site]  # fmt: skip
    cases = [(target, n) for n in range(1, reads + 1) for target in targets]

    for target, at in cases[::13]:
        gone = target.with_name(f"~{target.name}")

        def act(number, target=target, at=at, gone=gone):
            if number == at:
                target.rename(gone)
            elif number == at + 2 and gone.exists():
                gone.rename(target)

        with interference.at_each_read(studio / "lib", act):
            recorded, broken = one_pass(project, journal)
        if gone.exists():  # nothing was read afterwards
            gone.rename(target)
            continue
        if broken or recorded.trouble or recorded.detail.result is not Result.UNCHANGED:
            wrong.append((target.name, at, broken, recorded.trouble, recorded.detail.result))

    journal.close()
    assert reads > 20
    assert wrong == []


def test_an_installer_that_never_ends_is_named(project, studio, interference):
    """It has taken alpha away, and goes on changing something for as long as we look."""
    (alpha,) = dist_infos(studio, "alpha")
    shutil.rmtree(alpha)
    running = Pass(environment_for(project), Cancellation(), Follower())
    pip, pid = studio / "bin" / "pip", studio / "pid"
    pip.write_text(f"#!/bin/sh\necho $$ > {pid}.new; mv {pid}.new {pid}; sleep 120\n")
    pip.chmod(0o755)
    # Adopted by init: what the tests start themselves is none of the others.
    subprocess.run(["sh", "-c", f"setsid {pip} &"], check=True)
    wait_until(pid.exists, what="pip to run")

    def act(number):
        (site_packages(studio) / f"part-{number}").touch()

    try:
        with (
            interference.at_each_read(site_packages(studio), act),
            pytest.raises(KeepsChanging, match=rf"process {pid.read_text().strip()} \(pip\)"),
        ):
            running.look(audit=True)
    finally:
        os.killpg(int(pid.read_text()), signal.SIGKILL)
