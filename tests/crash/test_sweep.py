"""A sample of the sweep, at other points each time: `python -m tests.crash` is all of it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.thorough import at_most

POINTS = at_most(20, otherwise=2)
"""In each scenario."""


def test_after_a_fault_anywhere_the_next_start_needs_no_help(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    results = tmp_path / "results.jsonl"
    ended = subprocess.run(
        [sys.executable, "-m", "tests.crash", "--points", str(POINTS), "--critical", "--jobs", "1",
         "--results", results],
        cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout
    for line in results.read_text().splitlines():
        verdict = json.loads(line)
        scenario = verdict["point"][0]
        record_property("faults survived", [scenario, int(bool(verdict["hit"]))])
