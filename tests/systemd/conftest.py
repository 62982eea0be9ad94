"""The machine that the tests of the service run on, with the product installed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.environments import uv_binary
from tests.systemd.machine import Machine

_CHECKOUT = Path(__file__).parents[2]
_PYTHON = "/opt/python"
_DEPENDENCIES = "/opt/dependencies"
PROGRAM = "/opt/reconciler/bin/reconciler"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product as people install it, built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(command, cwd=_CHECKOUT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Iterator[Machine]:
    """A machine that is on, with systemd as PID 1 and Reconciler in /opt/reconciler."""
    site = Path(pytest.__file__).parents[1]
    prefix = Path(sys.base_prefix)
    shared = {site: _DEPENDENCIES, wheel.parent: "/opt/wheel", uv_binary().parent: "/opt/uv"}
    if not prefix.is_relative_to("/usr"):
        shared[prefix] = _PYTHON
    machine = Machine(tmp_path_factory.mktemp("machine"), shared)
    try:
        machine.boot()
        _install(machine, wheel)
        yield machine
    finally:
        machine.close()


def python(machine: Machine) -> str:
    """The interpreter that everybody on the machine can run."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return f"{_PYTHON}/bin/{name}" if machine.path(_PYTHON).is_dir() else f"/usr/bin/{name}"


def _install(machine: Machine, wheel: Path) -> None:
    uv = f"/opt/uv/{uv_binary().name}"
    offline = {"UV_OFFLINE": "1", "UV_CACHE_DIR": "/opt/uv-cache", "UV_LINK_MODE": "copy"}
    machine.run(uv, "venv", "--python", python(machine), "/opt/reconciler", env=offline)
    install = [uv, "pip", "install", "--no-deps", "--python", "/opt/reconciler"]
    machine.run(*install, f"/opt/wheel/{wheel.name}", env=offline)
    (site,) = machine.path("/opt/reconciler").glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text(_DEPENDENCIES)
    # Reconciler finds uv beside itself, as pip would have put it.
    machine.run("cp", uv, "/opt/reconciler/bin/uv")
