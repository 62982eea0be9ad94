"""uv as it really answers: plans, failures of every kind, and being told to end."""

import os
import resource
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest
from packaging.version import Version

from reconciler.excerpts import MESSAGE, OUTPUT
from reconciler.processes import Cancellation, Cancelled
from reconciler.uv.answers import Planned, read_plan
from reconciler.uv.program import (
    OLDEST,
    TimedOut,
    Uv,
    UvError,
    UvMissing,
)
from tests.support.asking import Asker
from tests.support.environments import install, run_python, site_packages, snapshot, uv_binary
from tests.support.processes import wait_until
from tests.support.wheels import bulk_files, make_wheel


@pytest.fixture
def asker(venv, tmp_path, index):
    folder = tmp_path / "asked"
    folder.mkdir()
    asker = Asker(venv, folder, index.url)
    yield asker
    asker.mark.kill()


# Plans


def test_a_plan_names_exact_versions_and_changes_nothing(asker, index, tmp_path, venv):
    index.add(make_wheel(tmp_path, "Some.Thing", "1.0", requires=["other>=2"]),
              make_wheel(tmp_path, "other", "2.5"))  # fmt: skip
    before = snapshot(venv)
    plan = asker.plan("some-thing")
    assert {n: p.version for n, p in plan.install.items()} == {
        "some-thing": Version("1.0"),
        "other": Version("2.5"),
    }
    assert plan.remove == {}
    assert snapshot(venv) == before
    assert not list(site_packages(venv).glob("other*"))


def test_an_upgrade_is_a_removal_and_an_installation(asker, index, tmp_path, venv):
    install(venv, make_wheel(tmp_path, "thing", "1.0"))
    index.add(make_wheel(tmp_path, "thing", "2.0"))
    plan = asker.plan("thing>=2")
    assert plan.install["thing"].version == Version("2.0")
    assert plan.remove == {"thing": Version("1.0")}


def test_what_is_satisfied_is_planned_as_nothing(asker, tmp_path, venv):
    install(venv, make_wheel(tmp_path, "thing", "1.0"))
    plan = asker.plan("thing")
    assert (plan.install, plan.remove) == ({}, {})


def test_a_direct_reference_is_planned_with_its_place(asker, index, tmp_path):
    wheel = make_wheel(tmp_path / "wheels", "thing", "1.0")
    index.add(wheel)
    planned = asker.plan(f"thing @ {wheel.as_uri()}").install["thing"]
    assert planned.url == wheel.as_uri()
    planned = asker.plan(f"thing @ {index.file_url(wheel.name)}").install["thing"]
    assert planned.url == index.file_url(wheel.name)


def test_the_same_version_from_the_cache_is_planned_as_an_installation():
    # What uv says when only the kind changes (here to an editable) and it has built that before.
    row = '{"name": "thing", "version": "1.0", "action": "reinstalled"}'
    plan = read_plan(f'{{"changes": [{row}]}}', " ~ thing==1.0 (from file:///srv/thing)\n")
    assert plan.install["thing"] == Planned("thing", Version("1.0"), "file:///srv/thing")
    assert plan.remove == {}


def test_every_line_of_uv_is_followed_while_it_runs(asker, index, tmp_path):
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    asker.plan("thing")
    assert any("Resolved 1 package" in line for line in asker.lines)
    assert all(not line.endswith("\n") for line in asker.lines)
    assert not any("\x1b" in line for line in asker.lines)


def test_no_line_tells_a_password(make_index, asker, tmp_path):
    index = make_index(credentials=("someone", "very-secret-word"))
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    asker.url = index.url_with_credentials
    assert asker.plan("thing").install
    index.fail(500)
    with pytest.raises(UvError) as caught:
        asker.plan("thing")
    said = "".join(asker.lines) + caught.value.message + caught.value.log + str(caught.value)
    assert "very-secret-word" not in said
    assert "thing" in said


# Installing


def test_an_installation_goes_to_its_prefix_and_nowhere_else(asker, index, tmp_path, venv):
    wheel = make_wheel(tmp_path, "thing", "1.0", requires=["other"], scripts={"say": "thing:main"},
                       data={"share/thing/readme": "hello"})  # fmt: skip
    index.add(wheel)
    prefix = tmp_path / "prefix"
    before = sorted(site_packages(venv).iterdir())
    asker.install(prefix, "thing==1.0")
    site = prefix / site_packages(venv).relative_to(venv)
    assert (site / "thing" / "__init__.py").is_file()
    assert (prefix / "share/thing/readme").read_text() == "hello"
    shebang = (prefix / "bin/say").read_text().splitlines()[0]
    assert shebang == f"#!{venv}/bin/python"
    assert sorted(site_packages(venv).iterdir()) == before
    assert [p.name for p in site.glob("*.dist-info")] == ["thing-1.0.dist-info"]


