"""On a real terminal: live progress that leaves no trace, colours, and Ctrl-C."""

import re
from collections import Counter
from pathlib import Path

import pytest

from reconciler.cli.options import Options
from reconciler.cli.terminal.output import Output
from reconciler.cli.terminal.progress import PlainFollower
from tests.cli.conftest import Studio
from tests.support.environments import snapshot, tree_fingerprint
from tests.support.index import PackageIndex
from tests.support.thorough import sample

# What tables draw and pipes do not have, and what is another one in each run.
DRAWN = re.compile(r"[─╶╴╷╵]+|\d+ MiB|\d\d:\d\d|process \d+")

SPINNER = r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]"


def test_a_pass_is_shown_while_it_runs_and_then_its_result(
    studio: Studio, small: PackageIndex
) -> None:
    studio.declare("alpha<2", "delta")
    stall = small.stall_downloads()
    terminal = studio.terminal("apply")

    terminal.wait_for(rf"{SPINNER} studio: planning with uv")
    terminal.wait_for(rf"{SPINNER} studio: fetching and building 0/3")
    terminal.wait_for(r"  alpha  - -> 1\.0")
    stall.release()

    assert terminal.end() == 0
    result = terminal.text.rpartition("\n Package")[2] or terminal.text
    assert "install" in result
    assert "studio: 3 changes in" in terminal.text.splitlines()[-1]
    # The display is erased, and the cursor is shown again.
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l")


def test_a_search_for_culprits_is_shown_while_it_lasts(capsys: pytest.CaptureFixture[str]) -> None:
    follower = PlainFollower(Output(Options()))
    follower.step("plan")
    for line in ("Resolved 3 packages", "Looking for what cannot be installed: run 2 (at most 9)"):
        follower.line(line)
    said = capsys.readouterr().err.splitlines()
    assert said[1:] == ["  Looking for what cannot be installed: run 2 (at most 9)"]


def test_colours_only_where_they_are_wanted(studio: Studio) -> None:
    studio.declare("alpha")
    colourful, plain, dumb = (
        studio.terminal("check"),
        studio.terminal("check", NO_COLOR="1"),
        studio.terminal("check", TERM="dumb"),
    )

    assert [colourful.end(), plain.end(), dumb.end()] == [2, 2, 2]
    assert "\x1b[31m" in colourful.raw
    assert "\x1b[3" not in plain.raw
    assert "\x1b[" not in dumb.raw
    assert "alpha" in plain.text


def test_without_colours_there_is_no_moving_display_either(studio: Studio) -> None:
    studio.declare("alpha")
    terminal = studio.terminal("apply", NO_COLOR="1")

    assert terminal.end() == 0
    assert "planning with uv ...\n" in terminal.text
    assert "\x1b[?25l" not in terminal.raw


def test_ctrl_c_leaves_everything_as_it_was(studio: Studio, small: PackageIndex) -> None:
    studio.declare("alpha")
    before = tree_fingerprint(studio.venv)
    stall = small.stall_downloads()
    terminal = studio.terminal("apply")
    stall.wait_reached()
    terminal.wait_for("fetching and building")

    terminal.press("\x03")

    assert terminal.end(timeout=20) == 130
    assert terminal.text.rstrip().endswith("Interrupted.")
    assert tree_fingerprint(studio.venv) == before
    assert "alpha" not in snapshot(studio.venv)


def test_ctrl_c_in_the_middle_of_a_plan(studio: Studio, small: PackageIndex) -> None:
    studio.declare("alpha")
    small.slow(30)
    terminal = studio.terminal("plan")
    terminal.wait_for("planning with uv")

    terminal.press("\x03")

    assert terminal.end(timeout=20) == 130


def test_a_package_cannot_take_the_terminal_over(studio: Studio) -> None:
    studio.project.write_text('[project]\nname = "x"\ndependencies = ["\\u001b[2Jalpha"]\n')
    terminal = studio.terminal("check")

    assert terminal.end() == 1
    assert "\x1b[2J" not in terminal.raw


OPTIONAL = ("Generation", "Held", "Next", "check")
"""The headings of columns that a narrow terminal does without."""


def overlong(text: str, width: int) -> list[str]:
    """The lines that are wider than the terminal, except a single word that is."""
    return [line for line in text.splitlines() if len(line) > width and " " in line.strip()]


def words(text: str) -> Counter[str]:
    """Every word, and how often it is there."""
    return Counter(DRAWN.sub("", text).split())


@pytest.mark.parametrize("width", sample([40, 80, 120], every=3))
def test_long_lines_break_between_words(
    studio: Studio, small: PackageIndex, gpu_wheels: list[Path], width: int
) -> None:
    long = f"{studio.project.directory}/a-long-folder-name/and-a-long-file-name-of-a-wheel.whl"
    sources = f'[tool.uv.sources]\nbeta = {{ path = "{long}" }}\n'
    studio.project.write(["torch>=99", "alpha==1.0,>=0.1,!=0.2", "beta", "nothing"], extra=sources)
    commands = (
        ("check", "--verbose"), ("plan",), ("doctor",), ("history",),
        ("check", "--pyproject", f"/nowhere/{'folder/' * 9}pyproject.toml"),
        ("hold", "restore", "some-package-that-is-not-held-by-anyone"), ("plam",),
        ("check", "--environment", "an-environment-that-nobody-has-configured"),
    )  # fmt: skip
    wrong = {}
    for command in commands:
        piped = studio.run(*command)
        terminal = studio.terminal(*command, width=width, NO_COLOR="1")
        status = terminal.end()
        broken = words(piped.stdout + piped.stderr) - words(terminal.text)
        broken -= Counter(OPTIONAL)
        found = (overlong(terminal.text, width), broken, status - piped.returncode)
        if any(found):
            wrong[command] = found

    assert wrong == {}


def test_lines_in_a_pipe_and_json_are_not_broken(studio: Studio) -> None:
    studio.declare("torch>=99")
    lines = studio.run("check", COLUMNS="40").stdout.splitlines()

    assert any(line.startswith("torch: ") and len(line) > 80 for line in lines)
    packages = studio.json("check", status=2)["packages"]
    assert not any("\n" in (package["message"] or "") for package in packages)
