"""Runs a command of the product that pauses itself (SIGSTOP) in the middle of a vault copy.

Started as a program: `pausing.py PART ARGUMENTS...`. It stops before its first hard link to
a path with PART in it, so a test needs no luck to find it half done; SIGCONT lets it go on.
"""

import os
import signal
import sys

from reconciler.cli.app import main


def pause_before_linking(part: str) -> None:
    """Stop this process once, just before it links a file to a path with `part` in it."""
    real = os.link
    waiting = True

    def link(source: str, target: str) -> None:
        nonlocal waiting
        if waiting and part in os.fspath(target):
            waiting = False
            os.kill(os.getpid(), signal.SIGSTOP)
        real(source, target)

    os.link = link  # type: ignore[assignment]


if __name__ == "__main__":
    pause_before_linking(sys.argv.pop(1))
    main()
