"""The machine that the tests of the service run on, with the product installed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.environments import uv_binary
from tests.support.index import PackageIndex
from tests.support.wheels import bulk_files, make_wheel
from tests.systemd.machine import Machine
from tests.systemd.studio import PROGRAM, Studio

_HERE = Path(__file__).parent
_CHECKOUT = _HERE.parents[1]
_PYTHON = Path(sys.base_prefix).resolve()
_DEPENDENCIES = "/opt/dependencies"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give all tests on the machine to one worker, so that it is booted once."""
    for item in items:
        if item.path.is_relative_to(_HERE) and "machine" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("machine"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product as people install it, built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=_CHECKOUT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Iterator[Machine]:
    """A machine that is on, with systemd as PID 1 and Reconciler in /opt/reconciler."""
    if os.geteuid() != 0:
        pytest.skip("only root can make namespaces and mounts; CI runs as root")
    site = Path(pytest.__file__).parents[1]
    _import_all()
    shared = {site: _DEPENDENCIES, wheel.parent: "/opt/wheel", uv_binary().parent: "/opt/uv"}
    if not _PYTHON.is_relative_to("/usr"):
        shared[_PYTHON] = str(_PYTHON)  # where its libraries look for each other
    machine = Machine(tmp_path_factory.mktemp("machine"), shared)
    try:
        machine.boot()
        _install(machine, wheel)
        yield machine
    finally:
        machine.close()


def _import_all() -> None:
    """Have Python keep the bytecode of what the product imports: the machine cannot write it."""
    code = (
        "import importlib, pkgutil, reconciler\n"
        "for module in pkgutil.walk_packages(reconciler.__path__, 'reconciler.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=_CHECKOUT, check=True)


def _install(machine: Machine, wheel: Path) -> None:
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    machine.python = f"{_PYTHON}/bin/{name}"
    uv = f"/opt/uv/{uv_binary().name}"
    offline = {"UV_OFFLINE": "1", "UV_CACHE_DIR": "/opt/uv-cache", "UV_LINK_MODE": "copy"}
    machine.run(uv, "venv", "--python", machine.python, "/opt/reconciler", env=offline)
    install = [uv, "pip", "install", "--no-deps", "--compile-bytecode"]
    target = ["--python", "/opt/reconciler", f"/opt/wheel/{wheel.name}"]
    machine.run(*install, *target, env=offline)
    (site,) = machine.path("/opt/reconciler").glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text(_DEPENDENCIES)
    # Reconciler finds uv beside itself, as pip would have put it.
    machine.run("cp", uv, "/opt/reconciler/bin/uv")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """`quick` 1.0 and 2.0, and `slow`, whose download tests hold back."""
    folder = tmp_path_factory.mktemp("wheels")
    quick = [make_wheel(folder, "quick", version) for version in ("1.0", "2.0")]
    return [*quick, make_wheel(folder, "slow", "1.0", files=bulk_files("slow", 200))]


@contextmanager
def _index(machine: Machine, wheels: list[Path]) -> Iterator[PackageIndex]:
    index = machine.within_network(PackageIndex)
    index.add(*wheels)
    yield index
    index.close()


@contextmanager
def _user(machine: Machine) -> Iterator[str]:
    machine.add_user("studio")
    yield "studio"
    machine.run("loginctl", "disable-linger", "studio", check=False)
    machine.systemctl("stop", f"user@{machine.user('studio')[0]}.service", check=False)
    machine.run("userdel", "--remove", "--force", "studio")


@contextmanager
def _studio(machine: Machine, index: PackageIndex, user: str) -> Iterator[Studio]:
    machine.begin_journal()
    yield Studio(machine, index, user, "/srv/studio")
    machine.run(PROGRAM, "service", "uninstall", check=False)
    machine.run("rm", "-rf", "/srv/studio", "/etc/reconciler", "/etc/default/reconciler")
    machine.run("rm", "-rf", "/etc/systemd/system/reconciler.service.d")


@pytest.fixture
def index(machine: Machine, wheels: list[Path]) -> Iterator[PackageIndex]:
    """An index on the machine's own network."""
    with _index(machine, wheels) as index:
        yield index


@pytest.fixture
def user(machine: Machine) -> Iterator[str]:
    """A user of the machine, with a home."""
    with _user(machine) as user:
        yield user


@pytest.fixture
def studio(machine: Machine, index: PackageIndex, user: str) -> Iterator[Studio]:
    """A project of that user in /srv/studio, with an empty environment, in the configuration."""
    with _studio(machine, index, user) as studio:
        yield studio


@pytest.fixture
def service(studio: Studio) -> Studio:
    """The same, with the service of the machine installed, and in sync."""
    studio.install()
    studio.wait_for_phase("InSync")
    return studio


@pytest.fixture(scope="class")
def lasting_service(machine: Machine, wheels: list[Path]) -> Iterator[Studio]:
    """One such service for all tests of a class: each begins with `start_over`."""
    with (
        _index(machine, wheels) as index,
        _user(machine) as user,
        _studio(machine, index, user) as studio,
    ):
        studio.install()
        studio.wait_for_phase("InSync")
        yield studio
