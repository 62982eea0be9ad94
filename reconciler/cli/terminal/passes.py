"""Shows the result of a pass, whether a command or the service ran it."""

from reconciler.cli.terminal.changes import show_changes, show_failures, show_held_back
from reconciler.cli.terminal.output import BAD, DOUBT, GOOD, Output, complain
from reconciler.status import PassDetail, Result, Trigger

MARKS = {
    Result.UNCHANGED: "",
    Result.CHANGED: GOOD,
    Result.PARTIAL: DOUBT,
    Result.FAILED: BAD,
}


def show_pass(detail: PassDetail, name: str, output: Output) -> None:
    """Show what changed, what failed, and a summary."""
    show_changes(detail.changes, output)
    show_held_back(detail.held_back, output)
    show_failures(detail.failed, output)
    if detail.result is Result.FAILED:
        complain(f"Error: {name}: {detail.message or 'failed'}")
        return
    color = MARKS.get(detail.result, "") if detail.result else ""
    output.say(f"{name}: {summary(detail)}.", color or GOOD, bold=True)
    if detail.message and detail.trigger in (Trigger.RESTORE, Trigger.ACCEPT):
        output.say(detail.message, DOUBT if detail.trigger == Trigger.RESTORE else None)


def summary(detail: PassDetail) -> str:
    """The result in a few words."""
    seconds = f"in {detail.duration_seconds or 0:.1f} s"
    changed = _count(len(detail.changes), "change")
    failed = _count(len(detail.failed), "requirement")
    if detail.failed and detail.changes:
        return f"{changed} {seconds}, but {failed} could not be satisfied"
    if detail.failed:
        return f"{failed} could not be satisfied; nothing has changed"
    if detail.changes:
        return f"{changed} {seconds}, generation {detail.generation} is live"
    if detail.result is Result.CHANGED:
        return f"generation {detail.generation} is live, with the same packages"
    return f"nothing to do ({seconds.removeprefix('in ')})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
