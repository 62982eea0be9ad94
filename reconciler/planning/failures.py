"""Turns uv's refusals into failures of single requirements: what cannot be installed, and why.

Pure: takes uv's output and the requested items, and returns values.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from packaging.utils import NormalizedName

from reconciler.log.redact import redact
from reconciler.patterns import regex
from reconciler.state.culprits import Core
from reconciler.state.desired import Desired
from reconciler.state.holds import Held, HoldSet
from reconciler.status import Failure, Reason
from reconciler.uv.effective import Item
from reconciler.uv.program import BuildFailed, Planned

_WORD = regex(r"[\w.-]+")


def mentions(text: str, name: str) -> bool:
    """Whether uv's output mentions the package of that name."""
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text) is not None


def suspects(reason: str, items: Sequence[Item]) -> frozenset[int]:
    """The indices of the items that uv's output mentions."""
    named = _named_in(reason)
    return frozenset(i for i, item in enumerate(items) if item.name in named)


def _named_in(text: str) -> frozenset[str]:
    """Every normalized name that `text` mentions; one reading for thousands of names."""
    return frozenset(word.partition(".")[0] for word in _WORD.findall(text))


def failure_of(
    item: Item,
    core: Core,
    items: Sequence[Item],
    excluded: Mapping[NormalizedName, Failure],
    holds: HoldSet | None = None,
) -> Failure:
    """Why this item is left out.

    Args:
        item: The item that is left out.
        core: The items that it conflicts with, and uv's reason.
        items: All requested items.
        excluded: Packages that were left out earlier; it may need them.
        holds: What is held.
    """
    named = _named_in(core.reason)
    causes = [failure for name, failure in excluded.items() if name in named]
    if causes:
        return Failure(
            name=item.name,
            requirement=redact(item.text),
            reason=Reason.DEPENDENCY_FAILED,
            message=f"it needs {causes[0].name}, which is left out: {causes[0].message}",
            origins=item.origins,
        )
    others = [items[i] for i in sorted(core.items) if items[i] != item]
    beside = ", ".join(f"{redact(o.text)} ({o.origin})" for o in others)
    message = core.reason + (f" It conflicts with {beside}." if beside else "")
    message += "".join(f" {sentence}" for sentence in why_held(core.reason, holds))
    return Failure(
        name=item.name,
        requirement=redact(item.text),
        reason=Reason.NO_SOLUTION,
        message=message,
        origins=item.origins,
    )


def why_held(reason: str, holds: HoldSet | None) -> Iterator[str]:
    """A sentence for each package that uv's output mentions and that no configuration names."""
    for held in holds.held.values() if holds else ():
        if held.why and mentions(reason, held.name):
            yield f"{held.name} {held.version} is held, because {held.why}."


def failures_of_sources(desired: Desired | None, holds: HoldSet) -> dict[NormalizedName, Failure]:
    """The declared requirements whose source cannot be used; a held one needs none."""
    return {
        one.name: Failure(
            name=one.name, requirement=redact(one.text), reason=Reason.BAD_SOURCE,
            message=str(one.unusable),
        )
        for one in (desired.requirements if desired else ())
        if one.unusable is not None and not holds.covers(one.name)
    }  # fmt: skip


def failures_of_unlisted(
    desired: Desired | None, planned: Iterable[NormalizedName], asked: Iterable[Item]
) -> Iterator[Failure]:
    """What a plan would install without a hash, though the project demands one of everything."""
    if desired is None or not desired.requires_hashes:
        return
    listed = {item.name for item in asked if item.hashes}
    for name in planned:
        if name not in listed:
            yield Failure(
                name=name, requirement=name, reason=Reason.BAD_SOURCE,
                message=f"{desired.file} has no `--hash` for it, though `--require-hashes` is set. "
                "Add it with its hashes (`uv pip compile --generate-hashes` does so).",
            )  # fmt: skip


def failures_of_excluded(
    excluded: Mapping[NormalizedName, Failure], declared: Sequence[Item]
) -> list[Failure]:
    """The failures of packages left out earlier, with their requirements as declared."""
    known = {item.name: item for item in declared}
    return [
        Failure(
            name=name,
            requirement=redact(known[name].text if name in known else failure.requirement),
            reason=failure.reason,
            message=failure.message,
            origins=_origins(name, declared),
        )
        for name, failure in excluded.items()
    ]


def _origins(name: NormalizedName, declared: Iterable[Item]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(o for item in declared if item.name == name for o in item.origins))


def build_failure(
    error: BuildFailed, planned: Mapping[NormalizedName, Planned], holds: HoldSet
) -> Failure:
    """The failure of a package that does not build; says what to do if a hold is the cause."""
    version = planned[error.name].version if error.name in planned else None
    wants = next((h for h in holds.held.values() if _misses(error.message, h)), None)
    hint = "" if wants is None else (
        f" It is built against {wants.name}, which is held and not available in the build's "
        f"own environment: add {error.name} to `no-build-isolation-package` in [tool.uv]."
    )  # fmt: skip
    return Failure(
        name=error.name,
        requirement=f"{error.name}=={version}" if version else error.name,
        reason=error.reason,
        message=error.message + hint,
    )


def _misses(message: str, hold: Held) -> bool:
    module = hold.name.replace("-", "_")
    return mentions(message, hold.pin) or f"No module named '{module}'" in message
