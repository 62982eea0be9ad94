"""uv as it really answers: plans, failures of every kind, and being told to end."""

import os
import re
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest
import tomli_w
from packaging.version import Version

from reconciler.processes import Cancellation, Cancelled
from reconciler.uv import (
    OLDEST,
    Ask,
    BuildFailed,
    DiskFull,
    NetworkTrouble,
    NoSolution,
    TimedOut,
    Uv,
    UvError,
    UvMissing,
    failure,
)
from reconciler.uv_settings import environ_for_uv
from tests.support.environments import install, run_python, site_packages, snapshot, uv_binary
from tests.support.processes import Mark, wait_until
from tests.support.wheels import BUILD_FAILURE, bulk_files, make_sdist, make_wheel


class Asker:
    """Asks uv about one environment and one index."""

    def __init__(self, venv: Path, folder: Path, url: str) -> None:
        self.venv = venv
        self.folder = folder
        self.url = url
        self.mark = Mark()
        self.cancel = Cancellation()
        self.lines: list[str] = []
        self.environ = {
            **environ_for_uv(os.environ),
            "UV_HTTP_RETRIES": "0",
            "UV_HTTP_TIMEOUT": "5",
        }

    def uv(self, executable: Path | None = None) -> Uv:
        return Uv(executable, {**self.environ, **self.mark.environment()})

    def ask(self, *requirements: str, arguments=(), timeout=None, settings=None) -> Ask:
        project, uv_toml = self.folder / "pyproject.toml", self.folder / "uv.toml"
        table = {"name": "asked", "version": "0", "dependencies": list(requirements)}
        project.write_text(tomli_w.dumps({"project": table}))
        index = {"index": [{"url": self.url, "default": True}]}
        uv_toml.write_text(tomli_w.dumps({**index, **(settings or {})}))
        python = self.venv / "bin" / "python"
        return Ask(python, project, uv_toml, self.folder, tuple(arguments), timeout)

    def plan(self, *requirements: str, **options):
        return self.uv().plan(self.ask(*requirements, **options), self.cancel, self.lines.append)

    def install(self, prefix: Path, *requirements: str, **options) -> None:
        ask = self.ask(*requirements, **options)
        self.uv().install(ask, prefix, self.cancel, self.lines.append)


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
    folder = tmp_path / "new" / ".venv"
    asker.uv().create_environment(folder, "3.11", Cancellation())
    assert run_python(folder, "import sys; print(sys.prefix)") == str(folder)


def test_an_environment_for_a_python_that_nobody_has_is_refused_in_uvs_words(tmp_path, asker):
    with pytest.raises(UvError) as caught:
        asker.uv().create_environment(tmp_path / "new", "3.2", Cancellation())
    assert "3.2" in caught.value.message


# No solution


def no_solution(asker, *requirements, **options) -> NoSolution:
    with pytest.raises(NoSolution) as caught:
        asker.plan(*requirements, **options)
    assert caught.value.reason == "NoSolution"
    return caught.value


def test_a_name_that_no_index_has(asker):
    assert "gone" in no_solution(asker, "gone").message


def test_a_version_that_no_index_has(asker, index, tmp_path):
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    assert "thing>=2" in no_solution(asker, "thing>=2").message


def test_requirements_that_exclude_each_other(asker, index, tmp_path):
    index.add(make_wheel(tmp_path, "a", "1.0", requires=["c<2"]),
              make_wheel(tmp_path, "b", "1.0", requires=["c>=2"]),
              make_wheel(tmp_path, "c", "1.0"), make_wheel(tmp_path, "c", "2.0"))  # fmt: skip
    message = no_solution(asker, "a", "b").message
    assert re.search(r"\ba\b", message)
    assert re.search(r"\bb\b", message)
    assert "\n" not in message


def test_a_wheel_for_another_python_only(asker, index, tmp_path):
    index.add(make_wheel(tmp_path, "thing", "1.0", requires_python=">=3.99"))
    assert "Python" in no_solution(asker, "thing").message


def test_a_wheel_for_another_platform_only(asker, index, tmp_path):
    index.add(make_wheel(tmp_path, "thing", "1.0", tag="cp311-cp311-win_amd64"))
    assert "thing" in no_solution(asker, "thing").message


