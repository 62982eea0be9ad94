"""The ground under the other tests: wheels and the index do what they say, with real uv."""

import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from installer.sources import WheelFile

from tests.support.environments import (
    assert_whole,
    install,
    run_python,
    site_packages,
    snapshot,
    strays,
    uninstall,
    uv_binary,
)
from tests.support.index import PackageIndex
from tests.support.universe import BAIT
from tests.support.wheels import BUILD_FAILURE, bulk_files, make_sdist, make_wheel


def uv_install(venv: Path, index: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Install from the index and return uv's answer, good or bad."""
    command = [uv_binary(), "pip", "install", "--python", venv, "--index-url", index]
    return subprocess.run(
        [*map(str, command), *arguments], capture_output=True, text=True, check=False, timeout=120
    )


# Wheels


def test_wheel_is_valid_and_the_same_each_time(tmp_path: Path) -> None:
    def build(directory: Path) -> Path:
        return make_wheel(
            directory,
            "Some.Thing",
            "1.0+local.1",
            requires=["numpy>=1 ; python_version >= '3.8'"],
            extras={"gpu": ["torch>=2", "triton ; platform_system == 'Linux'"]},
            scripts={"thing": "some_thing:main"},
            data={"share/thing/readme.txt": b"hello"},
            raw_scripts={"thing.sh": "#!/bin/sh\n"},
        )

    first, second = build(tmp_path / "a"), build(tmp_path / "b")

    assert first.read_bytes() == second.read_bytes()
    assert first.name == "some_thing-1.0+local.1-py3-none-any.whl"
    with WheelFile.open(first) as wheel:
        wheel.validate_record()
        metadata = wheel.read_dist_info("METADATA")
    assert 'Requires-Dist: torch>=2 ; extra == "gpu"' in metadata
    assert '(platform_system == "Linux") and extra == "gpu"' in metadata


def test_wheel_installs_modules_scripts_and_data(tmp_path: Path, venv: Path) -> None:
    wheel = make_wheel(
        tmp_path,
        "thing",
        "1.0",
        scripts={"thing": "thing:main"},
        data={"share/thing/readme.txt": b"hello"},
        raw_scripts={"thing.sh": "#!/bin/sh\necho raw\n"},
    )

    install(venv, wheel)

    assert snapshot(venv) == {"thing": "1.0"}
    assert subprocess.check_output([venv / "bin/thing"], text=True) == "1.0\n"
    assert subprocess.check_output([venv / "bin/thing.sh"], text=True) == "raw\n"
    assert (venv / "share/thing/readme.txt").read_text() == "hello"
    assert_whole(venv)
    assert strays(venv) == set()


def test_sdist_builds_without_a_network(tmp_path: Path, venv: Path) -> None:
    install(venv, make_sdist(tmp_path, "thing", "1.0", requires=["numpy"]))

    assert run_python(venv, "import thing; print(thing.__version__)") == "1.0"
    assert (
        "Requires-Dist: numpy" in next(site_packages(venv).glob("*.dist-info/METADATA")).read_text()
    )


@pytest.mark.parametrize("static_metadata", [True, False])
def test_failing_sdist_resolves_and_fails_in_the_build_only(
    static_metadata: bool, tmp_path: Path, venv: Path, index: PackageIndex
) -> None:
    index.add(
        make_sdist(
            tmp_path,
            "bad",
            "1.0",
            requires=["good"],
            fails=True,
            static_metadata=static_metadata,
        ),
        make_wheel(tmp_path, "good", "2.0"),
    )

    planned = uv_install(venv, index.url, "--dry-run", "bad")
    done = uv_install(venv, index.url, "bad")

    assert planned.returncode == 0, planned.stderr
    assert "good==2.0" in planned.stderr
    assert done.returncode == 1
    assert BUILD_FAILURE in done.stderr
    assert snapshot(venv) == {}


def test_bulk_files_differ_between_versions() -> None:
    one, two = bulk_files("big", 250, mark="1"), bulk_files("big", 250, mark="2")

    assert len(one) == 250
    assert one.keys() == two.keys()
    assert not [path for path in one if one[path] == two[path]]


def test_wheels_hold_no_time_of_building(tmp_path: Path) -> None:
    with zipfile.ZipFile(make_wheel(tmp_path, "thing", "1.0")) as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}


# The index


