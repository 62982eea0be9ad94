"""The injector itself: it sees every process, and hits exactly the change that it is told."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.environments import uv_binary

CHANGES = """
import os, subprocess, sys
from pathlib import Path
here, uv = Path(sys.argv[1]), sys.argv[2]
(here / "one").mkdir()
Path("/dev/null").write_text("not below, so it does not count")
with (here / "two").open("w") as file:
    file.write("two")
subprocess.run([uv, "venv", "--quiet", "--no-project", "--offline", here / "three"])
(here / "two").rename(here / "four")
"""
DRIVER = """
import json, os, sys
from pathlib import Path
from tests.crash.faults import FAULTS
from tests.crash.injector import Injector
below, fault, at, *command = sys.argv[1:]
run = Injector(Path(below), FAULTS.get(fault), int(at)).run(
    lambda: os.execv(command[0], command), dict(os.environ), Path(below).with_name("output")
)
changes = [[c.program, c.name, *c.paths] for c in run.changes]
print(json.dumps([run.status, run.count, str(run.hit or ""), changes]))
"""


class Driven(NamedTuple):
    status: int
    count: int
    hit: str
    changes: list[list[str]]


def inject(below: Path, fault: str = "none", at: int = 0) -> Driven:
    """Run the injector in a process of its own, since it ends all that was started below it."""
    below.mkdir()
    command = [sys.executable, "-c", CHANGES, below, uv_binary()]
    answer = subprocess.run(
        [sys.executable, "-c", DRIVER, below, fault, str(at), *command],
        capture_output=True, text=True, check=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    return Driven(*json.loads(answer.stdout))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Driven:
    return inject(tmp_path_factory.mktemp("undisturbed") / "below")


def test_the_changes_of_all_processes_are_seen_in_order(undisturbed: Driven) -> None:
    seen = [change for change in undisturbed.changes if change[0] != "uv"]
    program = Path(os.path.realpath(sys.executable)).name
    assert seen == [
        [program, "mkdir", "one"],
        [program, "open", "two"],
        [program, "write", "two"],
        [program, "rename", "two", "four"],
    ]
    assert ["uv", "mkdir", "three"] in undisturbed.changes
    assert undisturbed.count == len(undisturbed.changes)
    assert undisturbed.status == 0


def test_kill_all_lets_exactly_the_changes_before_happen(tmp_path: Path) -> None:
    run = inject(tmp_path / "below", "kill-all", 3)
    assert run.hit.endswith("write two")
    assert run.status == -9
    assert (tmp_path / "below/two").read_text() == ""
    assert not (tmp_path / "below/three").exists()


def test_kill_uv_kills_uv_alone(tmp_path: Path) -> None:
    run = inject(tmp_path / "below", "kill-uv", 1)
    assert run.hit.startswith("uv: ")
    assert run.status == 0
    assert (tmp_path / "below/four").exists()
    assert not (tmp_path / "below/three/bin/python").exists()


@pytest.mark.parametrize(("fault", "later"), [("ENOSPC", True), ("ENOSPC-on", False)])
def test_an_error_is_returned_once_or_from_then_on(
    fault: str, *, later: bool, tmp_path: Path
) -> None:
    run = inject(tmp_path / "below", fault, 4)
    assert run.hit.startswith("uv: ")
    assert (tmp_path / "below/four").exists() is later


def test_only_a_call_that_can_fail_so_is_hit(tmp_path: Path) -> None:
    run = inject(tmp_path / "below", "EMFILE", 1)
    assert run.hit.endswith("open two")
    assert run.status == 1
