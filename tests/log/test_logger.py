"""Every record takes the same way out, complete, without secrets, and never in the way."""

import io
import json
import logging
import re
import threading
import warnings
from pathlib import Path

import pytest

from reconciler.config import LogLevel
from reconciler.log.logger import configure, context, get_logger, tapped
from reconciler.log.redact import register_secret
from tests.support.logs import logging_restored

restored = pytest.fixture(autouse=True)(logging_restored)


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def records(stream):
    """The JSON lines that were written so far."""
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def log(stream):
    configure(stream=stream, env={})
    return get_logger("reconciler.tests")


# JSON lines


def test_off_a_terminal_a_record_is_one_line_of_json(log, stream, records):
    log.info("pass.finished", result="changed", seconds=2.5, failed=None)

    (record,) = records()
    timestamp = record.pop("timestamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", timestamp)
    assert record == {
        "event": "pass.finished",
        "level": "info",
        "logger": "reconciler.tests",
        "result": "changed",
        "seconds": 2.5,
        "failed": None,
    }
    assert stream.getvalue().endswith("}\n")


def test_what_people_look_for_stands_in_front(log, records):
    with context("studio", 3):
        log.info("drift.detected", packages=["numpy"])

    (record,) = records()
    assert list(record)[:5] == ["timestamp", "level", "event", "environment", "pass"]


def test_no_value_breaks_the_line(log, records, tmp_path):
    log.info("file.changed", path=tmp_path, text="a\nb\x1b[31m", odd="\udcff", thing=object)

    (record,) = records()
    assert record["path"] == str(tmp_path)
    assert record["text"] == "a\nb\x1b[31m"
    assert record["odd"] == "\\udcff"
    assert record["thing"] == "<class 'object'>"


def test_a_traceback_is_text_in_its_record(log, records):
    try:
        Path("/nonexistent/file").read_text()
    except OSError:
        log.exception("pass.failed")

    (record,) = records()
    assert record["level"] == "error"
    assert record["exception"].startswith("Traceback (most recent call last):\n")
    assert "FileNotFoundError" in record["exception"]
    assert "exc_info" not in record


# Context


def test_the_context_names_environment_and_pass(log, records):
    with context("studio"):
        with context(pass_id=7):
            log.info("pass.started")
        log.info("pass.requested")
    log.info("service.stopping")

    assert [(it.get("environment"), it.get("pass")) for it in records()] == [
        ("studio", 7),
        ("studio", None),
        (None, None),
    ]


def test_threads_do_not_share_their_context(log, records):
    together = threading.Barrier(2, timeout=10)

    def work(name, number):
        with context(name, number):
            together.wait()
            log.info("pass.started")
            together.wait()

    threads = [threading.Thread(target=work, args=pair) for pair in (("a", 1), ("b", 2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sorted((it["environment"], it["pass"]) for it in records()) == [("a", 1), ("b", 2)]


def test_lines_of_many_threads_are_never_mixed(log, records):
    def work():
        for number in range(100):
            log.info("package.changed", number=number, text="x" * 500)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(records()) == 800


# Levels


@pytest.mark.parametrize(
    ("level", "count"),
    [(LogLevel.DEBUG, 4), (LogLevel.INFO, 3), (LogLevel.WARNING, 2), (LogLevel.ERROR, 1)],
)
def test_what_is_less_severe_is_left_out(stream, records, level, count):
    configure(level=level, stream=stream, env={})
    log = get_logger("reconciler.tests")

    for method in (log.debug, log.info, log.warning, log.error):
        method("pass.started")

    assert [it["level"] for it in records()] == ["debug", "info", "warning", "error"][-count:]


def test_a_reload_changes_the_level_of_loggers_that_exist(log, stream, records):
    log.debug("pass.started")
    configure(level=LogLevel.DEBUG, stream=stream, env={})
    log.debug("pass.finished")

    assert [it["event"] for it in records()] == ["pass.finished"]


# Libraries


def test_a_library_takes_the_same_way(log, records):
    with context("studio", 3):
        logging.getLogger("uvicorn.error").warning("odd: %s", "https://me:pw@example.org")

    (record,) = records()
    assert record["event"] == "library.message"
    assert record["message"] == "odd: https://****@example.org"
    assert (record["logger"], record["level"]) == ("uvicorn.error", "warning")
    assert (record["environment"], record["pass"]) == ("studio", 3)


def test_a_librarys_exception_is_kept(log, records):
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        logging.getLogger("asyncio").exception("task failed")

    (record,) = records()
    assert record["exception"].endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        (LogLevel.DEBUG, ["info", "warning", "error"]),
        (LogLevel.INFO, ["warning", "error"]),
        (LogLevel.ERROR, ["error"]),
    ],
)
def test_libraries_are_heard_when_they_matter(stream, records, level, heard):
    configure(level=level, stream=stream, env={})
    library = logging.getLogger("somebody.library")

    for method in (library.debug, library.info, library.warning, library.error):
        method("x")

    assert [it["level"] for it in records()] == heard


def test_levels_of_their_own_are_rounded_down(log, records):
    logging.getLogger("odd").log(35, "between warning and error")
    logging.getLogger("odd").log(99, "beyond critical")

    assert [it["level"] for it in records()] == ["warning", "critical"]


def test_configuring_twice_writes_once(log, stream, records):
    configure(stream=stream, env={})
    configure(stream=stream, env={})

    logging.getLogger("uvicorn").error("x")

    assert len(records()) == 1


def test_a_warning_of_python_is_logged(log, records):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)

    (record,) = records()
    assert record["logger"] == "py.warnings"
    assert "DeprecationWarning: old" in record["message"]


