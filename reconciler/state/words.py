"""Turns the cause of a drift into a sentence. The only place that does so."""

from typing import assert_never

from reconciler.log.redact import in_places
from reconciler.state.causes import (
    Broken,
    Cause,
    HeldBroken,
    HeldMismatch,
    HeldMissing,
    HeldReplaced,
    Kept,
    LeftOut,
    Met,
    Mismatch,
    Missing,
    NeedsAnotherHeld,
    NoUsableSource,
    Origin,
    OutOfBounds,
    SourceChanged,
    SourceGone,
    SourceUnrecorded,
    WrongKind,
    WrongRevision,
    WrongSource,
)
from reconciler.state.distribution import INTERRUPTED
from reconciler.state.installed import FILES_GONE
from reconciler.state.rows import Row


def message_of(row: Row) -> str | None:
    """Why the package has its status, and what to do; None if there is nothing to say."""
    if isinstance(row.cause, Met):
        return None
    words = _held(row, row.cause)
    if row.dependent_version is not None:
        words += f"; required by {row.required_by} {row.dependent_version}"
    return words


def _held(row: Row, cause: Cause) -> str:
    """The sentence for a held package; `_free` has those for all others."""
    by = f"{row.required_by} requires" if row.required_by else "the project declares"
    match cause:
        case Kept(address, unseen):
            declared = f"; {by} {in_places(address)}, which is not asked for it" if address else ""
            where = f" ({unseen})" if unseen else ""
            return f"held: never installed, replaced or removed{where}{declared}"
        case HeldMissing(wanted, copied) if copied is not None:
            return (
                f"held but not installed, though {by} {wanted}. A copy of {copied} is in the "
                f"vault: `reconciler hold restore {row.name}` restores it, offline."
            )
        case HeldMissing(wanted):
            return (
                f"held but not installed, though {by} {wanted}. A held package is never installed "
                f"for you: install the build for your GPU by hand (uv pip install {wanted!r} with "
                "the index that has it), or remove it from `hold`."
            )
        case HeldBroken(defect):
            return (
                f"{defect}. It is held, so it is not reinstalled: restore it with `reconciler "
                f"hold restore {row.name}`, or install that build by hand again"
                f"{if_on_purpose(row.name, defect)}."
            )
        case HeldReplaced(found, held, why):
            keep = f", `reconciler hold accept {row.name}` keeps the new one"
            if why is not None:
                keep = f"; {why}"
            return (
                f"{found} is installed instead of {held}, which is held: someone else replaced "
                f"it. `reconciler hold restore {row.name}` restores it{keep}."
            )
        case HeldMismatch(found, wanted, why):
            kept = f"{found} is held and kept, though {by} {in_places(wanted)}. "
            if why is not None:
                return f"{kept}It is held because {why}. Change the requirement."
            return (
                f"{kept}Change the requirement, or install the build you want by hand and "
                f"`reconciler hold accept {row.name}`."
            )
        case _:
            return _free(row, cause)


def if_on_purpose(name: str, defect: str) -> str:
    """What else to do about a hold, if its only defect is that files are gone."""
    if defect == INTERRUPTED:
        return f"; if it works without, `reconciler hold accept {name}` keeps it as it is"
    if not defect.startswith(FILES_GONE):
        return ""
    return f"; if they were deleted on purpose, `reconciler hold accept {name}` keeps it as it is"


_OfSource = WrongSource | WrongKind | WrongRevision | SourceChanged | SourceGone | SourceUnrecorded


def _free(
    row: Row,
    cause: (
        Met | LeftOut | Missing | Broken | Mismatch | OutOfBounds | NoUsableSource
        | NeedsAnotherHeld | _OfSource
    ),
) -> str:  # fmt: skip
    match cause:
        case Met():
            return "as required"
        case LeftOut():
            return "left out by uv's exclude-dependencies"
        case Missing():
            return "not installed"
        case Broken(defect):
            return defect
        case Mismatch(found, wanted):
            return f"{found} is installed, {wanted} is required"
        case OutOfBounds(found, bound):
            return f"{found} is installed, but constraint-dependencies requires {bound}"
        case NoUsableSource(problem):
            return str(problem)
        case NeedsAnotherHeld(version, needs, held, held_version, why):
            asked, because = in_places(needs), f", because {why}" if why else ""
            return f"{row.name} {version} needs {asked}, but {held} {held_version} is held{because}"
        case _:
            return _of_source(cause)


def _of_source(cause: _OfSource) -> str:
    match cause:
        case WrongSource(version, place, declared):
            where = _origin(place) if place else "an index"
            return f"{version} is installed from {where}, {_origin(declared)} is required"
        case WrongKind(editable, wanted) if bool(editable) is bool(wanted):
            return "it is installed as required, but recorded as from another kind of source"
        case WrongKind(editable):
            return f"it is {'' if editable else 'not '}installed as an editable package"
        case WrongRevision(revision, asked):
            return f"revision {revision} is installed, {asked} is required"
        case SourceChanged(what):
            return f"its source has changed since it was installed: {what}"
        case SourceGone(place):
            return f"its source does not exist any more: {place}"
        case SourceUnrecorded(place):
            return f"it was not installed by uv, so nobody knows whether {place} has changed since"
        case _:
            assert_never(cause)


def _origin(place: Origin) -> str:
    return f"{place.url} (folder {place.folder})" if place.folder else place.url
