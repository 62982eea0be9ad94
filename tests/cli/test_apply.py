"""`apply` brings the environment to what is declared, records it, and ends well whatever comes."""

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.conftest import BASE, Studio
from tests.support.environments import (
    assert_whole,
    install,
    snapshot,
    tree_fingerprint,
)
from tests.support.index import PackageIndex
from tests.support.processes import reconciler_command, wait_until
from tests.support.thorough import sample
from tests.support.torch import fake_torch

PASS_KEYS = {
    "id", "trigger", "result", "started_at", "duration_seconds", "revision", "generation",
    "changes", "failed", "held_back", "message", "reason_given", "phases", "plan", "log",
    "proof",
}  # fmt: skip


def test_it_installs_what_is_declared_and_leaves_the_holds_alone(studio: Studio) -> None:
    before = {name: tree_fingerprint(studio.venv, name) for name in ("torch", "torchvision")}
    studio.declare("alpha", "fussy")

    ran = studio.run("apply")

    assert ran.returncode == 0, ran.stderr
    assert snapshot(studio.venv)["alpha"] == "2.0"
    assert snapshot(studio.venv)["fussy"] == "1.0"
    assert "Held back: fussy 1.0 (newest 2.0)" in ran.stdout
    assert "studio: 2 changes in " in ran.stdout
    assert {n: tree_fingerprint(studio.venv, n) for n in before} == before
    assert_whole(studio.venv)
    assert studio.run("check").returncode == 0


def test_off_a_terminal_progress_is_plain_lines_on_stderr(studio: Studio) -> None:
    studio.declare("alpha")

    ran = studio.run("apply")

    assert "\x1b" not in ran.stdout + ran.stderr
    lines = ran.stderr.splitlines()
    assert lines[:3] == ["looking ...", "planning with uv ...", "fetching and building ..."]
    assert "  installed alpha" in lines
    assert lines[-1] == "making it live ..."


@pytest.mark.parametrize(
    ("dependencies", "detailed", "plain"),
    [
        ((), 0, 0),
        (("alpha",), 2, 0),
        (("nowhere-to-be-found",), 4, 1),
        (("alpha", "nowhere-to-be-found"), 6, 1),
    ],
)
def test_exit_statuses(
    studio: Studio, dependencies: tuple[str, ...], detailed: int, plain: int
) -> None:
    studio.declare(*dependencies)

    assert studio.run("apply", "--detailed-exitcode").returncode == detailed
    # What was to be changed is changed; what failed fails again.
    assert studio.run("apply").returncode == plain


def test_json_is_the_pass_and_nothing_else_is_printed(studio: Studio) -> None:
    studio.declare("alpha")

    ran = studio.run("apply", "--json")

    document = json.loads(ran.stdout)
    assert document.keys() == PASS_KEYS
    assert document["result"] == "changed"
    assert document["changes"] == [
        {"name": "alpha", "action": "install", "from": None, "to": "2.0"}
    ]
    assert "alpha==2.0" in document["log"]
    assert ran.stderr == ""


def test_a_pass_that_fails_says_why_and_changes_nothing(
    studio: Studio, small: PackageIndex
) -> None:
    studio.declare("alpha")
    small.down()
    before = tree_fingerprint(studio.venv)

    ran = studio.run("apply", "--detailed-exitcode", UV_HTTP_RETRIES="0")

    assert ran.returncode == 1
    assert "Error: studio: NetworkTrouble: " in ran.stderr
    assert tree_fingerprint(studio.venv) == before


def test_a_bad_file_is_an_error_though_what_it_said_before_is_in_force(applied: Studio) -> None:
    good = applied.project.path.read_text()
    applied.project.write_text(good.replace("]", "", 1))

    ran = applied.run("apply", "--detailed-exitcode")

    assert ran.returncode == 1
    assert f"Error: {applied.project.path}:" in ran.stderr
    document = applied.json("apply", status=1)
    assert document["result"] == "unchanged"
    assert document["message"].startswith(f"BadFile: {applied.project.path}:")


def test_the_environment_is_made_if_there_is_none(studio: Studio, tmp_path: Path) -> None:
    studio.configure(python=str(tmp_path / "fresh"))
    studio.declare("alpha", base=())

    studio.ok("apply")

    assert snapshot(tmp_path / "fresh") == {"alpha": "2.0"}


