"""On a terminal the log is for people, and nothing that is logged takes the terminal over."""

import io
import re

import pytest

from reconciler.config import LogFormat
from reconciler.log.logger import configure, context, get_logger
from tests.support.logs import Terminal, logging_restored

restored = pytest.fixture(autouse=True)(logging_restored)


def test_on_a_terminal_it_is_for_people():
    stream = Terminal()
    configure(stream=stream, env={"TERM": "xterm"})

    with context("studio", 3):
        get_logger("reconciler.tests").info("pass.finished", result="changed")

    line = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d \[info +\] pass\.finished +environment=studio pass=3 result=changed\n",
        line,
    )
    assert "\x1b[" in stream.getvalue()


@pytest.mark.parametrize("env", [{"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}])
def test_colours_can_be_declined(env):
    stream = Terminal()
    configure(stream=stream, env=env)

    get_logger("reconciler.tests").error("pass.failed", reason="x")

    assert "\x1b" not in stream.getvalue()


def test_an_empty_no_color_declines_nothing():
    stream = Terminal()
    configure(stream=stream, env={"NO_COLOR": "", "TERM": "xterm"})

    get_logger("reconciler.tests").error("pass.failed")

    assert "\x1b[" in stream.getvalue()


@pytest.mark.parametrize(
    ("log_format", "stream", "as_json"),
    [
        (LogFormat.JSON, Terminal(), True),
        (LogFormat.CONSOLE, io.StringIO(), False),
        (LogFormat.AUTO, Terminal(), False),
        (LogFormat.AUTO, io.StringIO(), True),
    ],
)
def test_the_format_can_be_chosen(log_format, stream, as_json):
    configure(log_format, stream=stream, env={})

    get_logger("reconciler.tests").info("service.started")

    assert stream.getvalue().startswith("{") is as_json


def test_nothing_that_is_logged_takes_the_terminal_over():
    stream = Terminal()
    configure(stream=stream, env={"NO_COLOR": "1"})

    get_logger("reconciler.tests").info(
        "package.failed", message="\x1b]0;owned\x07\r\x9b2J", text="a\n12:00:00 [info] forged"
    )

    written = stream.getvalue()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", written)
    assert written.count("\n") == 1


def test_a_traceback_is_readable_on_a_terminal():
    stream = Terminal()
    configure(stream=stream, env={"NO_COLOR": "1"})
    local = "in" + "visible"
    try:
        int(local[:2])
    except ValueError:
        get_logger("reconciler.tests").exception("pass.failed")

    assert "Traceback (most recent call last):\n" in stream.getvalue()
    assert "ValueError: invalid literal" in stream.getvalue()
    assert "invisible" not in stream.getvalue()
