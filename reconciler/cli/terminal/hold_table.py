"""Shows the holds: below each one that is configured, what is held because of it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from reconciler.cli.terminal.output import BAD, GOOD, Output
from reconciler.status import Because, Hold

_INDENT = "  "
_BECAUSE = {
    Because.PINNED: "pinned by",
    Because.COMPATIBLE: "compatible with",
    Because.LINKED: "loaded by",
    Because.DEVICE: "GPU code of",
}


def show_holds(holds: Sequence[Hold], output: Output) -> None:
    """Show them as a table, and then what happened to each that is not intact."""
    grouped = list(_grouped(holds))
    output.table(
        ("Package", "Version", "State", "Because", "Copy"),
        [_row(depth, hold) for depth, hold in grouped],
        [GOOD if hold.intact else BAD for _, hold in grouped],
        spare=("Because",),
    )
    for _, hold in grouped:
        if not hold.intact:
            output.say(f"{hold.name}: {hold.message}", BAD)


def _grouped(holds: Sequence[Hold]) -> Iterator[tuple[int, Hold]]:
    """Each hold with its depth: what is held because of another one follows it."""
    names = {hold.name for hold in holds}
    members: dict[str | None, list[Hold]] = defaultdict(list)
    for hold in holds:
        members[hold.pinned_by if hold.pinned_by in names else None].append(hold)

    def below(holder: str | None, depth: int) -> Iterator[tuple[int, Hold]]:
        for hold in members.pop(holder, ()):
            yield depth, hold
            yield from below(hold.name, depth + 1)

    yield from below(None, 0)


def _row(depth: int, hold: Hold) -> tuple[str | None, ...]:
    why = _BECAUSE[hold.because] if hold.because else "held with"
    because = f"{why} {hold.pinned_by}" if hold.pinned_by else "in `hold`"
    name = f"{_INDENT * depth}{hold.name}"
    return name, hold.version, _state(hold), because, "yes" if hold.vaulted else "no"


def _state(hold: Hold) -> str:
    if hold.intact:
        return "intact"
    if hold.found == hold.version:
        return "broken: its files"
    return f"broken: {hold.found or 'gone'}"
