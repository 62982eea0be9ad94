"""For tests of logging: a terminal, and the process's logging as it was before."""

import io
import logging
from collections.abc import Iterator

import structlog


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def logging_restored() -> Iterator[None]:
    """Leave structlog, the root logger and the warnings as they were; a fixture's function."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
