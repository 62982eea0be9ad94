"""Watches a project while the kernel's inotify limits are used up, and after they are raised.

Run as root of a user namespace of its own, which has limits of its own; prints what happened, as
JSON. The argument is the limit: `watches` or `instances`.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from reconciler.config import EnvironmentConfig
from reconciler.daemon import watch
from reconciler.daemon.watch import Watcher
from reconciler.status import Trigger

_PATIENCE_SECONDS = 20.0


class Watched:
    """A project, its watcher, and what the watcher has said."""

    def __init__(self, folder: Path) -> None:
        self.pyproject = folder / "pyproject.toml"
        self.pyproject.write_text("")
        self.woken: list[Trigger] = []
        self.told: list[str | None] = []
        python = folder / ".venv" / "bin" / "python"
        config = EnvironmentConfig(name="studio", pyproject=self.pyproject, python=python)
        self.watcher = Watcher(
            config, lambda trigger, _: self.woken.append(trigger), lambda: None, self.told.append
        )

    async def edit(self, text: str) -> float:
        """Save the file, and wait until the worker would be woken up; the seconds it took."""
        self.woken.clear()
        fresh = self.pyproject.with_name("fresh")
        fresh.write_text(text)
        fresh.rename(self.pyproject)
        began = time.monotonic()
        await until(lambda: Trigger.FILE in self.woken)
        return time.monotonic() - began


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, within reason."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 -- it is about files and threads
            await asyncio.sleep(0.05)


def set_limit(limit: Path, most: int) -> None:
    """Of what this user namespace may have."""
    limit.write_text(str(most))


async def main(limit: Path) -> None:
    """Edit the file under both conditions."""
    watch._RETRY_SECONDS = 3.0
    with tempfile.TemporaryDirectory() as folder:
        set_limit(limit, 0)
        watched = Watched(Path(folder))
        task = asyncio.create_task(watched.watcher.run())
        await until(lambda: len(watched.told) == 1)
        polled = await watched.edit("[project]")
        set_limit(limit, 10_000)
        await until(lambda: len(watched.told) == 2)
        seen = await watched.edit("[tool]")
        task.cancel()
        print(json.dumps({"told": watched.told, "polled": polled, "seen": seen}))


if __name__ == "__main__":
    asyncio.run(main(Path("/proc/sys/user") / f"max_inotify_{sys.argv[1]}"))
