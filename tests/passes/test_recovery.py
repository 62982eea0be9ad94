"""What a crash interrupted is recovered before anything else, by each way in; nothing is lost.

The exchange dies by SIGKILL in a child, by two renames where it has no other way: between them
the environment has no interpreter that could be asked where our records are.
"""

import errno
import os
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from packaging.utils import canonicalize_name

from reconciler.environment.environment import Environment
from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal
from reconciler.passes.publish import KeptTree, _exchange
from reconciler.passes.reconcile import observe
from reconciler.passes.recovery import recover
from reconciler.passes.runner import PassRunner, Recorded
from reconciler.processes import Cancellation
from reconciler.status import Reason
from reconciler.trees import generations
from reconciler.trees.generations import Generation
from reconciler.trees.stage import clone
from reconciler.trees.workspace import META
from tests.support.dying import die_before, in_a_child
from tests.support.environments import assert_whole, damage, run_python, snapshot
from tests.support.passes import Follower, environment_for, locked, reconcile
from tests.support.privileges import run_without_powers
from tests.support.processes import run_cli
from tests.support.projects import Project
from tests.support.service import ServiceFactory
from tests.support.thorough import sample
from tests.support.wheels import make_wheel

MOST_STEPS = 60


@pytest.fixture
def site(project, venv, index, tmp_path) -> Project:
    """thing 1.0 is generation 1, thing 2.0 is live; both have a script, so `bin` changes too."""
    for version in ("1.0", "2.0"):
        index.add(make_wheel(tmp_path, "thing", version, scripts={"thing": "thing:main"}))
        project.write([f"thing=={version}"])
        reconcile(environment_for(project))
    return project


def start(environment: Environment, journal: Path) -> Recorded:
    """What each start does first: a pass, here one that only looks."""
    opened = Journal(journal)
    try:
        recorder = PassRunner(environment, opened, HoldMonitor(environment))
        return recorder.run(
            lambda running: observe(running.look(audit=True)), trigger="start", pass_id=None,
            cancel=Cancellation(), listener=Follower(),
        )  # fmt: skip
    finally:
        opened.close()


def killed_exchange(project: Project, number: int, *, staged: bool = False) -> bool:
    """Let the other version of thing go live; whether it died at the n-th change.

    Args:
        project: Whose environment.
        number: n.
        staged: From a stage, as a pass has built it, rather than from a kept generation.
    """
    environment = environment_for(project)
    seen, workspace = environment.look(), environment.place
    live = seen.installed.version(canonicalize_name("thing"))
    target = next(
        g for g in generations.kept(workspace)
        if snapshot(generations.folder_of(workspace, g.number)).get("thing", str(live)) != str(live)
    )  # fmt: skip
    stage = workspace.root / "stage-x"
    if staged:
        stage.mkdir()
        clone(generations.folder_of(workspace, target.number), stage, Cancellation())
        (stage / META).unlink()

    def dying() -> None:
        die_before(number, "EINVAL")
        if staged:
            after = Generation(number=generations.next_number(workspace), packages=1)
            roots = generations.differing_roots(workspace.prefix, stage)
            _exchange(workspace, seen, stage, roots, after)
        else:
            KeptTree(seen, target).go_live(None, workspace)  # type: ignore[arg-type]

    return not in_a_child(dying)


def trees(project: Project) -> list[str | None]:
    """The version in each tree, the live one first."""
    workspace = environment_for(project).place
    kept = [generations.folder_of(workspace, g.number) for g in generations.kept(workspace)]
    return [snapshot(tree).get("thing") for tree in (project.venv, *kept)]


_VERSION = "import importlib.metadata as m; import thing; print(m.version('thing'))"


def defects(project: Project, recorded: Recorded, before: list[str | None]) -> list[str]:
    """What is wrong after a start."""
    found = []
    if recorded.trouble is not None:
        return [str(recorded.trouble)]
    now = trees(project)
    if Counter(before) - Counter(now):  # nothing is lost
        found.append(f"{before} became {now}")
    if run_python(project.venv, _VERSION) != now[0]:
        found.append("the live tree is mixed")
    left = {p.name for p in (project.venv / ".reconciler").iterdir()}
    if any(name.startswith(("stage-", "work-", "intent")) for name in left):
        found.append(f"left over: {left}")
    return [*found, *damage(project.venv)]


@pytest.mark.parametrize("every", sample([9, 1], every=2))
@pytest.mark.parametrize("way", ["kept", "kept, record damaged", "staged, record damaged"])
def test_every_start_recovers_from_a_death_at_every_step_of_two_renames(site, tmp_path, way, every):
    """Each n-th step, and every one that leaves no interpreter."""
    found, without, journal = {}, 0, tmp_path / "journal.sqlite3"
    for number in range(1, MOST_STEPS):
        before = trees(site)
        died = killed_exchange(site, number, staged=way.startswith("staged"))
        away = not (site.venv / "bin").exists()
        without += away
        environment = environment_for(site, keep_generations=MOST_STEPS)
        if died and not away and number % every:
            with locked(environment):
                recover(environment)
            continue
        record = environment.place.intent
        if "damaged" in way and record.exists():
            record.write_bytes(record.read_bytes()[: number * 5])
        wrong = defects(site, start(environment, journal), before)
        if wrong:
            found[number] = wrong
        if not died:
            break
    assert found == {}
    assert not died, "not every step was tried"
    assert without, "no death left it without an interpreter"


