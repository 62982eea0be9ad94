"""Writes log records with their fields to systemd's journal, one entry per event.

Uses the native journal protocol through `logging-journald`, which is plain, typed Python and
passes large entries in a sealed memory file, as the protocol requires (`systemd-python` would
have to be compiled against libsystemd). A record that the journal does not accept is lost:
logging never fails the code that logs.
"""

import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from logging_journald import (  # type: ignore[import-untyped]  # has types, but no py.typed
    JournaldTransport,
    check_journal_stream,
)

from reconciler.log.levels import LogFormat
from reconciler.log.logger import Record, Sink
from reconciler.patterns import regex

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Our levels as those of syslog(3)."""
IDENTIFIER = "reconciler"
_MESSAGE_ONLY = ("message", "exception")
"""Keys that are only put into MESSAGE: a field `message` would hide it."""
_LEFT_OUT = ("timestamp", "level")
"""Keys that the journal sets itself."""
_RESERVED = regex(
    r"MESSAGE|MESSAGE_ID|PRIORITY|ERRNO|INVOCATION_ID|USER_INVOCATION_ID|DOCUMENTATION|TID|UNIT|"
    r"USER_UNIT|(CODE|SYSLOG|OBJECT|COREDUMP)_.*"
)
"""Fields with a meaning of their own (systemd.journal-fields(7))."""
_LONGEST_NAME = 64


def sink_under_systemd(log_format: LogFormat) -> Sink | None:
    """The journal, if systemd connected standard error to it and no format is configured."""
    if log_format is not LogFormat.AUTO or not check_journal_stream():
        return None
    return journal_sink()


def journal_sink(socket: Path | None = None) -> Sink:
    """A sink that writes records to the journal.

    Args:
        socket: journald's socket; by default the standard one.
    """
    # Addressed each time, like libsystemd: journald may have been restarted.
    transport = JournaldTransport(socket, connected=False)
    lock = threading.Lock()

    def write(record: Record) -> None:
        with lock, contextlib.suppress(OSError):
            transport.send(journal_fields(record))

    return write


def journal_fields(record: Record) -> Iterator[tuple[str, str]]:
    """The entry for a record; its keys are in capitals, as in `journalctl ENVIRONMENT=studio`."""
    yield "MESSAGE", _encodable(_message(record))
    yield "PRIORITY", str(PRIORITIES.get(str(record.get("level")), PRIORITIES["info"]))
    yield "SYSLOG_IDENTIFIER", IDENTIFIER
    for key, value in record.items():
        if key not in (*_LEFT_OUT, *_MESSAGE_ONLY) and value is not None:
            yield _name(key), _encodable(_text(value))


def _message(record: Record) -> str:
    """One line with the event, its message and its details; a traceback follows below."""
    said = [record.get("event", ""), record.get("message")]
    skipped = {"event", "logger", *_LEFT_OUT, *_MESSAGE_ONLY}
    details = [f"{key}={_word(value)}" for key, value in record.items() if key not in skipped]
    line = " ".join([*(_one_line(str(part)) for part in said if part), *details])
    return "\n".join([line, *([str(record["exception"])] if record.get("exception") else [])])


def _word(value: Any) -> str:
    text = _text(value)
    return text if re.fullmatch(r"[^\s\"=]+", text) else msgspec.json.encode(text).decode()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n")


def _encodable(text: str) -> str:
    """Paths may contain bytes that are not UTF-8; Python shows them as lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def _name(key: str) -> str:
    """The name of the field: only capitals, digits and underscores, with a capital first."""
    name = re.sub(r"[^A-Z0-9_]", "_", key.upper()).lstrip("_")
    if not name or name[0].isdigit() or _RESERVED.fullmatch(name):
        name = f"RECONCILER_{name}"
    return name[:_LONGEST_NAME]
