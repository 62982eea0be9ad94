"""Run the benchmarks: `uv run python -m benchmarks [install] [one-by-one] [nothing] [idle]`.

Each compares two sides in one run, interleaved, and prints medians and their ratio; the
machine's own speed cancels out. `install` and `one-by-one` talk to the package registry.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tomli

from reconciler.config import EnvironmentConfig
from reconciler.environment import Environment
from reconciler.processes import Cancellation
from reconciler.reconcile import Outcome, Pass
from tests.support.environments import install as install_wheels
from tests.support.environments import make_venv, run_uv, uv_binary
from tests.support.service import ServiceProcess
from tests.support.torch import gpu_stack
from tests.support.wheels import make_wheel

ROOT = Path(__file__).parent.parent
STUDIO = ROOT / "examples" / "studio" / "pyproject.toml"
ROUNDS = 5
IDLE_SECONDS = 60.0
HELD = ("torch", "torchvision")


class Silent:
    """Follows a pass and says nothing."""

    def phase(self, name: str) -> None: ...

    def line(self, text: str) -> None: ...


def reconcile(environment: Environment, *, audit: bool) -> Outcome:
    return Pass(environment, Cancellation(), Silent()).reconcile(audit=audit)


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def report(name: str, ours: list[float], theirs: list[float], other: str, target: str) -> None:
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    print(
        f"{name}: reconciler {statistics.median(ours):.3f} s, {other} "
        f"{statistics.median(theirs):.3f} s; ratio {ratio:.2f} ({target})",
        flush=True,
    )


def requirements() -> list[str]:
    declared = tomli.loads(STUDIO.read_text())["project"]["dependencies"]
    return [r for r in declared if not r.startswith(HELD)]


def studio(folder: Path, wheels: list[Path]) -> Path:
    """A fresh copy of the example with the GPU stack installed; its environment."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(STUDIO, folder)
    venv = make_venv(folder / ".venv")
    install_wheels(venv, *wheels)
    return venv


def environment_of(folder: Path) -> Environment:
    python = folder / ".venv" / "bin" / "python"
    config = EnvironmentConfig(name="studio", pyproject=folder / "pyproject.toml", python=python)
    return Environment(config, dict(os.environ))


def bare_uv(venv: Path, folder: Path) -> None:
    """The same 34 requirements by uv alone, torch constrained so that it stays."""
    listed, held = folder / "requirements.txt", folder / "held.txt"
    listed.write_text("\n".join(requirements()))
    held.write_text("torch==2.3.1+rocm5.7\ntorchvision==0.18.1+rocm5.7\n")
    run = [uv_binary(), "pip", "install", "-q", "--python", venv, "-r", listed, "-c", held]
    subprocess.run(run, check=True, cwd=folder)


def install(work: Path, wheels: list[Path]) -> list[float]:
    """34 missing requirements: one pass beside one bare `uv pip install`, warm cache."""
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(ROUNDS + 1):
        venv = studio(work / "uv", wheels)
        bare = timed(lambda venv=venv: bare_uv(venv, work / "uv"))
        studio(work / "reconciler", wheels)
        environment = environment_of(work / "reconciler")
        took = timed(lambda e=environment: reconcile(e, audit=True))
        if number:  # the first round warms the cache
            ours.append(took)
            theirs.append(bare)
    report("34 missing requirements", ours, theirs, "uv pip install", "target: at most 1.4")
    return ours


def one_by_one(work: Path, wheels: list[Path], ours: list[float]) -> None:
    """The same by one `pip install --upgrade` after another, once."""
    venv = studio(work / "pip", wheels)
    run_uv("pip", "install", "-q", "--python", str(venv), "pip")
    pip = [venv / "bin" / "python", "-m", "pip", "install", "-q", "--upgrade"]

    def each() -> None:
        for requirement in requirements():
            subprocess.run([*pip, requirement], check=False, stderr=subprocess.DEVNULL)

    took = timed(each)
    factor = took / statistics.median(ours)
    print(f"34 x pip install --upgrade: {took:.1f} s; {factor:.0f} times as long as one pass "
          "(target: at least 25)", flush=True)  # fmt: skip


def hundred_and_fifty(work: Path) -> Path:
    """A project with 150 packages, in sync; its folder."""
    folder = work / "many"
    if folder.exists():
        return folder
    folder.mkdir(parents=True)
    names = [f"package-{n:03}" for n in range(150)]
    wheels = [make_wheel(work / "wheels", n, "1.0", requires=["package-000"]) for n in names]
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "many"\nversion = "0"\ndependencies = {names!r}\n'
        f'[tool.uv]\nno-index = true\nfind-links = ["{work / "wheels"}"]\n'
    )
    install_wheels(make_venv(folder / ".venv"), *wheels)
    return folder


def nothing(work: Path) -> None:
    """A pass with nothing to do in an environment of 150 packages, beside uv's own check."""
    folder = hundred_and_fifty(work)
    environment = environment_of(folder)
    assert reconcile(environment, audit=True).look.drift.in_sync
    started: list[str] = []
    watched = {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.system", "os.exec"}
    sys.addaudithook(lambda event, _: started.append(event) if event in watched else None)
    check = [uv_binary(), "pip", "install", "-q", "--check", "--python", folder / ".venv",
             "-r", "pyproject.toml"]  # fmt: skip
    ours: list[float] = []
    theirs: list[float] = []
    processes = 0
    for _ in range(20):
        started.clear()
        ours.append(timed(lambda: reconcile(environment, audit=False)))
        processes += len(started)
        theirs.append(timed(lambda: subprocess.run(check, check=False, cwd=folder)))
    print(f"nothing to do, 150 packages: {statistics.median(ours) * 1000:.2f} ms "
          f"(target: at most 10), {processes} processes started (target: 0)")  # fmt: skip
    report("nothing to do", ours, theirs, "uv pip install --check", "below 1 is faster")


def idle(work: Path) -> None:
    """Memory and processor time of the service while nothing happens."""
    folder = hundred_and_fifty(work)
    table = {"pyproject": str(folder / "pyproject.toml"), "python": str(folder / ".venv")}
    service = ServiceProcess(work / "service", {"studio": table})
    try:
        service.start()
        service.wait_for_phase("InSync")
        time.sleep(5)  # let the start settle: what is measured is the time after it
        before = cpu_seconds(service.pid)
        time.sleep(IDLE_SECONDS)
        share = (cpu_seconds(service.pid) - before) / IDLE_SECONDS * 100
        print(f"idle service: {resident_megabytes(service.pid):.1f} MB resident "
              f"(target: at most 60), {share:.3f} % of a core (target: at most 0.1)")  # fmt: skip
    finally:
        service.close()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def main() -> None:
    chosen = sys.argv[1:] or ["install", "one-by-one", "nothing", "idle"]
    # Beside the repository's file system, so that hard links to uv's cache work as they do
    # for users; a tmpfs would make uv copy.
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-", dir=Path.home()) as name:
        work = Path(name)
        wheels = gpu_stack(work / "gpu")
        ours: list[float] = []
        if "install" in chosen or "one-by-one" in chosen:
            ours = install(work, wheels)
        if "one-by-one" in chosen:
            one_by_one(work, wheels, ours)
        if "nothing" in chosen:
            nothing(work)
        if "idle" in chosen:
            idle(work)


__all__ = ["main"]

if __name__ == "__main__":
    main()
