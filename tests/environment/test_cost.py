"""What looking costs grows with what is there and no faster; it is counted, never timed."""

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from tests.support.passes import reconcile
from tests.support.sized import real_sized, sized
from tests.support.thorough import sample

SMALL = 50
STARTS = frozenset({"fork_exec", "posix_spawn", "fork", "forkpty", "system"})
ALLOWANCE = 1.15
"""Of what a folder with ten times as many names costs, a little is not linear: it is sorted."""


def environment_of(folder: Path, **settings: object) -> Environment:
    config = EnvironmentConfig(
        name="sized", pyproject=folder / "pyproject.toml",
        python=folder / ".venv" / "bin" / "python", **settings,
    )  # fmt: skip
    return Environment(config, dict(os.environ))


class Counted:
    """Calls of one run: all of them, those that ask the disk, and those that start a process."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.calls: Counter[str] = Counter()
        sys.setprofile(self._note)
        try:
            action()
        finally:
            sys.setprofile(None)

    def _note(self, _frame: object, event: str, called: object) -> None:
        if event == "call":
            self.calls["all"] += 1
        elif event == "c_call":
            self.calls["all"] += 1
            self.calls["disk"] += getattr(called, "__module__", None) == "posix"
            self.calls["started"] += getattr(called, "__name__", None) in STARTS


@pytest.mark.parametrize("times", sample([10, 60], every=2))
def test_looking_grows_with_the_packages(times, tmp_path):
    found = {}
    for count in (SMALL, SMALL * times):
        environment = environment_of(sized(tmp_path / str(count), count))
        environment.interpreters.get()
        first = Counted(lambda it=environment: it.look(audit_files=True))
        assert reconcile(environment, audit=False).snapshot.drift.in_sync
        again = Counted(lambda it=environment: reconcile(it, audit=False))
        assert again.calls["started"] == 0, "a pass with nothing to do starts no process"
        found[count] = {
            f"{name}, {kind}": run.calls[kind]
            for name, run in (("the first look", first), ("a pass", again))
            for kind in ("all", "disk")
        }
    small, large = found.values()
    grown = {what: large[what] / small[what] for what in small}
    print(found)
    assert {what: by for what, by in grown.items() if by > times * ALLOWANCE} == {}
    assert small["a pass, disk"] < 2 * SMALL + 100, "METADATA and RECORD of each package"


def test_a_large_file_is_read_once(tmp_path):
    costs = []
    for extras in (5, 20):
        folder = real_sized(tmp_path / str(extras), extras)
        names = tuple(f"extra-{number}" for number in range(extras))
        environment = environment_of(folder, extras=names)
        environment.interpreters.get()
        costs.append(Counted(environment.look).calls["all"])
        assert len(environment.look().desired.requirements) > extras * 20
    small, large = costs
    print(costs)
    assert large / small < 4 * ALLOWANCE
