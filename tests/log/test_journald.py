"""Records as journal entries: over a real datagram socket, as journald reads it."""

import os
import socket
import struct

import pytest

from reconciler.config import LogFormat, LogLevel
from reconciler.log.journald import journal_fields, journal_sink, sink_under_systemd
from reconciler.log.logger import configure, context, get_logger


@pytest.fixture
def journald(tmp_path):
    """A socket where journald's would be; the entries that came, decoded."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(5)
        yield path, lambda: decode(receive(listener))


def receive(listener):
    data, ancillary, _, _ = listener.recvmsg(1 << 20, 1024)
    for _level, kind, body in ancillary:
        assert kind == socket.SCM_RIGHTS
        (descriptor,) = struct.unpack("i", body[:4])
        with os.fdopen(descriptor, "rb") as memory:
            memory.seek(0)
            return memory.read()
    return data


def decode(data):
    """The native journal protocol, as systemd documents it."""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", data[:8])
            value, data = data[8 : 8 + length], data[9 + length :]
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def logged(journald):
    path, entry = journald
    configure(LogFormat.AUTO, LogLevel.DEBUG, sink=journal_sink(path))
    yield entry
    configure()


def test_environment_pass_and_event_are_fields(logged):
    with context(environment="studio", pass_id=12):
        get_logger("reconciler.worker").warning("pass.finished", result="partial", seconds=2.1)

    entry = logged()
    assert entry["MESSAGE"] == (
        "pass.finished environment=studio pass=12 result=partial seconds=2.1"
    )
    assert entry["PRIORITY"] == "4"
    assert entry["SYSLOG_IDENTIFIER"] == "reconciler"
    assert (entry["EVENT"], entry["ENVIRONMENT"], entry["PASS"]) == (
        "pass.finished",
        "studio",
        "12",
    )
    assert (entry["RESULT"], entry["SECONDS"]) == ("partial", "2.1")
    assert entry["LOGGER"] == "reconciler.worker"
    assert "TIMESTAMP" not in entry
    assert "LEVEL" not in entry


@pytest.mark.parametrize(
    ("level", "priority"),
    [("debug", "7"), ("info", "6"), ("warning", "4"), ("error", "3"), ("critical", "2")],
)
def test_levels_become_priorities(logged, level, priority):
    getattr(get_logger("x"), level)("something")

    assert logged()["PRIORITY"] == priority


def test_an_event_is_one_line_and_its_values_can_be_told_apart(logged):
    get_logger("x").info("package.failed", message="first\nsecond", path="/srv/my lab", n=[1, 2])

    entry = logged()
    assert entry["MESSAGE"] == 'package.failed first\\nsecond path="/srv/my lab" n=[1,2]'
    assert entry["PATH"] == "/srv/my lab"


def test_a_traceback_follows_in_the_same_entry(logged):
    try:
        int("odd")
    except ValueError:
        get_logger("x").exception("worker.failed")

    first, *rest = logged()["MESSAGE"].splitlines()
    assert first == "worker.failed"
    assert rest[0].startswith("Traceback")
    assert rest[-1].startswith("ValueError: invalid literal")


def test_a_long_entry_arrives_whole(journald):
    """More than fits into one datagram, although no record of ours is so long."""
    path, entry = journald
    text = "x" * 1_000_000

    journal_sink(path)({"event": "uv.said", "level": "info", "output": text})

    assert entry()["OUTPUT"] == text


def test_fields_never_take_the_journal_s_own_names():
    record = {
        "event": "e",
        "message": "m",
        "message_id": "a",
        "_uid": "0",
        "1st": "b",
        "code_x": "c",
    }

    fields = dict(journal_fields(record))

    assert fields["MESSAGE"].startswith("e m ")
    assert fields["RECONCILER_MESSAGE_ID"] == "a"
    assert fields["UID"] == "0"
    assert fields["RECONCILER_1ST"] == "b"
    assert fields["RECONCILER_CODE_X"] == "c"


def test_a_name_that_is_no_utf_8_is_still_logged(logged):
    get_logger("x").info("file.changed", path=os.fsdecode(b"/srv/\xff"))

    assert logged()["EVENT"] == "file.changed"


def test_without_a_journal_the_record_is_lost_and_nothing_else(tmp_path):
    configure(sink=journal_sink(tmp_path / "none"))
    try:
        get_logger("x").error("service.failed")
    finally:
        configure()


def test_only_where_systemd_connected_standard_error_and_no_format_was_asked_for(monkeypatch):
    assert sink_under_systemd(LogFormat.AUTO) is None

    state = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{state.st_dev}:{state.st_ino}")

    assert sink_under_systemd(LogFormat.JSON) is None
    assert sink_under_systemd(LogFormat.AUTO) is not None
