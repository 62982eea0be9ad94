"""Brings a running service to a chosen moment of a pass, where it stays until it is ended."""

import gzip
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.environments import FileState, site_packages, tree_fingerprint
from tests.support.index import PackageIndex
from tests.support.processes import wait_until
from tests.support.projects import Project
from tests.support.service import ServiceFactory, ServiceProcess
from tests.support.wheels import make_wheel, metadata_text

_BACKEND = """
import pathlib, time

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    pathlib.Path({marker!r}).touch()
    time.sleep(600)
"""
_VERIFY = """
import pathlib, time
if pathlib.Path({wanted!r}).exists():
    pathlib.Path({marker!r}).touch()
    time.sleep(600)
"""


@dataclass(frozen=True)
class Stage:
    """What a moment plays on."""

    project: Project
    index: PackageIndex
    folder: Path
    start: ServiceFactory
    before: dict[str, FileState] = field(default_factory=dict)
    """The live tree before the pass in question."""

    @property
    def marker(self) -> Path:
        """Appears once the moment is reached."""
        return self.folder / "reached"

    def begin(self, **keys: str | list[str]) -> ServiceProcess:
        """A service in sync with `alpha`, which is then asked for `beta` as well."""
        self.project.write(["alpha"])
        process = self.start(interval="1h", **keys)
        process.wait_for_phase("InSync")
        self.before.update(tree_fingerprint(self.project.venv))
        return process


Moment = Callable[[Stage], tuple[ServiceProcess, Callable[[], None]]]
"""Returns the service, and what removes the obstacle again."""


def resolving(stage: Stage) -> tuple[ServiceProcess, Callable[[], None]]:
    """The index does not answer."""
    process = stage.begin()
    stage.index.slow(600)
    stage.project.save(["alpha", "beta"])
    wait_until(lambda: stage.index.requests_for("beta"), what="a question about beta")
    return process, stage.index.heal


def downloading(stage: Stage) -> tuple[ServiceProcess, Callable[[], None]]:
    """The file does not come."""
    process = stage.begin()
    stall = stage.index.stall_downloads(for_name="beta")
    stage.project.save(["alpha", "beta"])
    stall.wait_reached()
    return process, stage.index.heal


def building(stage: Stage) -> tuple[ServiceProcess, Callable[[], None]]:
    """A package from source, of which the backend does not end."""
    process = stage.begin()
    stage.index.remove("beta")
    stage.index.add(_slow_sdist(stage.folder, stage.marker))
    stage.project.save(["alpha", "beta"])
    wait_until(stage.marker.exists, what="the backend's start")

    def mend() -> None:
        stage.index.add(make_wheel(stage.folder, "beta", "1.0"))

    return process, mend


def verifying(stage: Stage) -> tuple[ServiceProcess, Callable[[], None]]:
    """The user's own command does not end."""
    wanted = stage.folder / "wanted"
    code = _VERIFY.format(wanted=str(wanted), marker=str(stage.marker))
    process = stage.begin(verify=["python", "-c", code])
    wanted.touch()
    stage.project.save(["alpha", "beta"])
    wait_until(stage.marker.exists, what="the command's start")
    return process, wanted.unlink


def cloning(stage: Stage) -> tuple[ServiceProcess, Callable[[], None]]:
    """The environment has many files; the first of them are cloned."""
    process = stage.begin()
    ballast = site_packages(stage.project.venv) / "ballast"
    for number in range(50):
        folder = ballast / f"part_{number}"
        folder.mkdir(parents=True)
        for other in range(100):
            (folder / f"module_{other}.py").touch()
    stage.index.slow(600)
    workspace = stage.project.venv / ".reconciler"
    stage.project.save(["alpha", "beta"])
    wait_until(lambda: [*workspace.glob("work-*/stage/lib")], what="the first cloned folder")
    return process, stage.index.heal


def _slow_sdist(folder: Path, marker: Path) -> Path:
    members = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\n'
        'backend-path = ["."]\n',
        "backend.py": _BACKEND.format(marker=str(marker)),
        "PKG-INFO": metadata_text("beta", "1.0"),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in members.items():
            entry = tarfile.TarInfo(f"beta-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    path = folder / "beta-1.0.tar.gz"
    path.write_bytes(gzip.compress(buffer.getvalue()))
    return path