def test_a_held_package_that_is_not_there_is_told_and_not_installed(
    studio: Studio, tmp_path: Path
) -> None:
    studio.configure(python=str(tmp_path / "fresh"))
    studio.declare("alpha", base=("torch>=2",))

    ran = studio.run("apply")

    assert ran.returncode == 0
    assert "torch: held but not installed" in ran.stdout
    assert snapshot(tmp_path / "fresh") == {"alpha": "2.0"}


def test_a_paused_environment_is_left_alone_unless_forced(studio: Studio) -> None:
    studio.declare("alpha")
    studio.ok("pause", "--reason", "a long training run")

    refused = studio.run("apply")

    assert refused.returncode == 1
    assert "a long training run" in refused.stderr
    assert "`reconciler resume`" in refused.stderr
    assert "alpha" not in snapshot(studio.venv)
    studio.ok("apply", "--force")
    assert "alpha" in snapshot(studio.venv)


def test_an_observed_environment_is_left_alone_unless_forced(studio: Studio) -> None:
    studio.configure(mode="observe")
    studio.declare("alpha")

    refused = studio.run("apply")

    assert refused.returncode == 1
    assert "only observed" in refused.stderr
    studio.ok("apply", "--force")
    assert "alpha" in snapshot(studio.venv)


def test_after_a_rollback_it_waits_for_another_edit(applied: Studio) -> None:
    applied.declare("alpha>=2")
    applied.ok("apply")
    applied.ok("rollback")

    assert applied.run("apply").returncode == 1
    assert snapshot(applied.venv)["alpha"] == "1.0"
    applied.declare("alpha>=2", "beta")
    applied.ok("apply")
    assert snapshot(applied.venv)["alpha"] == "2.0"


def test_a_broken_hold_is_put_back_first_where_that_is_configured(
    applied: Studio, tmp_path: Path
) -> None:
    applied.configure(on_hold_broken="restore")
    before = {p: s.sha256 for p, s in tree_fingerprint(applied.venv, "torch").items()}
    install(applied.venv, fake_torch(tmp_path, "2.8.0"))
    applied.declare("alpha<2", "beta")

    applied.ok("apply")

    after = {p: s.sha256 for p, s in tree_fingerprint(applied.venv, "torch").items()}
    assert after == before
    assert "beta" in snapshot(applied.venv)


def test_two_at_once_do_not_meet(studio: Studio) -> None:
    studio.declare("alpha", "beta", "delta")

    with ThreadPoolExecutor(2) as pool:
        documents = list(pool.map(lambda _: studio.json("apply"), range(2)))

    assert sorted(d["result"] for d in documents) == ["changed", "unchanged"]
    assert_whole(studio.venv)


def test_without_a_configuration_it_is_about_this_folder(studio: Studio, tmp_path: Path) -> None:
    studio.config.unlink()
    studio.declare("alpha", base=BASE)

    ran = studio.run("apply", STATE_DIRECTORY=str(tmp_path / "state"))

    assert ran.returncode == 0, ran.stderr
    assert "project: 1 change in " in ran.stdout
    assert snapshot(studio.venv)["alpha"] == "2.0"
    assert (tmp_path / "state" / "journal.sqlite3").is_file()


@pytest.mark.parametrize("number", sample([signal.SIGINT, signal.SIGTERM, signal.SIGHUP], every=2))
def test_a_signal_ends_it_cleanly(
    studio: Studio, small: PackageIndex, number: signal.Signals
) -> None:
    studio.declare("alpha")
    before = tree_fingerprint(studio.venv)
    stall = small.stall_downloads()
    process = subprocess.Popen(
        reconciler_command(["apply"]),
        cwd=studio.project.directory, env={**os.environ, **studio.environ},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    stall.wait_reached()

    process.send_signal(number)
    _, errors = process.communicate(timeout=20)

    assert process.returncode == 130
    assert errors.splitlines()[-1] == "Interrupted."
    assert tree_fingerprint(studio.venv) == before
    wait_until(lambda: not studio.mark.processes(), what="the end of every process")
    assert not list((studio.venv / ".reconciler").glob("work-*"))
    small.heal()
    studio.ok("apply")
    assert snapshot(studio.venv)["alpha"] == "2.0"