# Secrets


def fail(message):
    raise RuntimeError(message)


def test_no_secret_is_written(log, stream, records):
    register_secret("sesame-street")
    try:
        fail("uv failed for https://me:hunter22@example.org")
    except RuntimeError:
        log.exception("pass.failed", token="t0psecret", words=["uv", "sesame-street"])

    for secret in ("hunter22", "t0psecret", "sesame-street"):
        assert secret not in stream.getvalue()
    (record,) = records()
    assert record["token"] == "****"
    assert record["words"] == ["uv", "****"]


def test_the_secrets_of_the_environment_are_known(stream, records):
    configure(stream=stream, env={"UV_INDEX_LAB_PASSWORD": "open-sesame"})

    get_logger("reconciler.tests").error("package.failed", message="401 for open-sesame")

    (record,) = records()
    assert record["message"] == "401 for ****"


# Taps and sinks


def test_a_tap_gets_every_record_as_it_is_written(log, records):
    seen = []
    with tapped(seen.append):
        log.info("file.changed", url="https://me:pw@example.org", path=Path("/x"))
        logging.getLogger("uvicorn").error("x")
    log.info("pass.started")

    assert seen == records()[:2]


def test_two_taps_do_not_disturb_each_other(log):
    first, second = [], []
    with tapped(first.append):
        with tapped(second.append):
            log.info("pass.started")
        log.info("pass.finished")

    assert [it["event"] for it in first] == ["pass.started", "pass.finished"]
    assert [it["event"] for it in second] == ["pass.started"]


def test_a_tap_stays_through_a_reload(log, stream):
    seen = []
    with tapped(seen.append):
        configure(stream=stream, env={})
        log.info("service.reloaded")

    assert [it["event"] for it in seen] == ["service.reloaded"]


def test_a_sink_takes_the_streams_place(stream):
    seen = []
    configure(stream=stream, env={}, sink=seen.append)

    get_logger("reconciler.tests").info("service.started")

    assert [it["event"] for it in seen] == ["service.started"]
    assert stream.getvalue() == ""


def test_a_closed_stream_stops_nobody(log, stream):
    stream.close()
    seen = []
    with tapped(seen.append):
        log.info("service.started")

    assert [it["event"] for it in seen] == ["service.started"]


def test_a_full_disk_stops_nobody():
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115  # closing fails
    configure(stream=full, env={})
    log = get_logger("reconciler.tests")
    seen = []
    with tapped(seen.append):
        log.info("service.started")
        log.info("service.stopping")
    with pytest.raises(OSError, match="No space left"):
        full.close()

    assert [it["event"] for it in seen] == ["service.started", "service.stopping"]


def test_a_thread_that_dies_is_logged_without_secrets(log, records, capfd):
    def die():
        raise ValueError("http://me:thread-Zq7@host.example \x1b[31m")

    thread = threading.Thread(target=die, name="notices")
    thread.start()
    thread.join()

    (record,) = records()
    assert (record["event"], record["thread"]) == ("thread.failed", "notices")
    assert "http://****@host.example" in record["exception"]
    assert capfd.readouterr() == ("", "")
