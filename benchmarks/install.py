"""34 missing requirements: one pass, beside uv alone and beside pip again and again."""

import subprocess
import time
from pathlib import Path

from benchmarks.measure import Row, Side, in_turn, ratio
from benchmarks.scene import STUDIO, Scene, environment_of, reconcile
from reconciler.environment.environment import Environment
from reconciler.status import Result
from tests.support.service import ServiceProcess

_DEBOUNCE = 0.3
_POLL = 0.01
_LONGEST = 300.0


def against_uv(scene: Scene, rounds: int) -> list[Row]:
    """A pass in this process, and the whole way from a saved file to `/status`.

    Both install what a bare `uv pip install -r` does, from the same warm cache, into a new
    environment each time.
    """
    bare, ours, whole = Side("uv"), Side("pass"), Side("service")
    _bare(scene, Side("warms the cache"))
    in_turn(rounds, lambda: _pass(scene, ours), lambda: _bare(scene, bare))
    rows = [ratio("34 missing requirements, one pass", ours, bare, 1.4)]
    beside = Side("uv")
    in_turn(rounds, lambda: _whole_way(scene, whole), lambda: _bare(scene, beside))
    what = "34 missing requirements, from the saved file to InSync in /status, debounce apart"
    return [*rows, ratio(what, whole, beside, 1.4)]


def _bare(scene: Scene, side: Side) -> None:
    folder = scene.fresh("bare")
    what = ("-r", scene.listed, "-c", scene.constraints)
    side.run(lambda: scene.uv(folder, "install", *what))


def _pass(scene: Scene, side: Side) -> None:
    environment = environment_of(scene.fresh("pass"))
    side.run(lambda: _changed(environment))


def _changed(environment: Environment) -> None:
    outcome = reconcile(environment, audit=True)
    assert outcome.result is Result.CHANGED, outcome


def _whole_way(scene: Scene, side: Side) -> None:
    folder = scene.fresh("whole")
    pyproject = folder / "pyproject.toml"
    pyproject.write_text('[project]\nname = "studio"\nversion = "1"\ndependencies = []\n')
    table = {"pyproject": str(pyproject), "python": str(folder / ".venv")}
    service = ServiceProcess(folder / "service", {"studio": table})
    try:
        service.start()
        service.wait_for_phase("InSync")
        service.wait_for_environment(lambda row: row["gpu"])  # or the probe would run meanwhile
        started = time.perf_counter()
        pyproject.write_text(STUDIO.read_text())
        _wait_until_in_sync(service)
        side.add(time.perf_counter() - started - _DEBOUNCE)
    finally:
        service.close()


def _wait_until_in_sync(service: ServiceProcess) -> None:
    deadline = time.monotonic() + _LONGEST
    while time.monotonic() < deadline:
        row = service.environment()
        if row["phase"] == "InSync" and len(row["packages"]) == 36:
            return
        time.sleep(_POLL)
    raise TimeoutError(service.log.read_text())


def against_pip(scene: Scene) -> list[Row]:
    """The same by `pip install --upgrade`, one requirement after another, warm cache, once."""
    ours = Side("pass")
    _pip_one_by_one(scene)  # warms pip's own cache
    _pass(scene, ours)
    took = _pip_one_by_one(scene)
    _pass(scene, ours)
    factor = took / ours.median
    value = f"{factor:.0f} times faster (pip {took:.0f} s, pass {ours.median:.2f} s)"
    return [Row("34 times `pip install --upgrade`", value, "at least 25", factor >= 25)]


def _pip_one_by_one(scene: Scene) -> float:
    folder = scene.fresh("pip")
    scene.uv(folder, "install", "pip")
    python = folder / ".venv" / "bin" / "python"
    started = time.perf_counter()
    for requirement in scene.requirements:
        _pip(python, requirement, scene.constraints)
    return time.perf_counter() - started


def _pip(python: Path, requirement: str, constraints: Path) -> None:
    words = ["-m", "pip", "install", "-q", "--upgrade", requirement, "-c", str(constraints)]
    subprocess.run([str(python), *words], check=True, stderr=subprocess.DEVNULL, timeout=_LONGEST)
