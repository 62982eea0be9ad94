"""An environment is created whole: beside its place, then moved there, whatever stops it.

uv itself is real; a program in its place lets it die at chosen moments, and a small file system
gives it as few inodes as it should get.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.config import EnvironmentConfig
from reconciler.doctor.examination import _missing
from reconciler.environment.creation import create_environment
from reconciler.environment.environment import Environment
from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal
from reconciler.passes.endings import Trouble
from reconciler.passes.reconcile import observe
from reconciler.passes.runner import PassRunner
from reconciler.processes import Cancellation
from reconciler.status import Reason
from tests.support.dying import die_before, in_a_child
from tests.support.environments import make_venv, run_python, uv_binary
from tests.support.passes import FAST, Follower
from tests.support.thorough import sample

ENTRIES = 22
"""Files and folders of an environment that uv has just made, roughly."""


def at(folder: Path, pyproject: Path, uv: Path | None = None, **variables: str) -> Environment:
    """An environment that does not exist yet."""
    config = EnvironmentConfig(name="new", pyproject=pyproject, python=folder / "bin" / "python")
    return Environment(config, {**os.environ, **FAST, **variables}, uv)


def create(environment: Environment) -> None:
    create_environment(environment, Cancellation(), lambda _: None)


def start(environment: Environment, journal: Path) -> Trouble | None:
    """One pass as the service runs it; it creates the environment and looks."""
    opened = Journal(journal)
    try:
        recorder = PassRunner(environment, opened, HoldMonitor(environment))
        return recorder.run(
            lambda running: observe(running.look(audit=True)), trigger="start", pass_id=None,
            cancel=Cancellation(), listener=Follower(), may_create=True,
        ).trouble  # fmt: skip
    finally:
        opened.close()


def contents(folder: Path) -> dict[str, object]:
    """Everything of an environment but our own folder: modes, bytes, links."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] != ".reconciler":
            what = path.readlink() if path.is_symlink() else path.is_dir() or path.read_bytes()
            found[str(name)] = (path.lstat().st_mode, what)
    return found


def defect(folder: Path) -> str | None:
    """What is wrong with a new environment, or what an attempt has left."""
    if not (folder / "bin/python").exists():
        return f"no interpreter: {sorted(p.name for p in folder.parent.rglob('*'))}"
    if run_python(folder, "import sys; print(sys.prefix)") != str(folder):
        return "another prefix"
    beside = [p.name for p in folder.parent.iterdir() if p.name.startswith(f"{folder.name}.")]
    ours = [p.name for p in (folder / ".reconciler").iterdir()]
    left = [n for n in ours if not re.fullmatch(r".*\.lock|last-good.*|kept", n)] + beside
    within = [str(p) for p in (folder / "bin").iterdir() if b".reconciler" in p.read_bytes()]
    return str(left + within) if left + within else None


def missing(folder: Path) -> None:
    """There is nothing yet."""


def emptied(folder: Path) -> None:
    """What `rm -rf .venv/*` leaves of an environment that we managed."""
    (folder / ".reconciler").mkdir(parents=True)
    (folder / ".reconciler" / "kept").write_text("a note, say")


STATES: tuple[Callable[[Path], None], ...] = (missing, emptied)


@pytest.fixture
def pyproject(project) -> Path:
    return project.write()


def test_it_is_what_uv_makes_in_place_byte_for_byte(pyproject, tmp_path):
    for name in (".venv", "my env", "it's", "ünï", 'a%b$c"d', "back\\slash", "x`y`"):
        folder = tmp_path / "it's a place" / name
        expected, mode = contents(make_venv(folder)), folder.stat().st_mode
        for state in STATES:
            shutil.rmtree(folder)
            state(folder)
            create(at(folder, pyproject))
            assert contents(folder) == expected, f"{name}, {state.__name__}"
            assert folder.stat().st_mode == mode
            assert defect(folder) is None