def test_a_file_that_is_gone_is_nobody_elses_fault(asker, tmp_path):
    gone = (tmp_path / "gone-1.0-py3-none-any.whl").as_uri()
    assert "gone" in no_solution(asker, f"gone @ {gone}").message


def test_a_url_that_is_gone(asker, index):
    url = index.file_url("gone-1.0-py3-none-any.whl")
    assert "gone" in no_solution(asker, f"gone @ {url}").message


# Builds


def test_a_failing_build_names_the_package_and_says_why(asker, index, tmp_path):
    index.add(make_sdist(tmp_path, "Bad.Build", "1.0", fails=True))
    assert asker.plan("bad-build").install["bad-build"].version == Version("1.0")
    with pytest.raises(BuildFailed) as caught:
        asker.install(tmp_path / "prefix", "bad-build==1.0")
    assert caught.value.name == "bad-build"
    assert caught.value.reason == "BuildFailed"
    assert BUILD_FAILURE in caught.value.message


def test_a_failing_build_of_a_direct_reference_names_the_package(asker, tmp_path):
    sdist = make_sdist(tmp_path / "wheels", "bad", "1.0", fails=True)
    with pytest.raises(BuildFailed) as caught:
        asker.install(tmp_path / "prefix", f"bad @ {sdist.as_uri()}")
    assert caught.value.name == "bad"


def test_a_failing_build_for_metadata_is_seen_by_the_plan(asker, index, tmp_path):
    broken = make_sdist(tmp_path, "worse", "1.0", build_requires=["gone"], static_metadata=False)
    index.add(broken)
    with pytest.raises((BuildFailed, NoSolution)) as caught:
        asker.plan("worse")
    assert "worse" in caught.value.message


def test_a_good_build_installs(asker, index, tmp_path):
    index.add(make_sdist(tmp_path, "good", "1.0"))
    asker.install(tmp_path / "prefix", "good==1.0")
    assert list((tmp_path / "prefix").rglob("good-1.0.dist-info"))


def test_without_builds_an_sdist_is_no_candidate(asker, index, tmp_path):
    index.add(make_sdist(tmp_path, "good", "1.0"))
    message = no_solution(asker, "good", arguments=["--no-build"]).message
    assert "good" in message


# The network: nobody's requirement is to blame


def network_trouble(asker, *requirements) -> NetworkTrouble:
    with pytest.raises(NetworkTrouble) as caught:
        asker.plan(*requirements)
    assert caught.value.reason == "NetworkTrouble"
    return caught.value


def test_an_index_that_refuses_connections(asker, index):
    index.down()
    assert "127.0.0.1" in network_trouble(asker, "thing").message


@pytest.mark.parametrize("status", [500, 502, 503, 429, 401, 407])
def test_an_index_that_answers_with_an_error(asker, index, status):
    index.fail(status)
    network_trouble(asker, "thing")


def test_an_index_that_hides_what_it_does_not_have(asker, index):
    # S3 answers 403 for what is not there, so uv takes it for "not found", and hints at it.
    index.fail(403)
    assert "403" in no_solution(asker, "thing").message


def test_an_index_that_wants_a_password(make_index, asker):
    asker.url = make_index(credentials=("a", "b-secret")).url
    network_trouble(asker, "thing")


def test_a_wrong_password(make_index, asker):
    index = make_index(credentials=("a", "b-secret"))
    asker.url = index.url.replace("//", "//a:wrong-secret@")
    assert "wrong-secret" not in network_trouble(asker, "thing").message


def test_one_failing_page_among_good_ones(asker, index, tmp_path):
    index.add(make_wheel(tmp_path, "good", "1.0"), make_wheel(tmp_path, "bad", "1.0"))
    index.fail(500, for_name="bad")
    network_trouble(asker, "good", "bad")


def test_a_download_that_fails(asker, index, tmp_path):
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    assert asker.plan("thing").install
    index.fail(500)
    with pytest.raises(NetworkTrouble):
        asker.install(tmp_path / "prefix", "thing==1.0")


def test_an_index_that_does_not_answer_in_time(asker, index, tmp_path):
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    stall = index.stall_downloads()
    asker.environ["UV_HTTP_TIMEOUT"] = "1"
    with pytest.raises(NetworkTrouble):
        asker.install(tmp_path / "prefix", "thing==1.0")
    stall.release()


def test_a_name_that_does_not_resolve(asker):
    asker.url = "http://no-such-host.invalid/simple/"
    network_trouble(asker, "thing")


