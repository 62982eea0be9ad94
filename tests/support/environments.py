"""Makes environments with uv and looks at them afterwards, file by file.

The looking is the tests' own: it shares no code with what it judges.
"""

import base64
import csv
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import uuid
from collections import Counter
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import NamedTuple

import uv
from packaging.utils import canonicalize_name

from tests.support import ready_made

SUPPORTED = tuple(f"3.{minor}" for minor in range(8, 14))


class FileState(NamedTuple):
    """What tells a file from any other: where it lies and what it holds."""

    inode: int
    sha256: str


@functools.cache
def uv_binary() -> Path:
    """Return the uv that the `uv` package brings."""
    return Path(uv.find_uv_bin())


@functools.cache
def pythons() -> dict[str, Path]:
    """Return the interpreters of this machine that uv installs into, by `3.X`."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    managed = Path.home() / ".local/share/uv/python"
    found = {f"3.{sys.version_info.minor}": Path(sys.executable)}
    for short in SUPPORTED:
        candidates = [
            *sorted(root.glob(f"versions/{short}.*/bin/python{short}")),
            *sorted(managed.glob(f"cpython-{short}.*/bin/python{short}")),
            Path(shutil.which(f"python{short}") or "/nowhere"),
        ]
        for candidate in candidates:
            if short not in found and _runs(candidate):
                found[short] = candidate
    return found


def _runs(interpreter: Path) -> bool:
    """Tell a real interpreter from a shim that only complains."""
    if not interpreter.exists():
        return False
    command = [str(interpreter), "-c", "import venv"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def make_base(path: Path) -> Path:
    """Make a Python of its own, whose site-packages are empty, and return its interpreter."""
    library = Path(sysconfig.get_path("stdlib"))
    packages = path / library.relative_to(sys.base_prefix) / "site-packages"
    packages.mkdir(parents=True)
    for entry in (e for e in library.iterdir() if e.name != "site-packages"):
        (packages.parent / entry.name).symlink_to(entry)
    for shared in library.parent.glob("libpython*"):
        (packages.parent.parent / shared.name).symlink_to(shared)
    (path / "bin").mkdir()
    interpreter = path / "bin" / library.name
    shutil.copy2(Path(sys.base_prefix) / "bin" / library.name, interpreter)
    return interpreter


def make_venv(path: Path, python: str | Path | None = None, *options: str) -> Path:
    """Make an empty environment and return its folder.

    Args:
        path: The folder to make.
        python: `3.X`, or an interpreter; by default the one that runs the tests.
        options: Further options of `uv venv`.
    """
    interpreter = pythons()[python] if isinstance(python, str) else python or sys.executable
    made_by = ["venv", "--quiet", "--no-project", *options, "--python", str(interpreter)]

    def by_uv(path: Path) -> str:
        return run_uv(*made_by, str(path))

    if options:
        by_uv(path)
    else:
        ready_made.make(path, str(interpreter), by_uv)
    return path


def install(venv: Path, *arguments: str | Path) -> None:
    """Install wheels (or what the arguments say) with uv, asking no network.

    Dependencies are left out: a test says what it wants installed.
    """

    def by_uv() -> str:
        return run_uv("pip", "install", *_offline(venv), "--no-deps", *map(str, arguments))

    ready_made.install(venv, arguments, by_uv)


def uninstall(venv: Path, *names: str) -> None:
    """Remove packages with uv, as somebody in another terminal would."""
    run_uv("pip", "uninstall", "--no-config", "--offline", "--python", str(venv), *names)


def run_uv(*arguments: str) -> str:
    """Run uv and return what it printed; fail the test with its words if it fails."""
    command = [str(uv_binary()), *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode == 0, f"{' '.join(command)}\n{answer.stdout}{answer.stderr}"
    return answer.stdout


def _offline(venv: Path) -> list[str]:
    return ["--no-config", "--offline", "--no-index", "--python", str(venv)]


def run_python(venv: Path, code: str, *, timeout: float = 60) -> str:
    """Run code in the environment and return what it printed, stripped."""
    command = [str(venv / "bin/python"), "-c", code]
    answer = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=timeout, cwd=venv
    )
    assert answer.returncode == 0, f"{code!r} failed in {venv}:\n{answer.stderr}"
    return answer.stdout.strip()


def site_packages(venv: Path) -> Path:
    """Return the environment's site-packages."""
    (found,) = venv.glob("lib/python3*/site-packages")
    return found


