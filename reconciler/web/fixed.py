"""Says what a pass did in the words of the Fix Dependencies guide; pure."""

from collections.abc import Iterator

from reconciler.status import Change, Environment, Hold, Package, PackageStatus, PassDetail, Result
from reconciler.web.forms import FixResult

_HELD = frozenset({PackageStatus.HELD, PackageStatus.HELD_MISSING, PackageStatus.HELD_MISMATCH})


def summary(environment: Environment, outcome: PassDetail) -> FixResult:
    """The answer to Fix Dependencies.

    Args:
        environment: as it is after the pass.
        outcome: the pass.
    """
    held = {hold.name for hold in environment.holds}
    declared = [row for row in environment.packages if _counts(row, held)]
    failed = {failure.name: failure.requirement for failure in outcome.failed}
    failed |= {row.name: _requirement(row) for row in declared if not row.ok}
    met = [row for row in declared if row.name not in failed]
    if outcome.result is Result.FAILED:
        met = []
    complaints = _complaints(environment, outcome)
    return FixResult(
        success=outcome.result in {Result.CHANGED, Result.UNCHANGED} and not failed,
        message=_message(outcome, len(met), len(failed), _preserved(environment.holds)),
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
    """Whether it is one of "all 34 packages": declared, and not held."""
    return row.required_by is None and row.name not in held and row.status not in _HELD


def _requirement(row: Package) -> str:
    """As it would be declared; what others require has its name in it already."""
    required = row.required or ""
    if row.required_by is not None and required:
        return required
    return f"{row.name} @ {required}" if "://" in required else f"{row.name}{required}"


def _preserved(holds: tuple[Hold, ...]) -> str:
    """` (torch/torchvision preserved)`, of what is configured and indeed as it was."""
    names = [hold.name for hold in holds if hold.pinned_by is None and hold.intact]
    return f" ({'/'.join(names)} preserved)" if names else ""


def _message(outcome: PassDetail, met: int, failed: int, preserved: str) -> str:
    if outcome.result is Result.FAILED:
        why = (outcome.message or "the pass failed").rstrip(".")
        return f"Nothing was changed: {why}{preserved}"
    if failed or outcome.result is Result.PARTIAL:
        return f"Installed {_packages(met)}, {failed} failed{preserved}"
    if outcome.result is Result.UNCHANGED:
        return f"Nothing to do: all {_packages(met)} are installed{preserved}"
    return f"Successfully installed/upgraded all {_packages(met)}{preserved}"


def _packages(count: int) -> str:
    return "1 package" if count == 1 else f"{count} packages"


def _sections(declared: list[Package], outcome: PassDetail) -> Iterator[str]:
    changes = {change.name: change for change in outcome.changes}
    for row in declared:
        requirement, change = _requirement(row), changes.pop(row.name, None)
        yield f"=== Installing {requirement} ==="
        if change is not None:
            yield _done(change)
        elif row.ok:
            yield f"Requirement already satisfied: {requirement} ({row.installed})"
        else:
            yield f"ERROR: {requirement} is not installed"
    for change in changes.values():
        title = f"Installing {change.name}=={change.to}" if change.to else f"Removing {change.name}"
        yield f"=== {title} ==="
        yield _done(change)


def _done(change: Change) -> str:
    if change.to is None:
        return f"Successfully uninstalled {change.name}-{change.from_}"
    return f"Successfully installed {change.name}-{change.to}"


def _complaints(environment: Environment, outcome: PassDetail) -> Iterator[str]:
    if outcome.result is Result.FAILED and outcome.message:
        yield f"ERROR: {outcome.message}"
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
            yield f"WARNING: {hold.name} is held, and broken: {hold.message or 'see /status'}"
    for back in environment.held_back:
        yield f"WARNING: {back.name} is held back at {back.chosen} ({back.newest}): {back.because}"
