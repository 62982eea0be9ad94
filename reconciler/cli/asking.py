"""Waits for a pass that the service was asked to run."""

import time

from reconciler.cli.reach import Served
from reconciler.cli.terminal.output import Output
from reconciler.cli.terminal.passes import show_pass
from reconciler.cli.terminal.progress import following
from reconciler.status import PassDetail, Result

_POLL_SECONDS = 0.2


def show_outcome(served: Served, number: int, output: Output) -> int:
    """Wait for a pass of the service, show its result, and return the exit status.

    Ctrl-C stops the waiting, not the pass.
    """
    with following(output, f"{served.name}, pass {number}", lines=False) as follower:
        follower.step("service")
        detail = _finished(served, number)
    output.json(detail)
    show_pass(detail, served.name, output)
    return exit_status(detail)


def _finished(served: Served, number: int) -> PassDetail:
    while True:
        detail = served.client.entry(number)
        if detail.result is not None:
            return detail
        time.sleep(_POLL_SECONDS)


def exit_status(detail: PassDetail) -> int:
    """0, or 1 if the pass or one of its packages failed."""
    return 1 if detail.result is Result.FAILED or detail.failed else 0
