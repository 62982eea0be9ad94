"""What it costs when there is nothing to do: one pass, and a minute of the idle service."""

import shutil
import statistics
import sys
import time
from pathlib import Path

from benchmarks.measure import Row, Side, bound, in_turn, ratio
from benchmarks.scene import Scene, Silent, environment_of, packages_in, reconcile
from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal
from reconciler.passes import reconcile as passes
from reconciler.passes.runner import PassRunner
from reconciler.processes import Cancellation
from reconciler.status import Result
from tests.support.environments import uninstall
from tests.support.service import ServiceProcess

_STARTS = frozenset({"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.system",
                     "os.exec", "os.spawn"})  # fmt: skip
_SETTLE_SECONDS = 10.0


def nothing_to_do(scene: Scene, rounds: int) -> list[Row]:
    """A pass in an environment that is in sync, beside uv's own check of the same."""
    folder = scene.large
    environment = environment_of(folder)
    assert reconcile(environment, audit=True).snapshot.drift.in_sync
    journal = Journal(scene.work / "journal.sqlite3")
    recorder = PassRunner(environment, journal, HoldMonitor(environment))
    ours, recorded, theirs = Side("pass"), Side("recorded pass"), Side("uv --check")
    started: list[str] = []
    sys.addaudithook(lambda event, _: started.append(event) if event in _STARTS else None)
    processes = 0

    def passes() -> None:
        nonlocal processes
        started.clear()
        ours.run(lambda: reconcile(environment, audit=False))
        recorded.run(lambda: record(recorder))
        processes += len(started)

    def check() -> None:
        theirs.run(lambda: scene.uv(folder, "install", "--check", "-r", scene.listed))

    in_turn(rounds * 4, passes, check)
    count = packages_in(folder)
    return [
        _bounded(f"nothing to do, {count} packages: one pass", ours),
        _bounded("the same, recorded as the service does", recorded),
        bound("processes that all of these started", processes, "processes", 0),
        ratio("nothing to do, beside `uv pip install --check`", recorded, theirs, None),
    ]


def _bounded(what: str, side: Side) -> Row:
    row = bound(what, side.median * 1000, "ms", 10)
    best, cpu = min(side.wall) * 1000, statistics.median(side.cpu) * 1000
    extra = f"(best {best:.1f} ms, processor time {cpu:.1f} ms)"
    return Row(row.what, f"{row.value} {extra}", row.target, row.met)


def record(recorder: PassRunner) -> None:
    """A pass with nothing to do, recorded as the service does."""
    found = recorder.run(
        lambda running: passes.reconcile(running, audit=False),
        trigger="interval",
        pass_id=None,
        cancel=Cancellation(),
        listener=Silent(),
        keep_unchanged=False,
    )
    assert found.detail.result is Result.UNCHANGED, found.trouble


def idle_service(scene: Scene, seconds: float) -> list[Row]:
    """Memory and processor time of the service while nothing happens."""
    folder = scene.large
    table = {"pyproject": str(folder / "pyproject.toml"), "python": str(folder / ".venv")}
    service = ServiceProcess(scene.work / "service", {"studio": table})
    try:
        service.start()
        service.wait_for_phase("InSync")
        time.sleep(_SETTLE_SECONDS)  # what is measured is the time after the start
        rows = _memory(service.pid, "after the start")
        rows += _idle(service.pid, seconds)
        _have_a_pass(service, folder)
        return [*rows, *_memory(service.pid, "after a pass that put a package back")]
    finally:
        service.close()
        shutil.rmtree(folder / ".venv" / ".reconciler", ignore_errors=True)


def _have_a_pass(service: ServiceProcess, folder: Path) -> None:
    before = service.environment()["generation"]
    uninstall(folder / ".venv", "scikit-learn")
    service.wait_for_environment(
        lambda row: row["generation"] > before and row["phase"] == "InSync", timeout=300
    )
    time.sleep(_SETTLE_SECONDS)


def _memory(pid: int, when: str) -> list[Row]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kilobytes = {w[0].rstrip(":"): int(w[1]) for w in map(str.split, lines) if w[-1] == "kB"}
    resident, share = kilobytes["Rss"] / 1024, kilobytes["Pss"] / 1024
    row = bound(f"memory of the idle service, {when}", resident, "MB resident", 60)
    return [Row(row.what, f"{row.value} ({share:.0f} MB its own)", row.target, row.met)]


def _idle(pid: int, seconds: float) -> list[Row]:
    cpu, switches = _used(pid)
    time.sleep(seconds)
    cpu_after, switches_after = _used(pid)
    share = (cpu_after - cpu) / seconds * 100
    row = bound(f"processor time over {seconds:.0f} s", share, "% of a core", 0.1)
    often = (switches_after - switches) / seconds
    return [Row(row.what, f"{row.value} (woken {often:.1f} times a second)", row.target, row.met)]


def _used(pid: int) -> tuple[float, int]:
    """Processor seconds of all its threads, to the nanosecond, and how often they were woken."""
    nanoseconds = switches = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        nanoseconds += int((task / "schedstat").read_text().split()[0])
        lines = (task / "status").read_text().splitlines()
        switches += sum(int(li.split()[1]) for li in lines if li.startswith("voluntary_ctxt"))
    return nanoseconds / 1e9, switches