def test_uv_resolves_and_installs_from_the_index(venv: Path, universe: PackageIndex) -> None:
    answer = uv_install(venv, universe.url, "transformers", "numpy<2")

    assert answer.returncode == 0, answer.stderr
    installed = snapshot(venv)
    assert installed["transformers"] == "4.44.0"
    assert installed["numpy"] == "1.26.4"
    assert not BAIT & installed.keys()
    assert_whole(venv)


def test_uv_learns_dependencies_from_the_metadata_alone(venv: Path, universe: PackageIndex) -> None:
    answer = uv_install(venv, universe.url, "--dry-run", "transformers")

    assert answer.returncode == 0, answer.stderr
    assert universe.downloads() == []
    assert universe.requests_for("tokenizers")


def test_html_and_json_pages_say_the_same(tmp_path: Path, index: PackageIndex) -> None:
    wheel = make_wheel(tmp_path, "thing", "1.0", requires_python=">=3.8")
    index.add(wheel)

    page = httpx.get(index.url + "thing/", trust_env=False)
    document = httpx.get(
        index.url + "thing/",
        headers={"Accept": "application/vnd.pypi.simple.v1+json"},
        trust_env=False,
    ).json()

    digest = document["files"][0]["hashes"]["sha256"]
    assert f"{wheel.name}#sha256={digest}" in page.text
    assert 'data-requires-python="&gt;=3.8"' in page.text
    assert document["files"][0]["requires-python"] == ">=3.8"


def test_new_and_removed_versions_are_seen_at_once(
    tmp_path: Path, venv: Path, index: PackageIndex
) -> None:
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    assert uv_install(venv, index.url, "thing").returncode == 0
    index.add(make_wheel(tmp_path, "thing", "2.0"))
    assert uv_install(venv, index.url, "--upgrade", "thing").returncode == 0
    assert snapshot(venv) == {"thing": "2.0"}

    index.remove("thing", "2.0")
    uninstall(venv, "thing")  # uv takes an installed version for an available one

    assert uv_install(venv, index.url, "--upgrade", "thing").returncode == 0
    assert snapshot(venv) == {"thing": "1.0"}


def test_index_down_refuses_connections_and_comes_back_at_its_address(
    tmp_path: Path, index: PackageIndex
) -> None:
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    address = index.url
    index.down()
    with pytest.raises(httpx.ConnectError):
        httpx.get(address + "thing/", trust_env=False)

    index.up()

    assert index.url == address
    assert httpx.get(address + "thing/", trust_env=False).status_code == 200


def test_index_fails_for_one_project_only(tmp_path: Path, index: PackageIndex) -> None:
    index.add(make_wheel(tmp_path, "thing", "1.0"), make_wheel(tmp_path, "other", "1.0"))
    index.fail(503, for_name="thing")
    statuses = [
        httpx.get(f"{index.url}{name}/", trust_env=False).status_code for name in ("thing", "other")
    ]
    index.heal()

    assert statuses == [503, 200]
    assert httpx.get(index.url + "thing/", trust_env=False).status_code == 200


def test_stalled_download_freezes_uv_until_released(
    tmp_path: Path, venv: Path, index: PackageIndex
) -> None:
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    stall = index.stall_downloads()
    command = [uv_binary(), "pip", "install", "-p", venv, "--index-url", index.url, "thing"]
    with subprocess.Popen([*map(str, command)]) as uv:
        stall.wait_reached()
        assert uv.poll() is None
        assert snapshot(venv) == {}

        stall.release()

        assert uv.wait(timeout=60) == 0
    assert snapshot(venv) == {"thing": "1.0"}


def test_slow_index_answers_late(index: PackageIndex) -> None:
    index.slow(0.2)

    started = time.monotonic()
    httpx.get(index.url + "thing/", trust_env=False)

    assert time.monotonic() - started >= 0.2


def test_index_with_credentials_turns_others_away(
    tmp_path: Path, venv: Path, make_index: Callable[..., PackageIndex]
) -> None:
    index = make_index(credentials=("user", "secret"))
    index.add(make_wheel(tmp_path, "thing", "1.0"))

    without = uv_install(venv, index.url, "thing")
    within = uv_install(venv, index.url_with_credentials, "thing")

    assert without.returncode == 1
    assert "401" in without.stderr
    assert within.returncode == 0, within.stderr


def test_yanked_release_is_passed_over(tmp_path: Path, venv: Path, index: PackageIndex) -> None:
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    index.add(make_wheel(tmp_path, "thing", "2.0"), yanked=True)

    assert uv_install(venv, index.url, "thing").returncode == 0

    assert snapshot(venv) == {"thing": "1.0"}
