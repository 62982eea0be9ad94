"""What becomes of the log while a command runs: with --verbose it is shown, else it is silent.

The service's log is the service's; a command says itself what people need to know.
"""

import sys

from reconciler.cli.options import Options
from reconciler.config import LogFormat, LogLevel
from reconciler.log.logger import Record, configure


def configure_log(options: Options) -> None:
    """Set logging up for one command. Call before anything that logs."""
    if options.verbose:
        configure(LogFormat.CONSOLE, LogLevel.INFO, stream=sys.stderr)
    else:
        configure(LogFormat.CONSOLE, LogLevel.INFO, sink=_drop)  # a progress display still hears


def _drop(_record: Record) -> None:
    """Nobody asked."""