_between: list[int] = []
"""The step between the two renames, once it is known."""


def interrupted(project: Project) -> None:
    """An exchange that died between the two renames of `bin`."""
    for number in (*_between, *range(1, MOST_STEPS)):
        assert killed_exchange(project, number)
        if not (project.venv / "bin").exists():
            _between[:] = [number]
            return
        environment = environment_for(project)
        with locked(environment):
            recover(environment)
    raise AssertionError("`bin` is never away")


def test_commands_recover_first_or_say_that_it_waits(site, service: ServiceFactory, tmp_path):
    def command(*words: str) -> CompletedProcess[str]:
        return run_cli(*words, cwd=site.directory, env={"STATE_DIRECTORY": str(tmp_path / "state")})

    interrupted(site)
    listing = sorted(site.venv.rglob("*"))
    for words in (["check"], ["plan"], ["hold", "list"], ["doctor"]):
        ran = command(*words)
        assert ran.returncode == 1, words
        assert "waits for recovery" in ran.stdout + ran.stderr, words
        assert "reconciler apply" in ran.stdout + ran.stderr, words
    assert sorted(site.venv.rglob("*")) == listing
    for words, status in ((["apply"], 0), (["hold", "restore", "torch"], 1), (["rollback"], 0)):
        ran = command(*words)
        assert ran.returncode == status, ran.stdout + ran.stderr
        assert "Recovered: an interrupted exchange was undone" in ran.stderr, words
        assert (site.venv / "bin/python").exists(), words
        interrupted(site)
    process = service(interval="1h")
    process.wait_for_phase("InSync")
    assert [e["what"] for e in process.events("recovered")] == [
        "an interrupted exchange was undone"
    ]


def _folder(path: Path) -> None:
    (path / "in" / "it").mkdir(parents=True)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(path.parent, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{here}/{path.name}")  # a path of at most 107 bytes
        os.close(here)


def _written(text: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": _written(b""),
    "truncated": _written(b'{"number": 1, "created_at": "20'),
    "binary": _written(bytes(range(256)) * 40),
    "zeros": _written(b"\0" * 4096),
    "other JSON": _written(b'[{"number": 1}]'),
    "wrong types": _written(b'{"number": "one", "stage": 1, "roots": 7, "aside": []}'),
    "a number": _written(b"1e999"),
    "nested": _written(b"[" * 100_000),
    "a folder": _folder,
    "a pipe": os.mkfifo,
    "a socket": _socket,
    "a link": lambda path: path.symlink_to("elsewhere"),
    "large": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 2**40),
}


def test_a_file_of_ours_that_cannot_be_used_is_set_aside_and_costs_nothing(site, tmp_path):
    environment, journal = environment_for(site, keep_generations=2), tmp_path / "journal.sqlite3"
    workspace = environment.place
    files = {
        "intent": workspace.intent,
        "in-place": workspace.in_place,
        "live": workspace.live,
        "label": workspace.generations / "1" / META,
        "older label": workspace.generations / "0" / META,
    }
    before, order = trees(site), [g.number for g in generations.kept(workspace)]
    found = {}
    for name, file in files.items():
        for kind, spoil in DAMAGES.items():
            good = file.read_bytes() if file.exists() else None
            file.unlink(missing_ok=True)
            spoil(file)
            recorded = start(environment, journal)
            kept = [g.number for g in generations.kept(workspace)]
            said = [line for line in recorded.detail.log.splitlines() if str(file) in line]
            again = start(environment, journal).detail.log
            if recorded.trouble or kept != order or len(said) != 1 or again:
                found[f"{name}, {kind}"] = (recorded.trouble, kept, said, again)
            if good is not None:
                file.unlink(missing_ok=True)
                file.write_bytes(good)
    assert found == {}
    assert defects(site, start(environment, journal), before) == []
    assert list(workspace.root.joinpath("set-aside").iterdir())


def test_a_file_of_ours_that_may_not_be_read_is_not_ours(tmp_path):
    file = tmp_path / "live.json"
    file.write_text("{}")
    file.chmod(0)
    answer = run_without_powers(_READ, file)
    assert answer.stdout == "it cannot be read: Permission denied", answer.stderr


_READ = """
import pathlib
from reconciler.trees.own_files import NotOurs, read_own
try:
    read_own(pathlib.Path(sys.argv[1]), dict)
except NotOurs as error:
    print(error, end="")
"""


def test_what_cannot_be_recovered_is_said_and_tried_again(site, tmp_path, monkeypatch):
    interrupted(site)
    journal = tmp_path / "journal.sqlite3"

    def refused(source: object, _target: object, **_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(source))

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refused)
        trouble = start(environment_for(site), journal).trouble
    assert trouble is not None
    assert trouble.reason == Reason.NOT_WRITABLE
    assert "waits for recovery" in trouble.message
    assert start(environment_for(site), journal).trouble is None
    assert_whole(site.venv)
