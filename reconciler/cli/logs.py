"""The log while a command runs: shown with --verbose, silent otherwise.

Commands print what people need to know themselves.
"""

import sys

from reconciler.cli.options import Options
from reconciler.config import LogFormat, LogLevel
from reconciler.log.lean import structlog
from reconciler.log.logger import Record, configure


def configure_log(options: Options) -> None:
    """Set up logging for one command. Call this before anything logs."""
    if options.verbose:
        configure(LogFormat.CONSOLE, LogLevel.INFO, stream=sys.stderr)
    else:
        configure(LogFormat.CONSOLE, LogLevel.INFO, sink=_drop)  # a progress display still hears


def silence_default_log() -> None:
    """If nothing has set logging up yet, be silent: structlog would print local variables."""
    if not structlog.is_configured():
        configure(LogFormat.CONSOLE, LogLevel.INFO, sink=_drop)


def _drop(_record: Record) -> None:
    """Discard it."""