def test_offline_works_from_the_cache_alone(asker, index, tmp_path):
    index.add(make_wheel(tmp_path, "cached", "1.0"))
    asker.install(tmp_path / "one", "cached==1.0")
    index.down()
    ask = asker.ask("cached==1.0")
    asker.uv().install(ask, tmp_path / "two", Cancellation(), asker.lines.append, offline=True)
    assert list((tmp_path / "two").rglob("cached/__init__.py"))


def test_an_environment_is_created(tmp_path, asker):
    folder, python = tmp_path / "new" / ".venv", f"3.{sys.version_info.minor}"
    asker.uv().create_environment(folder, python, Cancellation())
    assert run_python(folder, "import sys; print(sys.prefix)") == str(folder)


def test_an_environment_for_a_python_that_nobody_has_is_refused_in_uvs_words(tmp_path, asker):
    with pytest.raises(UvError) as caught:
        asker.uv().create_environment(tmp_path / "new", "3.2", Cancellation())
    assert "3.2" in caught.value.message


# What uv is


def fake_uv(folder: Path, text: str, *, mode: int = 0o755) -> Path:
    program = folder / "uv"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(mode)
    return program


def test_the_version_is_that_of_the_uv_beside_us(asker):
    said = subprocess.run([uv_binary(), "--version"], capture_output=True, text=True, check=True)
    assert asker.uv().version() == said.stdout.split()[1]
    assert asker.uv().executable == uv_binary()


@pytest.mark.parametrize(
    "output",
    ["uv 0.8.24", "uv 0.1.0 (abc 2024)", "", "hello", "uv", "uv not-a-version"],
)
def test_a_uv_that_is_too_old_or_no_uv_is_refused(tmp_path, output):
    uv = Uv(fake_uv(tmp_path, f"echo '{output}'"), {})
    with pytest.raises(UvMissing) as caught:
        uv.version()
    assert caught.value.reason == "UvMissing"
    assert caught.value.message.endswith(".")


def test_the_oldest_uv_is_old_enough(tmp_path):
    assert Uv(fake_uv(tmp_path, f"echo 'uv {OLDEST}'"), {}).version() == str(OLDEST)


def test_a_uv_that_fails_is_refused(tmp_path):
    with pytest.raises(UvMissing, match="does not start"):
        Uv(fake_uv(tmp_path, "exit 3"), {}).version()


@pytest.mark.parametrize("make", ["nothing", "folder", "not executable", "not a program"])
def test_what_is_no_program_is_refused(tmp_path, asker, make):
    program = tmp_path / "uv"
    if make == "folder":
        program.mkdir()
    elif make == "not executable":
        fake_uv(tmp_path, "echo uv 0.13.9", mode=0o644)
    elif make == "not a program":
        program.write_bytes(b"\x7fELF nonsense")
        program.chmod(0o755)
    for action in (
        lambda: Uv(program, {}).version(),
        lambda: Uv(program, {}).plan(asker.ask("thing"), Cancellation()),
    ):
        with pytest.raises(UvMissing) as caught:
            action()
        assert str(program) in caught.value.message


@pytest.mark.parametrize("answer", ["", "null", "[]", "{}", "not json", '{"changes": 3}',
                                    '{"changes": [{"name": "a"}]}',
                                    '{"changes": ["a"]}',
                                    '{"changes": [{"name": "a", "version": "x y"}]}'])  # fmt: skip
def test_an_answer_that_means_nothing_is_an_error_and_no_plan(tmp_path, asker, answer):
    uv = Uv(fake_uv(tmp_path, f"echo '{answer}'"), {})
    with pytest.raises(UvError, match="cannot be read"):
        uv.plan(asker.ask("thing"), Cancellation())


# Ending it


def stalled(asker, index, tmp_path):
    """Start an installation that waits for a download; the thread, and what it ended with."""
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    stall = index.stall_downloads()
    ended: list[Cancelled] = []

    def run() -> None:
        try:
            asker.install(tmp_path / "prefix", "thing==1.0")
        except Cancelled as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    stall.wait_reached()
    return thread, ended, stall


def test_cancelling_ends_uv_at_once(asker, index, tmp_path):
    thread, ended, stall = stalled(asker, index, tmp_path)
    assert asker.cancel.has_children
    started = time.monotonic()
    asker.cancel.cancel()
    thread.join(10)
    assert time.monotonic() - started < 5
    assert isinstance(ended[0], Cancelled)
    assert asker.mark.processes() == []
    assert not asker.cancel.has_children
    stall.release()


def test_after_a_cancellation_nothing_is_started(asker, index, tmp_path):
    asker.cancel.cancel()
    with pytest.raises(Cancelled):
        asker.plan("thing")
    assert index.requests == []


