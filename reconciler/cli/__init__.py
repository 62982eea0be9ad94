"""The command line: one file for each command; the only place that knows the terminal.

A command's module is imported only when that command runs, so that `check` is quick.
"""

from reconciler.cli.app import main

__all__ = ["main"]
