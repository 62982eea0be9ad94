"""On a real terminal: live progress that leaves no trace, colours, and Ctrl-C."""

import pytest

from reconciler.cli.options import Options
from reconciler.cli.terminal.output import Output
from reconciler.cli.terminal.progress import PlainFollower
from tests.cli.conftest import Studio
from tests.support.environments import snapshot, tree_fingerprint
from tests.support.index import PackageIndex

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
