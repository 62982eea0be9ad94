"""For tests of logging: a terminal, and the process's logging as it was before."""

import io
import logging
import threading
from collections.abc import Iterator

import structlog


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def logging_restored() -> Iterator[None]:
    """Leave structlog, the root logger and the warnings as they were; a fixture's function."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, threading.excepthook
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    threading.excepthook = hook
