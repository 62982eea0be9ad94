"""What cannot be installed, and why: uv's refusals as failures of single requirements.

Pure: takes uv's words and what was asked, and returns values.
"""

import re
from collections.abc import Mapping, Sequence

from packaging.utils import NormalizedName

from reconciler.log.redact import redact
from reconciler.state.culprits import Core
from reconciler.state.holds import Held, HoldSet
from reconciler.status import Failure, Reason
from reconciler.uv.effective import Item
from reconciler.uv.program import BuildFailed, Planned


def mentions(text: str, name: str) -> bool:
    """Whether uv's words are about the package of that name."""
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text) is not None


def suspects(reason: str, items: Sequence[Item]) -> frozenset[int]:
    """The indices of the items that uv's words are about."""
    return frozenset(i for i, item in enumerate(items) if mentions(reason, item.name))


def failure_of(
    item: Item, core: Core, items: Sequence[Item], excluded: Mapping[NormalizedName, Failure]
) -> Failure:
    """Why this item is left out.

    Args:
        item: What is left out.
        core: What it does not go together with, and uv's reason.
        items: Everything that was asked for.
        excluded: Packages that were left out before, which it may need.
    """
    causes = [failure for name, failure in excluded.items() if mentions(core.reason, name)]
    if causes:
        return Failure(
            name=item.name,
            requirement=redact(item.text),
            reason=Reason.DEPENDENCY_FAILED,
            message=f"it needs {causes[0].name}, which is left out: {causes[0].message}",
        )
    others = [items[i] for i in sorted(core.items) if items[i] != item]
    beside = ", ".join(f"{redact(o.text)} ({o.origin})" for o in others)
    message = core.reason + (f" It does not go together with {beside}." if beside else "")
    return Failure(
        name=item.name,
        requirement=redact(item.text),
        reason=Reason.NO_SOLUTION,
        message=message,
    )


def failures_of_excluded(
    excluded: Mapping[NormalizedName, Failure], declared: Sequence[Item]
) -> list[Failure]:
    """The failures of what was left out before, with the requirements as they are declared."""
    texts = {item.name: item.text for item in declared}
    return [
        Failure(
            name=name,
            requirement=redact(texts.get(name, failure.requirement)),
            reason=failure.reason,
            message=failure.message,
        )
        for name, failure in excluded.items()
    ]


def build_failure(
    error: BuildFailed, planned: Mapping[NormalizedName, Planned], holds: HoldSet
) -> Failure:
    """A package that does not build, with what to do if that is on account of a hold."""
    version = planned[error.name].version if error.name in planned else None
    wants = next((h for h in holds.held.values() if _misses(error.message, h)), None)
    hint = "" if wants is None else (
        f" It is built against {wants.name}, which is held and is not in the build's own "
        f"environment: put {error.name} into `no-build-isolation-package` of [tool.uv]."
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