def dist_infos(venv: Path, package: str | None = None) -> list[Path]:
    """Return the dist-info folders, of all packages or of one."""
    folders = sorted(site_packages(venv).glob("*.dist-info"))
    return [folder for folder in folders if package in (None, _name_of(folder))]


def snapshot(venv: Path) -> dict[str, str]:
    """Return what is installed: normalized name to version."""
    return {_name_of(folder): folder.name[:-10].partition("-")[2] for folder in dist_infos(venv)}


def _name_of(dist_info: Path) -> str:
    return canonicalize_name(dist_info.name.partition("-")[0])


def record_rows(dist_info: Path) -> Iterator[tuple[str, str]]:
    """Yield path and hash of each line of a RECORD (PEP 627)."""
    with (dist_info / "RECORD").open(newline="") as stream:
        for path, digest, _size in csv.reader(stream):
            yield path, digest


def tree_fingerprint(venv: Path, package: str | None = None) -> dict[str, FileState]:
    """Return inode and SHA-256 of every file, bytecode apart.

    Args:
        venv: The environment.
        package: Only the files that this package's RECORD lists, those in bin
            included; by default all of site-packages and bin.
    """
    if package is None:
        return {str(path.relative_to(venv)): _state(path) for path in _files(venv)}
    folders = dist_infos(venv, canonicalize_name(package))
    assert folders, f"{package} is not installed in {venv}"
    site = site_packages(venv)
    listed = {
        os.path.normpath(site / path)
        for folder in folders
        for path, _ in record_rows(folder)
        if not path.endswith(".pyc")
    }
    return {os.path.relpath(path, venv): _state(Path(path)) for path in sorted(listed)}


def _files(venv: Path) -> Iterator[Path]:
    for root in (site_packages(venv), venv / "bin"):
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                yield path


def _state(path: Path) -> FileState:
    return FileState(path.stat().st_ino, hashlib.sha256(path.read_bytes()).hexdigest())


def damage(venv: Path) -> list[str]:
    """Return what is wrong with the environment's packages, one sentence each."""
    folders = dist_infos(venv)
    names = Counter(_name_of(folder) for folder in folders)
    wrong = [f"{name}: {count} dist-info folders" for name, count in names.items() if count > 1]
    for folder in folders:
        wrong += _damage_of(folder)
    return wrong


def assert_whole(venv: Path) -> None:
    """Fail unless every package has its RECORD, its METADATA and all its files, unchanged."""
    wrong = damage(venv)
    assert not wrong, f"{venv} is damaged:\n" + "\n".join(wrong)


def _damage_of(dist_info: Path) -> list[str]:
    if not (dist_info / "RECORD").is_file():
        return [f"{dist_info.name}: no RECORD"]
    if not (dist_info / "METADATA").is_file():
        return [f"{dist_info.name}: no METADATA"]
    headers = HeaderParser().parsestr((dist_info / "METADATA").read_text())
    wrong = []
    if canonicalize_name(str(headers["Name"])) != _name_of(dist_info):
        wrong.append(f"{dist_info.name}: METADATA is {headers['Name']}'s")
    for path, digest in record_rows(dist_info):
        if path.endswith(".pyc"):
            continue
        file = dist_info.parent / path
        if not file.is_file():
            wrong.append(f"{dist_info.name}: {path} is missing")
        elif digest and digest != _record_hash(file):
            wrong.append(f"{dist_info.name}: {path} is not what RECORD says")
    return wrong


def _record_hash(file: Path) -> str:
    digest = hashlib.sha256(file.read_bytes()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def strays(venv: Path) -> set[str]:
    """Return files in site-packages that no RECORD lists: half-removed packages leave them."""
    site = site_packages(venv)
    listed = {
        os.path.normpath(site / path)
        for folder in dist_infos(venv)
        if (folder / "RECORD").is_file()
        for path, _ in record_rows(folder)
    }
    made_by_venv = re.compile(r"_virtualenv\.(py|pth)$")
    return {
        str(path.relative_to(site))
        for path in site.rglob("*")
        if path.is_file()
        and str(path) not in listed
        and path.suffix != ".pyc"
        and not made_by_venv.fullmatch(path.name)
    }


def delete(venv: Path) -> None:
    """Delete an environment that a service may be writing to just now: all of it at once."""
    gone = venv.with_name(f"{venv.name}-{uuid.uuid4().hex}")
    venv.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
