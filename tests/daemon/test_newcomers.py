"""What passes install for the first time is imported in the background; what fails is a warning."""

import subprocess

import pytest
from msgspec.structs import replace

from reconciler.config import Proof
from reconciler.daemon.knowledge import Knowledge
from reconciler.daemon.newcomers import Newcomers
from reconciler.journal.history import Journal
from reconciler.processes import Cancellation
from reconciler.status import Change
from tests.support.environments import install
from tests.support.passes import environment_for
from tests.support.processes import wait_until
from tests.support.wheels import make_wheel


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite3")
    yield journal
    journal.close()


def module_that_needs_a_library(folder) -> bytes:
    """Compile one; the library is gone then."""
    source = folder / "x.c"
    source.write_text("void nope(void) {}\nvoid *PyInit_seeing(void) { nope(); return 0; }\n")
    library, built = folder / "libnope.so.1", folder / "seeing.so"
    cc = ["cc", "-shared", "-fPIC", "-Wl,--no-as-needed"]
    subprocess.run([*cc, "-o", library, source, "-Wl,-soname,libnope.so.1"], check=True)
    subprocess.run([*cc, "-o", built, source, library], check=True)
    library.unlink()
    return built.read_bytes()


def test_a_missing_system_library_is_named_until_it_is_there(project, venv, journal, tmp_path):
    seeing = make_wheel(tmp_path, "seeing", "1.0", files={
        "seeing.so": module_that_needs_a_library(tmp_path)})  # fmt: skip
    install(venv, seeing, make_wheel(tmp_path, "fine", "1.0"))
    project.write(["seeing", "fine"])
    environment = environment_for(project)
    shown = []
    knowledge = Knowledge(environment, journal, shown.append)
    newcomers = Newcomers(environment, knowledge, Cancellation())

    def passed(*changes: Change) -> None:
        snapshot = environment.look()
        knowledge.update(lambda known: replace(known, snapshot=snapshot))
        newcomers.start(changes)

    passed(*(Change(name=name, action="install", to="1.0") for name in ("seeing", "fine")))
    wait_until(lambda: knowledge.known.unimportable)
    [warning] = shown[-1].warnings
    assert warning.startswith("seeing is installed, but cannot be imported: ImportError: libnope")
    assert "a library of the system: libnope.so.1 is missing" in warning

    install(venv, make_wheel(tmp_path, "seeing", "2.0", files={"seeing.py": ""}))
    passed(Change(name="seeing", action="upgrade", from_="1.0", to="2.0"))
    wait_until(lambda: not knowledge.known.unimportable)
    assert shown[-1].warnings == ()


def test_it_is_off_with_the_rest_of_the_proof(project, venv, journal, tmp_path):
    install(venv, make_wheel(tmp_path, "bad", "1.0", files={"bad.py": "raise OSError\n"}))
    project.write(["bad"])
    environment = environment_for(project, proof=Proof.OFF)
    knowledge = Knowledge(environment, journal, lambda _: None)
    snapshot = environment.look()
    knowledge.update(lambda known: replace(known, snapshot=snapshot))
    newcomers = Newcomers(environment, knowledge, Cancellation())
    newcomers.start([Change(name="bad", action="install", to="1.0")])
    assert not newcomers.busy
