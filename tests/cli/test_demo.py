"""`demo` explains itself, needs no network, is quick, and leaves nothing behind."""

import os
import re
import resource
import signal
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.conftest import Studio
from tests.support.processes import reconciler_command, run_cli, wait_until
from tests.support.thorough import only

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy")
NO_NETWORK = dict.fromkeys(_PROXIES, "http://127.0.0.1:9")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the demo makes its temporary folder."""
    made = tmp_path / "tmp"
    made.mkdir()
    return made


def test_it_tells_the_story_touches_nothing_here_and_leaves_nothing_behind(
    applied: Studio, folder: Path
) -> None:
    before, worked = applied.json("history"), processor_seconds()

    here = {"UV_INDEX_URL": "http://127.0.0.1:9/simple", **NO_NETWORK}
    ran = applied.run("demo", TMPDIR=str(folder), **here)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert processor_seconds() - worked < 15
    assert applied.json("history") == before
    assert "\x1b" not in ran.stdout
    text = " ".join(ran.stdout.split())
    for words in (
        "torch 2.8.0 (GPU build lost) 2.3.1+rocm5.7 stays",
        "accelerate 1.0.0 0.9.0",
        "Held back: accelerate 0.9.0 (newest 1.0.0), because of torch==2.3.1+rocm5.7.",
        "torch's library is the very same file: inode",
        "torch 2.3.1+rocm5.7 has been replaced by 2.8.0 by someone else.",
        "torch restore 2.8.0 2.3.1+rocm5.7",
        "$ reconciler rollback",
        "generation 3 is live",
        "left nothing behind",
    ):
        assert words in text, words
    assert list(folder.iterdir()) == []


def processor_seconds() -> float:
    """What ended children have used: how long one waits is up to the machine's other work."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_it_leaves_nothing_behind(
    tmp_path: Path, folder: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        reconciler_command(["demo"]), cwd=tmp_path, env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as ran:  # fmt: skip
        wait_until(lambda: any(folder.glob("*/studio/.venv/bin/python")), what="the environment")
        ran.send_signal(number)
        said = ran.communicate()[1]

    assert (ran.returncode, said.strip()) == (130, "Interrupted.")
    assert list(folder.iterdir()) == []


@only
def test_the_picture_shows_the_terminal_and_fetches_nothing(tmp_path: Path, folder: Path) -> None:
    picture = tmp_path / "images" / "demo.svg"

    ran = run_cli("demo", "--quiet", "--svg", picture, cwd=tmp_path, env={"TMPDIR": str(folder)})

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout == ""
    drawn = picture.read_text()
    ET.fromstring(drawn)
    assert "reconciler&#160;hold&#160;restore&#160;torch" in drawn
    assert not re.search(r"@font-face|url\(\"?http", drawn)
