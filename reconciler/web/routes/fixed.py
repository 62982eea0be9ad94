"""Describes what a pass did in the format of the Fix Dependencies guide; pure."""

from collections.abc import Iterator

from reconciler.config import Mode
from reconciler.status import (
    Change,
    EnvironmentStatus,
    Hold,
    Package,
    PackageStatus,
    PassDetail,
    Reason,
    Result,
)
from reconciler.web.api.schemas import FixResult

_HELD = frozenset({PackageStatus.HELD, PackageStatus.HELD_MISSING, PackageStatus.HELD_MISMATCH})


def summary(environment: EnvironmentStatus, outcome: PassDetail) -> FixResult:
    """The response to Fix Dependencies.

    Args:
        environment: as it is after the pass.
        outcome: the pass.
    """
    held = {hold.name for hold in environment.holds}
    declared = [row for row in environment.packages if _counts(row, held)]
    failed = {failure.name: failure.requirement for failure in outcome.failed}
    failed |= {row.name: _requirement(row) for row in environment.packages if _unmet(row, held)}
    met = [row for row in declared if row.name not in failed]
    if outcome.result is Result.FAILED:
        met = []
    idle = _why_nothing_was_tried(environment, outcome, len(failed))
    complaints = _complaints(environment, outcome)
    return FixResult(
        success=(
            outcome.result in {Result.CHANGED, Result.UNCHANGED}
            and not failed
            and environment.problem is None
            and not _nothing_declared(environment)
        ),
        message=_message(outcome, len(met), len(failed), idle) + _preserved(environment.holds),
        packages_installed=len(met),
        packages_failed=len(failed),
        failed_packages=tuple(failed.values()),
        stdout="".join(f"{line}\n" for line in _sections(declared, outcome)),
        stderr="".join(f"{line}\n" for line in complaints),
        environment=environment.name,
        pass_=outcome.id,
        held=tuple(f"{hold.name}=={hold.version}" for hold in environment.holds),
    )


def _counts(row: Package, held: set[str]) -> bool:
    """Whether it counts among "all 34 packages": declared, and not held."""
    return row.required_by is None and row.name not in held and row.status not in _HELD


def _unmet(row: Package, held: set[str]) -> bool:
    """Whether something is left to do for it; never for a held one."""
    return not row.ok and row.name not in held and row.status not in _HELD


def _why_nothing_was_tried(environment: EnvironmentStatus, outcome: PassDetail, unmet: int) -> str:
    """Why a pass changed nothing although there may be something to do; else empty."""
    if outcome.result is not Result.UNCHANGED:
        return ""
    problem = environment.problem
    if problem is not None:
        return f"{problem.place}: {problem.reason}"
    if nothing := _nothing_declared(environment):
        return nothing
    if not unmet or outcome.failed:
        return ""
    if environment.suspension is not None:
        why = environment.suspension.reason
        return f"{environment.name} is left alone ({why}); resume it first"
    if environment.mode == Mode.OBSERVE:
        return f'{environment.name} is only observed; send {{"apply": true}} to change it once'
    return f"{_count(unmet, 'package')} not as declared"


def _nothing_declared(environment: EnvironmentStatus) -> str:
    """Where the requirements are if the project's file has none of them; else empty."""
    ready = (c for c in environment.conditions if c.reason == Reason.NOTHING_DECLARED)
    return next((condition.message for condition in ready), "")


def _requirement(row: Package) -> str:
    """The requirement as it would be declared; a dependency's already has the name in it."""
    required = row.required or ""
    if row.required_by is not None and required:
        return required
    return f"{row.name} @ {required}" if "://" in required else f"{row.name}{required}"


def _preserved(holds: tuple[Hold, ...]) -> str:
    """` (torch/torchvision preserved)`: the configured holds that are intact."""
    names = [hold.name for hold in holds if hold.pinned_by is None and hold.intact]
    return f" ({'/'.join(names)} preserved)" if names else ""


def _message(outcome: PassDetail, met: int, failed: int, idle: str) -> str:
    packages = _count(met, "package")
    if outcome.result is Result.FAILED or idle:
        why = idle or outcome.message or "the pass failed"
        return f"Nothing was changed: {why.rstrip('.')}"
    if failed or outcome.result is Result.PARTIAL:
        return f"Installed {packages}, {failed} failed"
    if outcome.result is Result.UNCHANGED:
        return f"Nothing to do: all {packages} are installed"
    return f"Successfully installed/upgraded all {packages}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _sections(declared: list[Package], outcome: PassDetail) -> Iterator[str]:
    changes = {change.name: change for change in outcome.changes}
    for row in declared:
        requirement, change = _requirement(row), changes.pop(row.name, None)
        yield f"=== Installing {requirement} ==="
        if change is not None:
            yield _done(change)
        elif row.ok:
            yield f"Requirement already satisfied: {requirement} ({row.installed})"
        elif row.installed is None:
            yield f"ERROR: {requirement} is not installed"
        else:
            yield f"ERROR: {requirement} is not satisfied; {row.installed} is installed"
    for change in changes.values():
        title = f"Installing {change.name}=={change.to}" if change.to else f"Removing {change.name}"
        yield f"=== {title} ==="
        yield _done(change)


def _done(change: Change) -> str:
    if change.to is None:
        return f"Successfully uninstalled {change.name}-{change.from_}"
    return f"Successfully installed {change.name}-{change.to}"


def _complaints(environment: EnvironmentStatus, outcome: PassDetail) -> Iterator[str]:
    if outcome.result is Result.FAILED and outcome.message:
        yield f"ERROR: {outcome.message}"
    bad = environment.problem
    said = outcome.message or "" if outcome.result is Result.FAILED else ""
    if bad is not None and bad.reason not in said:
        yield f"ERROR: {bad}"
    for failure in outcome.failed:
        yield f"ERROR: {failure.requirement}: {failure.reason}: {failure.message}"
    named = {failure.name for failure in outcome.failed}
    for row in environment.packages:
        if not row.ok and row.name not in named:
            yield f"ERROR: {_requirement(row)}: {row.status}" + (
                f": {row.message}" if row.message else ""
            )
    for hold in environment.holds:
        if not hold.intact:
            yield f"WARNING: {hold.name} is held and broken: {hold.message or 'see /status'}"
    for back in environment.held_back:
        yield f"WARNING: {back.name} is held back at {back.chosen} ({back.newest}): {back.because}"
