"""The command line: one file for each command. Nothing else knows about the terminal.

A command's module is only imported when that command runs, so that `check` is quick.
"""

from reconciler.cli.app import main

__all__ = ["main"]