@pytest.fixture
def dying_uv(tmp_path: Path) -> Path:
    """A uv that has made only the first $MADE files and folders when it and $VICTIM are killed."""
    program = tmp_path / "dying-uv"
    program.write_text(f"""#!/bin/sh
        "{uv_binary()}" "$@" || exit
        for folder; do :; done
        find "$folder" -mindepth 1 | sort | grep -v '/.reconciler$' | tail -n "+$MADE" |
            while read -r path; do rm -rf "$path"; done
        kill -9 $VICTIM $$
    """)
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("every", sample([3, 1], every=2))
def test_a_death_at_any_moment_is_made_good_by_the_next_start(pyproject, tmp_path, dying_uv, every):
    """Of everyone, of uv alone, and of the service before its n-th change to the disk."""
    journal, found, deaths = tmp_path / "journal.sqlite3", {}, 0
    for state in STATES:

        def dies(folder: Path, number: int) -> bool:
            def dying() -> None:
                die_before(number, "native")
                create(at(folder, pyproject))

            return not in_a_child(dying)

        def all_die(folder: Path, made: int) -> bool:
            def dying() -> None:
                variables = {"MADE": str(made), "VICTIM": str(os.getpid())}
                create(at(folder, pyproject, dying_uv, **variables))

            return not in_a_child(dying)

        def uv_dies(folder: Path, made: int) -> bool:
            trouble = start(at(folder, pyproject, dying_uv, MADE=str(made), VICTIM=""), journal)
            return trouble is not None and trouble.reason == Reason.UV_FAILED

        moments = {
            "the service": (dies, range(1, 60, every)),
            "everyone": (all_die, range(1, ENTRIES, 3 * every)),
            "uv": (uv_dies, range(1, ENTRIES, 4 * every)),
        }
        for who, (kill, numbers) in moments.items():
            for number in numbers:
                folder = tmp_path / "project-x" / f"env-{state.__name__}"
                state(folder)
                died = kill(folder, number)
                deaths += died
                half = (folder / "bin").exists() and not (folder / "bin/python").exists()
                trouble = start(at(folder, pyproject), journal)
                what = defect(folder) if trouble is None else trouble.message
                if half or what or (who != "the service" and not died):
                    found[f"{state.__name__}, {who}, {number}"] = (half, what, died)
                shutil.rmtree(folder.parent)
                if not died:  # it had ended before that moment
                    break
    assert found == {}
    print(f"{deaths} deaths")
    assert deaths > 10


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount a file system with so few inodes, or give it more."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = False

    def sized(inodes: int) -> Path:
        nonlocal mounted
        how = f"remount,nr_inodes={inodes}" if mounted else f"nr_inodes={inodes}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", how, "none", str(folder)], check=True)
        mounted = True
        return folder

    yield sized
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("every", sample([6, 1], every=2))
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_full_disk_is_said_and_the_next_attempt_succeeds_without_a_restart(
    pyproject, tmp_path, small, every
):
    found, full = {}, 0
    for state in STATES:
        for inodes in range(4, ENTRIES + 12, every):
            folder = small(100) / "env"
            state(folder)
            environment = at(folder, pyproject)
            small(inodes)
            trouble = start(environment, tmp_path / "journal.sqlite3")
            small(100)
            full += trouble is not None
            again = start(environment, tmp_path / "journal.sqlite3")
            what = defect(folder) if again is None else again.message
            if what or (trouble is not None and trouble.reason != Reason.DISK_FULL):
                found[f"{state.__name__}, {inodes} inodes"] = (trouble, what)
            shutil.rmtree(folder)
    assert found == {}
    assert full > 3, "the disk was never full"


def test_what_is_not_ours_stays_and_the_message_says_what_to_do(pyproject, tmp_path):
    def beside(folder: Path) -> Path:
        return folder.with_name(f"{folder.name}.reconciler-new")

    def a_folder(folder: Path) -> None:
        (folder / "thesis").mkdir(parents=True)

    def half_made_by_another(folder: Path) -> None:
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "activate").write_text("# mine")

    def a_file(folder: Path) -> None:
        folder.parent.mkdir()
        folder.write_text("mine")

    def a_link_to_nothing(folder: Path) -> None:
        folder.parent.mkdir()
        folder.symlink_to("nowhere")

    def a_folder_beside(folder: Path) -> None:
        a_folder(beside(folder))

    def a_link_beside(folder: Path) -> None:
        a_folder(folder.with_name("other"))
        beside(folder).symlink_to("other")

    kinds = (a_folder, half_made_by_another, a_file, a_link_to_nothing, a_folder_beside,
             a_link_beside)  # fmt: skip
    found = {}
    for kind in kinds:
        folder = tmp_path / kind.__name__ / "env"
        kind(folder)
        before = subprocess.check_output(["ls", "-lR", folder.parent], text=True)
        environment = at(folder, pyproject)
        trouble = start(environment, tmp_path / "journal.sqlite3")
        said = trouble.message if trouble else "it was created"
        fine = trouble is not None and trouble.reason == Reason.INTERPRETER_UNUSABLE
        same = subprocess.check_output(["ls", "-lR", folder.parent], text=True) == before
        told = {finding.verdict for finding in _missing(environment)}
        if not (fine and same and "Move" in said and told == {"problem"}):
            found[kind.__name__] = (said, same, told)
    assert found == {}


def test_a_python_that_is_not_there_is_said_and_leaves_nothing(project, tmp_path):
    pyproject = project.write(extra="")
    text = pyproject.read_text()
    pyproject.write_text(text.replace('version = "0.1.0"', 'version = "0"\nrequires-python = "<3"'))
    folder = tmp_path / "new" / "env"
    environment = at(folder, pyproject)
    trouble = start(environment, tmp_path / "journal.sqlite3")
    assert trouble is not None
    assert trouble.reason == Reason.UV_FAILED
    assert "<3" in trouble.message
    assert list(folder.parent.iterdir()) == []
    pyproject.write_text(text)
    assert start(environment, tmp_path / "journal.sqlite3") is None
    assert defect(folder) is None
