"""Every way in which uv says no, told apart by what it really says."""

import os
import re
import subprocess

import pytest
from packaging.version import Version

from reconciler.processes import Cancellation
from reconciler.uv.answers import Unusable, Unwritable
from reconciler.uv.program import (
    BuildFailed,
    DiskFull,
    NetworkTrouble,
    NoSolution,
    UvError,
    failure,
)
from tests.support.asking import Asker
from tests.support.wheels import BUILD_FAILURE, make_sdist, make_wheel


@pytest.fixture
def asker(venv, tmp_path, index):
    folder = tmp_path / "asked"
    folder.mkdir()
    asker = Asker(venv, folder, index.url)
    yield asker
    asker.mark.kill()


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
        (
            2,
            "error: Received some unexpected JSON from `http://x.test/`\n  cause: line 1",
            NetworkTrouble,
        ),
        (2, "error: Could not lock\n  cause: Permission denied (os error 13) at /c", Unwritable),
        (2, "error: Could not lock\n  cause: Read-only file system (os error 30)", Unwritable),
        (
            1,
            "error: Failed to build `x==1`\n  cause: Permission denied (os error 13)",
            BuildFailed,
        ),
        (
            2,
            "error: Failed to download `x==1`\n  cause: Permission denied (os error 13) at /cache",
            Unwritable,
        ),
        (
            2,
            "error: Failed to install: x.whl (x==1)\n  cause: Permission denied (os error 13)",
            Unwritable,
        ),
        (
            2,
            "error: Failed to download `x @ file:///x`\n  cause: Permission denied (os error 13)",
            Unusable,
        ),
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
