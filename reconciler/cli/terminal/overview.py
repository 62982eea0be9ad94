"""Shows the status: one line for each environment, and a single one in full."""

from datetime import UTC, datetime

from reconciler.cli.commands.check import show_packages
from reconciler.cli.terminal.changes import show_failures, show_held_back
from reconciler.cli.terminal.hold_table import show_broken_holds
from reconciler.cli.terminal.output import BAD, DOUBT, GOOD, QUIET, Output
from reconciler.status import EnvironmentStatus, Phase, Status, Suspension

PHASES = {
    Phase.IN_SYNC: GOOD,
    Phase.RECONCILING: "cyan",
    Phase.DRIFTED: DOUBT,
    Phase.DEGRADED: DOUBT,
    Phase.PAUSED: DOUBT,
    Phase.FAILED: BAD,
}


def show_status(status: Status, name: str | None, output: Output, now: datetime) -> None:
    """Show everything, or one environment.

    Args:
        status: the service's status.
        name: the environment to show; None: all, in full if there is only one.
        output: where to print it.
        now: the time.
    """
    environments = [e for e in status.environments if name in (None, e.name)]
    output.table(
        ("Environment", "Phase", "Satisfied", "Held", "Generation", "Last pass", "Next check"),
        [_row(environment, now) for environment in environments],
        [PHASES.get(environment.phase, "") for environment in environments],
        ("Held", "Generation", "Next check"),
    )
    if status.service.config_problem is not None:
        output.say(f"The configuration has changed and is bad; the old one stays in effect: "
                   f"{status.service.config_problem.with_line()}", BAD)  # fmt: skip
    if status.service.journal_problem is not None:
        output.say(status.service.journal_problem.with_line(), DOUBT)
    for environment in environments:
        _show_environment(environment, output, alone=len(environments) == 1)


def _row(environment: EnvironmentStatus, now: datetime) -> tuple[str | None, ...]:
    declared = [p for p in environment.packages if p.required_by is None]
    met = sum(p.ok for p in declared)
    last = environment.last_pass
    shown = f"{last.result}, {ago(last.started_at, now)}" if last else None
    following = environment.next_check_at
    return (
        environment.name,
        environment.phase,
        f"{met}/{len(declared)}",
        str(len(environment.holds)),
        str(environment.generation),
        shown,
        ago(following, now) if following else None,
    )


def _show_environment(environment: EnvironmentStatus, output: Output, *, alone: bool) -> None:
    ready = next((c for c in environment.conditions if c.type == "Ready"), None)
    if ready is not None and ready.status != "True":
        output.say(f"{environment.name}: {ready.message}", PHASES.get(environment.phase))
    if environment.problem is not None:
        output.say(environment.problem.with_line(), BAD)
    if environment.suspension is not None:
        _show_suspension(environment.suspension, output, paused=environment.phase == Phase.PAUSED)
    if not alone:
        return
    wrong = [p for p in environment.packages if not p.ok]
    shown = environment.packages if output.options.verbose else wrong
    if shown:
        show_packages(shown, environment.holds, output)
    show_broken_holds(environment.holds, output)
    show_held_back(environment.held_back, output)
    if environment.last_pass is not None and not wrong:
        show_failures(environment.last_pass.failed, output)
    for warning in environment.warnings:
        output.say(warning, DOUBT)
    _show_gpu(environment, output)
    if not environment.atomic:
        output.say(f"Changes are not atomic: {environment.atomic_reason}.", DOUBT)


def _show_suspension(suspension: Suspension, output: Output, *, paused: bool) -> None:
    """Say why and until when; the phase already says why, unless it shows a pass that looks."""
    until = f" until {suspension.until}" if suspension.until else ""
    if not paused:
        output.say(f"Left alone{until}: {suspension.reason}.", QUIET)
    elif until:
        output.say(f"Left alone{until}.", QUIET)


def _show_gpu(environment: EnvironmentStatus, output: Output) -> None:
    gpu = environment.gpu
    if gpu is None:
        return
    if gpu.available:
        output.say(f"GPU: {gpu.name} ({gpu.backend}), torch {gpu.torch}.", QUIET)
    elif gpu.torch is not None:
        output.say(f"GPU: torch {gpu.torch} sees none. {gpu.error or ''}".rstrip(), DOUBT)


def ago(moment: str, now: datetime) -> str:
    """`3 min ago`, `in 10 min`.

    Args:
        moment: ISO 8601.
        now: the time.
    """
    seconds = (now - datetime.fromisoformat(moment)).total_seconds()
    size = abs(seconds)
    unit, length = next(
        ((u, n) for u, n in (("d", 86400), ("h", 3600), ("min", 60)) if size >= n), ("s", 1)
    )
    text = f"{size / length:.0f} {unit}"
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def utc_now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)