def test_offline_with_a_cold_cache(asker, index, tmp_path):
    index.add(make_wheel(tmp_path, "never-asked-for", "1.0"))
    with pytest.raises(NetworkTrouble):
        asker.uv().plan(asker.ask("never-asked-for"), Cancellation(), offline=True)


def test_an_index_for_which_no_certificate_is_known(asker, index):
    asker.url = index.url.replace("http:", "https:")
    network_trouble(asker, "thing")


# The disk


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_is_told_as_such(asker, index, tmp_path):
    index.add(make_wheel(tmp_path, "big", "1.0", files={"big.bin": os.urandom(4 << 20)}))
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)],
                             capture_output=True, check=False)  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip("no mount here")
    try:
        asker.environ["UV_CACHE_DIR"] = str(small / "cache")
        with pytest.raises(DiskFull) as in_cache:
            asker.install(tmp_path / "prefix", "big==1.0")
        del asker.environ["UV_CACHE_DIR"]
        with pytest.raises(DiskFull) as in_prefix:
            asker.install(small / "prefix", "big==1.0", settings={"link-mode": "copy"})
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
    for caught in (in_cache, in_prefix):
        assert caught.value.reason == "DiskFull"
        assert "Free some space" in caught.value.message


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
    with pytest.raises(UvError, match="not understood"):
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
        "from reconciler.uv import Ask, Uv\nfrom reconciler.processes import Cancellation\n"
        f"ask = Ask(Path({str(ask.python)!r}), Path({str(ask.project)!r}), "
        f"Path({str(ask.settings)!r}), Path({str(ask.folder)!r}))\n"
        f"Uv(None, dict(os.environ)).install(ask, Path({str(tmp_path / 'p')!r}), "
        "Cancellation(), print)\n"
    )
    environ = {**os.environ, **asker.environ, **asker.mark.environment()}
    process = subprocess.Popen([sys.executable, "-c", child], env=environ,
                               cwd=Path(__file__).parents[1])  # fmt: skip
    stall.wait_reached()
    assert len(asker.mark.processes()) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not asker.mark.processes(), timeout=5, what="the end of uv")
    stall.release()


# uv's words


@pytest.mark.parametrize(
    ("code", "log", "kind"),
    [
        (
            2,
            "error: Failed to install: x\n  cause: No space left on device (os error 28)",
            DiskFull,
        ),
        (1, "error: Failed to fetch\n  cause: Disk quota exceeded (os error 122)", DiskFull),
        (2, "error: Request failed after 3 retries\n  cause: dns error: failed", NetworkTrouble),
        (2, "error: Failed to download\n  cause: connection reset by peer", NetworkTrouble),
        (1, "error: Git operation failed\n  cause: Could not resolve host: x.test", NetworkTrouble),
        (1, "error: No solution found when resolving dependencies:\n  because a", NoSolution),
        (2, "error: something new", UvError),
        (2, "", UvError),
        (-9, "", UvError),
    ],
)
def test_failures_are_told_apart_by_uvs_words(code, log, kind):
    found = failure(code, log)
    assert type(found) is kind
    assert found.message
    assert found.log == log


@pytest.mark.parametrize(
    ("build", "name"),
    [
        ("`bad==1.0`", "bad"),
        ("`Bad.Build==1.0+local`", "bad-build"),
        ("`bad @ file:///srv/bad`", "bad"),
        ("`bad-one @ git+https://x.test/bad@v1`", "bad-one"),
    ],
)
@pytest.mark.parametrize("words", ["Failed to build", "Failed to download and build"])
def test_the_package_that_fails_to_build_is_named(build, name, words):
    found = failure(1, f"error: {words} {build}\n  cause: The build backend returned an error")
    assert isinstance(found, BuildFailed)
    assert found.name == name


def test_the_explanation_is_running_text_without_what_was_said_before():
    log = (
        "Using Python 3.11\nwarning: old\nerror: No solution found\n  cause: because a\n   and b\n"
    )
    assert failure(1, log).message == "No solution found: because a and b"


def test_the_mode_of_what_uv_installs_does_not_matter_to_the_program(tmp_path):
    program = fake_uv(tmp_path, "echo 'uv 1.0.0'", mode=0o500)
    assert stat.S_IMODE(program.stat().st_mode) == 0o500
    assert Uv(program, {}).version() == "1.0.0"
