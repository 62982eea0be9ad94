"""Counts how often a process that only watches a project is woken up."""

import asyncio
import sys
from pathlib import Path

from reconciler.config import EnvironmentConfig
from reconciler.daemon.watch import Watcher
from reconciler.status import Trigger


async def wakeups(folder: Path) -> int:
    """How often the threads of this process are woken up within a second."""
    woken: list[Trigger] = []
    (folder / "pyproject.toml").write_text("")
    python = folder / ".venv" / "bin" / "python"
    config = EnvironmentConfig(name="studio", pyproject=folder / "pyproject.toml", python=python)
    watcher = Watcher(config, lambda trigger, _: woken.append(trigger), lambda: None)
    task = asyncio.create_task(watcher.run())
    async with asyncio.timeout(30):
        while not woken:  # noqa: ASYNC110 -- it is told by a plain call
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)  # the last steps of setting the watches
    before = _switches()
    await asyncio.sleep(1)
    found = _switches() - before
    task.cancel()
    return found - 1  # that of this sleep


def _switches() -> int:
    lines = [
        line
        for task in Path("/proc/self/task").iterdir()
        for line in (task / "status").read_text().splitlines()
    ]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))


if __name__ == "__main__":
    print(asyncio.run(wakeups(Path(sys.argv[1]))))
