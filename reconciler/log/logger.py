"""Structured logging: every record, ours or a library's, goes through the same sinks.

Records are reduced to plain values, and secrets are masked, before anyone sees them. Writing
one never fails the code that logs: output that cannot be written is lost.
"""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, TextIO, cast

import msgspec

from reconciler.excerpts import MESSAGE, shortened
from reconciler.log.lean import structlog
from reconciler.log.levels import LogFormat, LogLevel
from reconciler.log.redact import plain, redact
from reconciler.log.visible import visible_in_json, visible_in_log

Record = Mapping[str, Any]
"""Keys: event, level, timestamp (UTC, ISO 8601), logger, environment, pass, and those of the
event. Values are JSON values."""
Sink = Callable[[Record], None]

_FIRST = ("timestamp", "level", "event", "environment", "pass")
_TEXT_OF = {"exception": 5 * MESSAGE, "output": 5 * MESSAGE}
"""Tracebacks, and what a verify command printed: in characters."""
_LONGEST_VALUE = 16_000
"""In bytes of JSON: the longest list or table."""


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of a module; create it once, at the top."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger(name))


@contextlib.contextmanager
def context(environment: str | None = None, pass_id: int | None = None) -> Iterator[None]:
    """Add the environment and the pass to every record of this thread or task."""
    names = {"environment": environment, "pass": pass_id}
    known = {name: value for name, value in names.items() if value is not None}
    with structlog.contextvars.bound_contextvars(**known):
        yield


def configure(
    log_format: LogFormat = LogFormat.AUTO,
    level: LogLevel = LogLevel.INFO,
    stream: TextIO | None = None,
    *,
    env: Mapping[str, str] | None = None,
    sink: Sink | None = None,
) -> None:
    """Set logging up for the whole process; may be called again, as on a reload.

    Args:
        log_format: How records are written to `stream`.
        level: The least severe level that is logged. Libraries are logged from WARNING, and
                from INFO if the level is DEBUG.
        stream: Standard error by default.
        env: The environment variables, for NO_COLOR, TERM and the secrets to mask; by default
                our own.
        sink: Takes the records instead of `stream`, such as the journal's.
    """
    chosen = sys.stderr if stream is None else stream
    env = os.environ if env is None else env
    redact.register_environment(env)
    number = logging.getLevelNamesMapping()[level.upper()]
    _OUTLETS.main = sink or stream_sink(log_format, chosen, env)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _finished,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_Delivery,
        cache_logger_on_first_use=False,  # a reload may change the level
    )
    _adopt_libraries(logging.INFO if number <= logging.DEBUG else max(number, logging.WARNING))


def stream_sink(log_format: LogFormat, stream: TextIO, env: Mapping[str, str]) -> Sink:
    """A sink that writes each record to `stream` with one write."""
    terminal = stream.isatty()
    as_json = log_format is LogFormat.JSON or (log_format is LogFormat.AUTO and not terminal)
    colors = terminal and not env.get("NO_COLOR") and env.get("TERM") != "dumb"
    render = _json_line if as_json else _Console(colors=colors)
    lock = threading.Lock()

    def write(record: Record) -> None:
        line = render(record) + "\n"
        with lock, contextlib.suppress(OSError, ValueError):  # gone, full or closed: it is lost
            stream.write(line)
            stream.flush()

    return write


@contextlib.contextmanager
def tapped(tap: Sink) -> Iterator[None]:
    """Pass every record to `tap` too, on the thread that logs; it must be quick."""
    _OUTLETS.add(tap)
    try:
        yield
    finally:
        _OUTLETS.remove(tap)


class _Outlets:
    """Where records go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taps: tuple[Sink, ...] = ()
        self.main: Sink | None = None

    def add(self, tap: Sink) -> None:
        with self._lock:
            self._taps += (tap,)

    def remove(self, tap: Sink) -> None:
        with self._lock:
            self._taps = tuple(other for other in self._taps if other is not tap)

    def __call__(self, record: Record) -> None:
        if self.main is not None:
            self.main(record)
        for tap in self._taps:
            tap(record)


_OUTLETS = _Outlets()


class _Delivery:
    """The end of structlog's chain of processors: takes the finished records of one logger."""

    def __init__(self, name: str = "reconciler") -> None:
        self._name = name

    def msg(self, /, **record: Any) -> None:
        _OUTLETS({**record, "logger": self._name})

    debug = info = warning = error = critical = exception = fatal = log = msg


def _finished(
    _logger: structlog.typing.WrappedLogger, _method: str, record: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Plain values, no secrets, nothing too long, and the most important keys first."""
    values = {key: _bounded(plain(value, key), key) for key, value in record.items()}
    first = {key: values[key] for key in _FIRST if key in values}
    return {**first, **values}


def _bounded(value: Any, key: str = "") -> Any:
    """A plain value within limits: whoever is quoted in a record may have written megabytes."""
    if isinstance(value, str):
        return shortened(value, _TEXT_OF.get(key, MESSAGE))
    if not isinstance(value, dict | list):
        return value
    size = len(msgspec.json.encode(value))
    return value if size <= _LONGEST_VALUE else f"[{size} bytes are left out]"


def _json_line(record: Record) -> str:
    return visible_in_json(msgspec.json.encode(record).decode())


class _Console:
    """Readable lines in local time, without control characters for the terminal."""

    def __init__(self, *, colors: bool) -> None:
        # Plain: the pretty one prints the values of local variables, including secrets.
        plain_text = structlog.dev.plain_traceback
        self._render = structlog.dev.ConsoleRenderer(
            colors=colors, sort_keys=False, exception_formatter=plain_text
        )

    def __call__(self, record: Record) -> str:
        shown = {key: _visible(value) for key, value in record.items() if key != "logger"}
        moment = datetime.fromisoformat(record["timestamp"]).astimezone()
        shown["timestamp"] = f"{moment:%H:%M:%S}"
        return str(self._render(None, "", shown))


def _visible(value: Any) -> Any:
    return visible_in_log(value) if isinstance(value, str) else value


class _Bridge(logging.Handler):
    """Forwards what libraries log through the standard library to the same sinks."""

    def emit(self, record: logging.LogRecord) -> None:
        level = max(logging.DEBUG, min(record.levelno // 10 * 10, logging.CRITICAL))
        get_logger(record.name).log(
            level, "library.message", message=record.getMessage(), exc_info=record.exc_info
        )


def _adopt_libraries(level: int) -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Bridge)]:
        root.removeHandler(handler)
    root.addHandler(_Bridge())
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    threading.excepthook = _thread_failed  # Python would print secrets and control characters


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_type is not SystemExit:
        name = failure.thread.name if failure.thread else None
        get_logger(__name__).error("thread.failed", thread=name, exc_info=failure.exc_value)