def test_cancelling_ends_what_uv_started_too(asker, tmp_path, index):
    # A backend that ignores SIGTERM, and started a child of its own.
    sdist = _slow_sdist(tmp_path)
    index.add(sdist)
    ended: list[BaseException] = []

    def run() -> None:
        with pytest.raises(Cancelled) as caught:
            asker.install(tmp_path / "prefix", "slow==1.0")
        ended.append(caught.value)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until((tmp_path / "building").exists, what="the build")
    assert len(asker.mark.processes()) >= 3
    asker.cancel.cancel()
    thread.join(20)
    assert ended
    wait_until(lambda: not asker.mark.processes(), timeout=5, what="the end of all children")


def _slow_sdist(tmp_path: Path) -> Path:
    folder = tmp_path / "slow-1.0"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (folder / "PKG-INFO").write_text("Metadata-Version: 2.3\nName: slow\nVersion: 1.0\n")
    (folder / "backend.py").write_text(
        "import signal, subprocess, sys, time\n"
        "def build_wheel(folder, config_settings=None, metadata_directory=None):\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"    open({str(tmp_path / 'building')!r}, 'w').close()\n"
        "    time.sleep(600)\n"
    )
    with tarfile.open(tmp_path / "slow-1.0.tar.gz", "w:gz") as archive:
        archive.add(folder, "slow-1.0")
    return tmp_path / "slow-1.0.tar.gz"


def test_uv_is_ended_when_its_time_is_up(asker, index, tmp_path):
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    stall = index.stall_downloads()
    with pytest.raises(TimedOut) as caught:
        asker.install(tmp_path / "prefix", "thing==1.0", timeout=0.5)
    assert caught.value.reason == "TimedOut"
    assert "Raise `timeout`" in caught.value.message
    assert asker.mark.processes() == []
    stall.release()


def test_a_child_that_outlives_uv_and_keeps_its_output_open_holds_nobody_up(tmp_path, asker):
    text = (
        f"setsid sh -c 'touch {tmp_path}/away; sleep 600' &\n"
        f"while [ ! -e {tmp_path}/away ]; do sleep 0.01; done\n"
        "echo '{\"changes\": []}'"
    )
    uv = Uv(fake_uv(tmp_path, text), {**asker.environ, **asker.mark.environment()})
    started = time.monotonic()
    assert uv.plan(asker.ask("thing"), Cancellation()).install == {}
    assert time.monotonic() - started < 20


def test_uv_that_is_killed_by_someone_else_is_told(tmp_path, asker):
    uv = Uv(fake_uv(tmp_path, "kill -9 $$"), asker.environ)
    with pytest.raises(UvError, match="SIGKILL"):
        uv.plan(asker.ask("thing"), Cancellation())


def test_uv_dies_with_the_process_that_started_it(asker, index, tmp_path):
    index.add(make_wheel(tmp_path, "thing", "1.0", files=bulk_files("thing", 10)))
    stall = index.stall_downloads()
    ask = asker.ask("thing==1.0")
    child = (
        "import os, sys; from pathlib import Path\n"
        "from reconciler.uv.program import Ask, Uv\nfrom reconciler.processes import Cancellation\n"
        f"ask = Ask(Path({str(ask.python)!r}), Path({str(ask.project)!r}), "
        f"Path({str(ask.settings)!r}), Path({str(ask.folder)!r}))\n"
        f"Uv(None, dict(os.environ)).install(ask, Path({str(tmp_path / 'p')!r}), "
        "Cancellation(), print)\n"
    )
    environ = {**os.environ, **asker.environ, **asker.mark.environment()}
    process = subprocess.Popen([sys.executable, "-c", child], env=environ,
                               cwd=Path(__file__).parents[2])  # fmt: skip
    stall.wait_reached()
    assert len(asker.mark.processes()) == 3  # it, uv and uv's supervisor
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not asker.mark.processes(), timeout=5, what="the end of uv")
    stall.release()


def test_the_mode_of_what_uv_installs_does_not_matter_to_the_program(tmp_path):
    program = fake_uv(tmp_path, "echo 'uv 1.0.0'", mode=0o500)
    assert stat.S_IMODE(program.stat().st_mode) == 0o500
    assert Uv(program, {}).version() == "1.0.0"


@pytest.mark.parametrize("stream", ["", ">&2"])
def test_a_uv_that_prints_without_end_is_ended_in_time_and_costs_no_memory(asker, tmp_path, stream):
    endless, pid = tmp_path / "uv", tmp_path / "pid"
    endless.write_text(f"#!/bin/sh\necho $$ > {pid}\nyes {'x' * 70} {stream}\n")
    endless.chmod(0o755)
    lines: list[str] = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asked = asker.ask("thing", timeout=2.0)
    began = time.monotonic()

    with pytest.raises(TimedOut) as caught:
        asker.uv(endless).install(asked, tmp_path / "into", asker.cancel, lines.append)

    assert time.monotonic() - began < 20
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    assert grown < 200, f"{grown} MiB"
    assert sum(map(len, lines)) < 3 * OUTPUT
    assert len(str(caught.value)) < MESSAGE
    assert not Path(f"/proc/{pid.read_text().strip()}").exists(), "it was ended"
    assert asker.mark.processes() == [], "and so was what it had started"
