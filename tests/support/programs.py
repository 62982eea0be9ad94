"""The programs outside Python that tests start, and how the missing ones are installed.

This is the only list of them. It must hold every program that a bare Debian lacks;
tests/test_programs.py compares it with what the tests start.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_POLICY = Path("/usr/sbin/policy-rc.d")
_FORBID = "#!/bin/sh\nexit 101\n"
_LIMIT = 1800.0
"""Seconds that one apt-get may take."""

Tell = Callable[[str], None]


class Program(NamedTuple):
    """A program, Debian's package that has it, and the tests that start it."""

    name: str
    """Its name on PATH; `NAME.so.1` for a library that the program of a Python package loads."""
    package: str
    tests: tuple[str, ...]
    """How the node ids of those tests begin."""

    def is_missing(self) -> bool:
        """Tell whether it is nowhere to be found."""
        if ".so." not in self.name:
            return shutil.which(self.name) is None
        try:
            ctypes.CDLL(self.name)
        except OSError:
            return True
        return False


PROGRAMS = (
    Program("cc", "gcc", ("tests/proof/",)),
    Program("chromium-headless-shell", "chromium-headless-shell", ("tests/browser/",)),
    Program("curl", "curl", ("tests/systemd/",)),
    Program("dbus-daemon", "dbus", ("tests/systemd/",)),
    Program(
        "git",
        "git",
        (
            "tests/corpus/",
            "tests/environment/test_places_beside_uv.py::",
            "tests/passes/test_reconcile_git.py::",
        ),
    ),
    Program("kill", "procps", ("tests/systemd/",)),
    Program("libatomic.so.1", "libatomic1", ("tests/browser/",)),  # of Playwright
    Program("mkfs.btrfs", "btrfs-progs", ("tests/powercut/",)),
    Program("mkfs.ext4", "e2fsprogs", ("tests/powercut/",)),
    Program("mkfs.xfs", "xfsprogs", ("tests/powercut/",)),
    Program("promtool", "prometheus", ("tests/web/routes/test_metrics.py::test_promtool",)),
    Program("systemctl", "systemd", ("tests/systemd/",)),
    Program("systemd-analyze", "systemd", ("tests/systemd/", "tests/security/test_paths.py::")),
    Program("systemd-socket-activate", "systemd", ("tests/systemd/test_activation.py::",)),
)


def missing_for(tests: Iterable[str]) -> list[Program]:
    """Return the programs that these tests start and that are missing.

    Args:
        tests: Node ids of pytest, such as `tests/test_gpu.py::test_it`.
    """
    tests = tuple(tests)
    return [
        program
        for program in PROGRAMS
        if any(test.startswith(program.tests) for test in tests) and program.is_missing()
    ]


def how_to_install(programs: Iterable[Program]) -> str:
    """Return the command that installs them on Debian."""
    return f"apt-get install {' '.join(_packages(programs))}"


def may_install() -> bool:
    """Tell whether this process can install Debian packages."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(programs: Iterable[Program], tell: Tell) -> None:
    """Install what can be installed; afterwards ask again what is missing.

    Ubuntu lacks some of Debian's packages, so one that is refused does not stop the others.

    Args:
        programs: What is missing.
        tell: Takes a sentence for the person who waits.
    """
    packages = _packages(programs)
    tell(f"installing Debian packages for the tests: {' '.join(packages)}")
    with _services_forbidden():
        _apt_get("update", tell=tell)
        for package in packages:
            _apt_get("install", "--yes", "--no-install-recommends", package, tell=tell)


def _packages(programs: Iterable[Program]) -> list[str]:
    return sorted({program.package for program in programs})


def _apt_get(*arguments: str, tell: Tell) -> None:
    command = ["apt-get", "--quiet", "--option=DPkg::Lock::Timeout=300", *arguments]
    try:
        subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", check=True, timeout=_LIMIT,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        last = "\n".join(error.stdout.splitlines()[-5:])
        tell(f"`{' '.join(command)}` failed:\n{last}")
    except subprocess.TimeoutExpired:
        tell(f"`{' '.join(command)}` was ended after {_LIMIT:g} s")


@contextmanager
def _services_forbidden() -> Iterator[None]:
    """Let packages start no service: prometheus is wanted for promtool alone."""
    try:
        with _POLICY.open("x") as policy:
            policy.write(_FORBID)
    except FileExistsError:
        yield  # somebody else decides
        return
    try:
        _POLICY.chmod(0o755)
        yield
    finally:
        _POLICY.unlink()
