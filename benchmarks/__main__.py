"""Run the benchmarks: `uv run python -m benchmarks`, or some: `... install idle many`.

Each compares two sides in one run, interleaved, and prints the ratio of the medians, so the
machine's own speed cancels out. Needs the package registry, or all of it in uv's cache.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.clone import cloning
from benchmarks.growth import growth
from benchmarks.idle import idle_service, nothing_to_do
from benchmarks.imports import upgrading
from benchmarks.install import against_pip, against_uv
from benchmarks.many import many_at_once
from benchmarks.measure import Row
from benchmarks.scene import Scene
from reconciler.config import LogFormat, LogLevel
from reconciler.log.logger import configure

ALL = ("install", "nothing", "growth", "idle", "clone", "imports", "pip", "many")


def main() -> int:
    """Run what was asked for; 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("which", nargs="*", metavar="|".join(ALL), help="which ones; default: all")
    parser.add_argument("--rounds", type=int, default=9, help="runs of each side (default: 9)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of idling (default: 60)")
    asked = parser.parse_args()
    unknown = set(asked.which) - set(ALL)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; choose from {', '.join(ALL)}")
    configure(LogFormat.JSON, LogLevel.WARNING)
    # In the home, which uv's cache is in too: there uv links files rather than copying them.
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-", dir=Path.home()) as folder:
        return _run(Scene(Path(folder)), asked.which or ALL, asked.rounds, asked.seconds)


def _run(scene: Scene, which: tuple[str, ...], rounds: int, seconds: float) -> int:
    benchmarks: dict[str, Callable[[], list[Row]]] = {
        "install": lambda: against_uv(scene, rounds),
        "nothing": lambda: nothing_to_do(scene, rounds),
        "growth": lambda: growth(scene, rounds),
        "idle": lambda: idle_service(scene, seconds),
        "clone": lambda: cloning(scene, rounds),
        "imports": lambda: upgrading(scene, rounds),
        "pip": lambda: against_pip(scene),
        "many": lambda: many_at_once(scene.work),
    }
    print("| what | measured | target | |\n|---|---|---|---|", flush=True)
    missed = 0
    for name in which:
        for row in benchmarks[name]():
            print(row, flush=True)
            missed += row.met is False
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
