"""What it costs at 36 to 3,000 packages: `check`, a pass with nothing to do, one changed version.

Processor time, since it is the same on a busy machine. Beside each, uv alone doing the same. The
plots are written to `docs/growth.svg`.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.idle import record
from benchmarks.measure import Row, Side, in_turn
from benchmarks.plot import Curve, Panel, draw
from benchmarks.scene import Scene, environment_of, reconcile
from reconciler.environment.environment import Environment
from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal
from reconciler.passes.runner import PassRunner
from reconciler.passes.sweeping import sweep
from reconciler.status import Result
from tests.support.environments import install, run_uv
from tests.support.sized import sized
from tests.support.wheels import make_wheel

SIZES = (36, 300, 1_000, 3_000)
PLOTS = Path(__file__).parent.parent / "docs" / "growth.svg"
_SETTLED_SECONDS = 2.5
"""A folder that was changed just before is looked through again at each pass."""

_Found = dict[str, dict[int, float]]
"""Of each side: the processor milliseconds at each size."""


def growth(scene: Scene, rounds: int) -> list[Row]:
    """All three at each size, and the plots."""
    folders = {count: sized(scene.work / f"sized-{count}", count) for count in SIZES}
    parts = {
        "`reconciler check`": (_check, "uv pip install --check"),
        "a pass with nothing to do": (_nothing, "uv pip install --check"),
        "one package changes": (_edit, "uv pip install"),
    }
    rows, panels = [], []
    for what, (measure, beside) in parts.items():
        ours, theirs, after = Side(what), Side(beside), Side("removing what it discarded")
        found: _Found = {ours.name: {}, theirs.name: {}}
        for count, folder in folders.items():
            for side in (ours, theirs, after):
                side.cpu.clear()
                side.wall.clear()
            measure(folder, rounds, ours, theirs, after)
            found[ours.name][count] = ours.spent
            found[theirs.name][count] = theirs.spent
            value = f"{ours.spent:.1f} ms ({beside}: {theirs.spent:.0f} ms)"
            if after.cpu:
                value += f", and {after.spent:.0f} ms after it"
            rows.append(Row(f"{what}, {count} packages, processor time", value, "", None))
        rows.append(_linear(what, found[ours.name]))
        curves = [Curve(name.replace("`", ""), costs) for name, costs in found.items()]
        panels.append(Panel(what.replace("`", ""), curves))
    PLOTS.write_text(draw(panels, "packages installed", "ms of processor time"))
    return rows


def _linear(what: str, found: dict[int, float]) -> Row:
    """From the second size on, so that what it costs to start does not hide the growth."""
    few, many = SIZES[1], SIZES[-1]
    factor = found[many] / found[few]
    most = many / few * 1.3
    value = f"{factor:.1f} times for {many / few:.0f} times the packages"
    return Row(f"{what}: growth", value, "linear", factor <= most)


def _check(folder: Path, rounds: int, ours: Side, theirs: Side, _: Side) -> None:
    program = Path(sys.executable).parent / "reconciler"
    command = [str(program), "check", "-q", "--python", str(folder / ".venv")]
    in_turn(rounds, lambda: ours.start(command, folder), lambda: _uv_check(theirs, folder))


def _nothing(folder: Path, rounds: int, ours: Side, theirs: Side, _: Side) -> None:
    environment = environment_of(folder)
    assert reconcile(environment, audit=True).snapshot.drift.in_sync
    journal = Journal(folder / "journal.sqlite3")
    recorder = PassRunner(environment, journal, HoldMonitor(environment))
    time.sleep(_SETTLED_SECONDS)
    record(recorder)
    in_turn(rounds, lambda: ours.run(lambda: record(recorder)), lambda: _uv_check(theirs, folder))
    journal.close()


def _uv_check(side: Side, folder: Path) -> None:
    side.run(lambda: run_uv("pip", "install", "--check", *_asked(folder)))


def _asked(folder: Path) -> list[str]:
    return ["--offline", "-q", "--python", str(folder / ".venv"), "-r", f"{folder}/pyproject.toml"]


def _edit(folder: Path, rounds: int, ours: Side, theirs: Side, after: Side) -> None:
    """Each side changes `thing` to and fro, in the same environment."""
    wheels = [make_wheel(folder / "wheels", "thing", version) for version in ("1.0", "2.0")]
    install(folder / ".venv", wheels[0])
    pyproject = folder / "pyproject.toml"
    others = pyproject.read_text().replace("dependencies = [", "dependencies = [\n  THING,")
    settings = f'\n[tool.uv]\nno-index = true\nfind-links = ["{folder / "wheels"}"]\n'
    versions = ["1.0", "2.0"]

    def changed(action: Callable[[], object]) -> None:
        versions.reverse()
        pyproject.write_text(others.replace("THING", f'"thing=={versions[0]}"') + settings)
        action()

    environment = environment_of(folder)

    def by_us() -> None:
        changed(lambda: ours.run(lambda: _changed(environment)))
        after.run(lambda: sweep(environment))

    found = ("--no-index", "--find-links", str(folder / "wheels"))

    def by_uv() -> None:
        changed(lambda: theirs.run(lambda: run_uv("pip", "install", *found, *_asked(folder))))

    in_turn(rounds, by_us, by_uv)


def _changed(environment: Environment) -> None:
    outcome = reconcile(environment, audit=False)
    assert outcome.result is Result.CHANGED, outcome
