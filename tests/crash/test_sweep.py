"""A sample of the sweep, at other points each time: `python -m tests.crash` is all of it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.attacks import COUNTED
from tests.support.thorough import sample


@pytest.mark.parametrize("points", sample([1, 20], every=2))
def test_after_a_fault_anywhere_the_next_start_needs_no_help(
    points: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    results = tmp_path / "results.jsonl"
    ended = subprocess.run(
        [sys.executable, "-m", "tests.crash", "--points", str(points), "--critical", "--jobs", "1",
         "--results", results],
        cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout
    for line in results.read_text().splitlines():
        verdict = json.loads(line)
        scenario = verdict["point"][0]
        record_property(COUNTED, ["faults survived", scenario, int(bool(verdict["hit"]))])
