"""What a command did to its disk, write by write, and what is true before and after it."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from tests.powercut.disk import Epochs, mark, plugged_in, recorded
from tests.support.environments import install, make_venv, snapshot, tree_fingerprint, uninstall
from tests.support.index import PackageIndex
from tests.support.processes import run_cli, wait_until
from tests.support.projects import Project
from tests.support.torch import gpu_stack
from tests.support.wheels import bulk_files, make_wheel

SIZES = {"ext4": 96, "btrfs": 128, "xfs": 320}
"""Megabytes of each file system's disk; all but the first are the least that mkfs takes."""
_MAKE: dict[str, Callable[[Path], object]] = {
    "ext4": lambda disk: subprocess.run(["mkfs.ext4", "-q", disk], check=True),
    "btrfs": lambda disk: subprocess.run(["mkfs.btrfs", "-q", disk], check=True),
    "xfs": lambda disk: subprocess.run(["mkfs.xfs", "-q", disk], check=True),
}
_OPTIONS = {"xfs": "nouuid"}  # several copies of one disk are mounted at once
NAMES = ("alder", "birch", "cedar")
HELD = ("torch", "torchvision")
_FILES = 12
_ANSWERED, _BEGUN = "answered", "begun"


@dataclass(frozen=True)
class Truth:
    """What an environment consists of: versions by name, and the held files' SHA-256 by path."""

    versions: dict[str, str]
    held: dict[str, str]


@dataclass(frozen=True)
class Recording:
    """A command's writes, and what the environment was before and after.

    Attributes:
        kind: The file system.
        scenario: What was done.
        image: The disk before the command; never changed.
        epochs: Its writes, those between two flushes together.
        begun: Where the command began: an epoch, and how many of its writes had come.
        answered: Where it had ended.
        old: What was true before.
        new: What is true afterwards.
        ours: What our own folder in the environment contains afterwards.
    """

    kind: str
    scenario: str
    image: Path
    epochs: Epochs
    begun: tuple[int, int]
    answered: tuple[int, int]
    old: Truth
    new: Truth
    ours: set[str]


@contextmanager
def mounted(kind: str, device: Path, folder: Path) -> Iterator[Path]:
    """Mount a disk, and unmount it in the end."""
    folder.mkdir(exist_ok=True)
    options = ",".join(filter(None, ["noatime", _OPTIONS.get(kind)]))
    run("mount", "-t", kind, "-o", options, str(device), str(folder))
    try:
        yield folder
    finally:
        run("umount", str(folder))


def run(*command: str) -> str:
    """Run a program of the system, and return its words; fail with them."""
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert answer.returncode == 0, f"{' '.join(command)}: {answer.stdout}{answer.stderr}"
    return answer.stdout


def truth(venv: Path) -> Truth:
    """Look at an environment."""
    versions = snapshot(venv)
    held = {
        path: state.sha256
        for name in HELD
        if name in versions
        for path, state in tree_fingerprint(venv, name).items()
    }
    return Truth(versions, held)


def project_on(folder: Path, index: PackageIndex) -> Project:
    """The project on a mounted disk."""
    return Project(folder / "project", index.url)


def names_of_ours(venv: Path) -> set[str]:
    """What is in our own folder of an environment."""
    return {path.name for path in (venv / ".reconciler").iterdir()}


def fill(index: PackageIndex, wheels: Path) -> None:
    """Put two versions of each package onto the index."""
    for name in NAMES:
        for version in ("1.0", "2.0"):
            files = {f"{name}/__init__.py": f"__version__ = {version!r}\n"}
            files |= bulk_files(name, _FILES, mark=version)
            index.add(make_wheel(wheels, name, version, files=files, scripts={name: f"{name}:x"}))


def command(project: Project, *words: str) -> str:
    """Run a command with all its files on the project's disk, and return what it said."""
    config = project.directory / "config.toml"
    answer = run_cli(*words, "--config", config, cwd=project.directory)
    return answer.stdout + answer.stderr


def _upgrade(project: Project) -> None:
    project.save(["alder==2.0", "birch==2.0", "cedar==1.0"])


def _lose_torch(project: Project) -> None:
    uninstall(project.venv, "torch")


SCENARIOS: dict[str, tuple[Callable[[Project], None], tuple[str, ...]]] = {
    "apply": (_upgrade, ("apply",)),
    "rollback": (lambda _: None, ("rollback",)),
    "restore": (_lose_torch, ("hold", "restore", "torch")),
    "pause": (_upgrade, ("pause",)),
}
"""What goes before, and the command."""


def _configure(project: Project) -> None:
    config = {
        "service": {"state_dir": str(project.directory / "state")},
        "environments": {"studio": {"pyproject": str(project.path)}},
    }
    (project.directory / "config.toml").write_text(tomli_w.dumps(config))


def record(kind: str, scenario: str, index: PackageIndex, place: Path) -> Recording:
    """Run a scenario on a new disk and note what it writes.

    Args:
        kind: `ext4`, `xfs` or `btrfs`.
        scenario: A key of SCENARIOS.
        index: Filled by `fill`.
        place: A folder for the image, the log and the mount point.
    """
    image, log, mount_point = place / "image", place / "log", place / "mnt"
    with image.open("wb") as made:
        made.truncate(SIZES[kind] << 20)
    _MAKE[kind](image)
    before, words = SCENARIOS[scenario]
    with mounted(kind, image, mount_point):
        project = project_on(mount_point, index)
        project.directory.mkdir()
        _configure(project)
        make_venv(project.venv)
        install(project.venv, "--link-mode=copy", *gpu_stack(place / "gpu", files=8))
        project.write(["alder==1.0", "birch==1.0"])
        command(project, "apply")
        project.save(["alder==1.0", "birch==1.0", "cedar==1.0"])
        command(project, "apply")
        before(project)
        old = truth(project.venv)
    # Another test's mount namespace may have a copy of the mount, and what it writes comes later.
    wait_until(lambda: not run("losetup", "--associated", str(image)), timeout=60)
    with (
        plugged_in(image, place / "disk", log=log) as device,
        mounted(kind, device, mount_point),
    ):
        mark(log, _BEGUN)
        command(project, *words)
        mark(log, _ANSWERED)
        new = truth(project.venv)
        ours = names_of_ours(project.venv)
    epochs, marks = recorded(log)
    begun, answered = marks[_BEGUN], marks[_ANSWERED]
    return Recording(kind, scenario, image, epochs, begun, answered, old, new, ours)
