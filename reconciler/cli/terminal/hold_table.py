"""Shows the holds: below each one that is configured, what is held because of it."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

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
    _explain(holds, output, lambda hold: f"{hold.name}: {hold.message}")


def show_broken_holds(holds: Sequence[Hold], output: Output) -> None:
    """Show what happened to each broken hold, and what to do."""
    _explain(holds, output, lambda hold: f"Hold broken: {hold.message}")


def _explain(holds: Sequence[Hold], output: Output, sentence: Callable[[Hold], str]) -> None:
    """Say what is wrong; of what is broken with the hold that needs it, only how much."""
    broken = {hold.name: hold for hold in holds if not hold.intact}
    with_others = [] if output.options.verbose else [
        hold for hold in broken.values() if hold.pinned_by in broken
    ]  # fmt: skip
    for hold in broken.values():
        if hold not in with_others:
            output.say(sentence(hold), BAD)
    if with_others:
        packages = "1 package" if len(with_others) == 1 else f"{len(with_others)} packages"
        holders = ", ".join(sorted({_root(hold, broken) for hold in with_others}))
        output.say(f"Also broken: {packages} held with {holders}. `--verbose` says how.", BAD)


def _root(hold: Hold, broken: Mapping[str, Hold]) -> str:
    while hold.pinned_by is not None and hold.pinned_by in broken:
        hold = broken[hold.pinned_by]
    return hold.name


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
