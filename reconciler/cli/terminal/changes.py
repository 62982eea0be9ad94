"""Shows what changes, what fails, and what the holds hold back, for plans and passes."""

from collections.abc import Sequence

from reconciler.cli.terminal.output import BAD, DOUBT, GOOD, QUIET, Output
from reconciler.status import Change, Failure, HeldBack

_SHOWN = 3
"""How many of the places that declare the same requirement are shown."""

_MARKS = {"install": GOOD, "restore": GOOD, "remove": BAD, "downgrade": DOUBT}


def show_changes(changes: Sequence[Change], output: Output) -> None:
    """Show one line for each change."""
    if changes:
        output.table(
            ("Package", "Change", "From", "To"),
            [(c.name, c.action, c.from_, c.to) for c in changes],
            [_MARKS.get(c.action, "") for c in changes],
        )


def show_held_back(held_back: Sequence[HeldBack], output: Output) -> None:
    """Show what would be newer without the holds."""
    for entry in held_back:
        chosen = entry.chosen or "not installed"
        output.say(
            f"Held back: {entry.name} {chosen} (newest {entry.newest}), because of "
            f"{entry.because}.",
            DOUBT,
        )
        if entry.message and output.options.verbose:
            output.say(f"  {entry.message}", QUIET)


def show_failures(failures: Sequence[Failure], output: Output) -> None:
    """Show what could not be installed, with the reason."""
    for failure in failures:
        output.say(f"Failed: {failure.requirement} ({failure.reason})", BAD, bold=True)
        output.say(f"  {failure.message}")
        if failure.origins:
            output.say(f"  Declared in {places_shown(failure.origins)}.", QUIET)


def places_shown(origins: Sequence[str]) -> str:
    """Some of the places that declare a requirement, and how many more there are."""
    more = len(origins) - _SHOWN
    shown = ", ".join(origins[:_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown
