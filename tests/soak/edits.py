"""What people do to a project all day: edits, mistakes, pauses, rollbacks, visits of the page."""

import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.e2e.asking import ask, condition, versions
from tests.support.environments import site_packages
from tests.support.processes import wait_until
from tests.support.projects import Project
from tests.support.service import Json, ServiceProcess

VERSIONS = ("1.0", "2.0")
FILES = 30
"""Files of the package that is edited; the versions have different ones."""
HARMED = "torch/version.py"
_PATIENCE = 120.0
_READERS = 3


class Day:
    """One project that is edited again and again, each time until the service has followed.

    Args:
        service: It runs.
        project: Its project.
    """

    def __init__(self, service: ServiceProcess, project: Project) -> None:
        self._service = service
        self._project = project
        self._kinds: dict[int, Callable[[str], None]] = {
            4: self._mistake,
            7: self._unknown_package,
            10: self._paused,
            13: self._rolled_back,
            16: self._hold_broken,
            18: self._reloaded,
        }

    def edit(self, number: int) -> None:
        """Make the edit of this number, and wait until the service has done what follows."""
        wanted = VERSIONS[number % len(VERSIONS)]
        self._kinds.get(number % 20, self._moved)(wanted)
        if number % 5 == 0:
            self.visit()

    def _moved(self, wanted: str) -> None:
        self._save(f"alder=={wanted}")
        self._in_sync(wanted)

    def _mistake(self, wanted: str) -> None:
        self._project.write_text(f"[project\ndependencies = 'alder=={wanted}'")
        self._ready("BadFile")

    def _unknown_package(self, wanted: str) -> None:
        self._save(f"alder=={wanted}", "nowhere-to-be-found")
        self._service.wait_for_phase("Degraded", name="studio", timeout=_PATIENCE)
        self._wait(lambda row: versions(row).get("alder") == wanted)

    def _paused(self, wanted: str) -> None:
        ask(self._service, "pause")
        self._save(f"alder=={wanted}")
        self._wait(lambda row: row["phase"] == "Paused" and _is_wanted(row, wanted))
        ask(self._service, "resume")
        self._in_sync(wanted)

    def _rolled_back(self, wanted: str) -> None:
        ask(self._service, "rollback")
        self._service.wait_for_phase("Paused", timeout=_PATIENCE)
        self._moved(wanted)  # another revision ends the rollback

    def _hold_broken(self, wanted: str) -> None:
        harmed = site_packages(self._project.venv) / HARMED
        harmed.unlink()
        wait_until(harmed.exists, timeout=_PATIENCE, what="the file of the hold")
        self._moved(wanted)

    def _reloaded(self, wanted: str) -> None:
        before = len(self._service.events("service.reloaded"))
        studio = dict(self._service.environments["studio"])
        studio["debounce"] = "60ms" if studio["debounce"] == "50ms" else "50ms"
        self._service.environments["studio"] = studio
        self._service.write_config()
        self._service.signal(signal.SIGHUP)
        wait_until(
            lambda: len(self._service.events("service.reloaded")) > before, timeout=_PATIENCE
        )
        self._moved(wanted)

    def visit(self) -> None:
        """Look at the page, the history and the numbers, and follow the events for a moment."""
        for path in ("/", "/status", "/history", "/metrics", "/static/app.js", "/nothing-here"):
            self._service.client.get(path)
        with ExitStack() as readers:
            for _ in range(_READERS):
                stream = readers.enter_context(self._service.client.stream("GET", "/events"))
                next(stream.iter_lines())

    def save_again(self) -> None:
        """Save the project's file as it is."""
        copy = self._project.path.with_name("copy")
        copy.write_bytes(self._project.path.read_bytes())
        copy.replace(self._project.path)

    def _save(self, *dependencies: str) -> None:
        self._project.save(["torch", *dependencies])

    def _in_sync(self, wanted: str) -> None:
        self._wait(lambda row: row["phase"] == "InSync" and versions(row).get("alder") == wanted)

    def _ready(self, reason: str) -> None:
        self._wait(lambda row: condition(row, "Ready")["reason"] == reason)

    def _wait(self, holds: Callable[[Json], object]) -> None:
        self._service.wait_for_environment(holds, timeout=_PATIENCE)


def _is_wanted(row: Json, version: str) -> bool:
    """Whether this version is asked for, and not installed."""
    alder = next(package for package in row["packages"] if package["name"] == "alder")
    return version in alder["required"] and alder["installed"] != version


def wheels(make: Callable[..., Path], folder: Path) -> list[Path]:
    """Two versions of the package that is edited."""
    return [make(folder, "alder", version, files=_files(version)) for version in VERSIONS]


def _files(version: str) -> dict[str, str]:
    numbers = {f"alder/of_{version[0]}_{n}.py": f"n = {n}\n" for n in range(FILES)}
    return {"alder/__init__.py": f"__version__ = {version!r}\n", **numbers}
