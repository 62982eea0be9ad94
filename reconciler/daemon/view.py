"""From what a worker knows to what the status shows of its environment. Pure."""

from typing import Literal

import msgspec

from reconciler.config import Mode
from reconciler.daemon.known import Known
from reconciler.environment.snapshot import Snapshot
from reconciler.holds.conflicts import warnings_of
from reconciler.journal.history import iso
from reconciler.log.redact import in_places
from reconciler.proof.explained import words_of_newcomer
from reconciler.state.rows import Row
from reconciler.state.words import message_of
from reconciler.status import (
    Condition,
    ConditionType,
    EnvironmentStatus,
    Failure,
    Hold,
    InterpreterStatus,
    Package,
    PackageStatus,
    Phase,
    Problem,
    Reason,
)

Truth = Literal["True", "False", "Unknown"]


def environment_status(
    known: Known, previous: EnvironmentStatus | None, now: float
) -> EnvironmentStatus:
    """What `/status` says of the environment.

    Args:
        known: What the worker knows.
        previous: What was said last, for the times at which conditions changed.
        now: The time, in seconds since the epoch.
    """
    snapshot, state, config = known.snapshot, known.state, known.config
    problem = _problem(known)
    packages = _packages(known)
    phase, reason, message = _phase(known, packages, problem)
    conditions = _conditions(known, phase, reason, message)
    return EnvironmentStatus(
        name=config.name,
        pyproject=str(config.pyproject),
        python=InterpreterStatus(
            executable=str(config.python),
            version=snapshot.interpreter.version if snapshot else None,
            platform=snapshot.interpreter.platform if snapshot else None,
        ),
        phase=phase,
        atomic=known.atomic,
        atomic_reason=known.atomic_reason,
        suspended=state.suspension is not None,
        suspension=state.suspension,
        mode=config.mode.value,
        revision=snapshot.revision if snapshot else None,
        last_attempted_revision=state.last_attempted_revision,
        last_applied_revision=state.last_applied_revision,
        generation=next((g.number for g in known.generations if g.live), 0),
        generations=known.generations,
        next_check_at=iso(known.next_check_at) if known.next_check_at else None,
        conditions=_with_times(conditions, previous, now),
        packages=packages,
        holds=known.holds,
        held_back=state.held_back,
        planned=known.planned,
        warnings=(
            *((known.polled,) if known.polled else ()),
            *(warnings_of(snapshot, known.holds) if snapshot else ()),
            *(
                words_of_newcomer(one.package, one.module, one.error)
                for one in known.unimportable
                if snapshot and snapshot.installed.get(one.package)
            ),
        ),
        gpu=known.gpu,
        last_pass=known.last_pass,
        current_pass=known.current,
        problem=problem,
    )


def _problem(known: Known) -> Problem | None:
    if known.snapshot is not None and known.snapshot.problem is not None:
        return known.snapshot.problem
    return known.trouble.problem if known.trouble else None


def _packages(known: Known) -> tuple[Package, ...]:
    if known.snapshot is None:
        return ()
    failures = {f.name: f for f in known.failed}
    broken = {h.name: h for h in known.holds if not h.intact}
    return tuple(
        _broken_hold(_package(row, failures.get(row.name)), broken.get(row.name))
        for row in known.snapshot.drift.rows
    )


def _broken_hold(package: Package, hold: Hold | None) -> Package:
    """The version may be right, and the files not; one that is missed was here before."""
    if hold is not None and package.status is PackageStatus.HELD_MISSING:
        return msgspec.structs.replace(package, message=hold.message)
    if hold is None or package.status is not PackageStatus.HELD:
        return package
    return msgspec.structs.replace(
        package, status=PackageStatus.BROKEN, ok=False, message=hold.message
    )


def _package(row: Row, failure: Failure | None) -> Package:
    failed = failure is not None and row.fixable
    message = f"{failure.reason}: {failure.message}" if failed and failure else message_of(row)
    # The project may declare an address with a password in it, and everyone may see the status.
    return Package(
        name=row.name,
        required=in_places(row.required),
        installed=row.installed,
        status=PackageStatus.FAILED if failed else row.status,
        ok=row.ok,
        message=in_places(message),
        required_by=row.dependent,
        origins=row.origins,
    )


def _phase(
    known: Known, packages: tuple[Package, ...], problem: Problem | None
) -> tuple[Phase, Reason, str]:
    """The phase, the reason in one word, and a sentence."""
    if known.current is not None:
        step = known.step or "look"
        return Phase.RECONCILING, Reason.RECONCILING, f"a pass is running: {step}"
    if known.state.suspension is not None:
        return Phase.PAUSED, Reason.PAUSED, known.state.suspension.reason
    if known.waits_beside is not None:
        return Phase.RECONCILING, Reason.WAITS_FOR_TURN, _waiting(known.waits_beside)
    if known.snapshot is None:
        if known.trouble is None:
            return Phase.RECONCILING, Reason.STARTING, "not looked at yet"
        return Phase.FAILED, known.trouble.reason, known.trouble.message
    drift = known.snapshot.drift
    wrong = [p for p in packages if not p.ok]
    words = _count(packages, known)
    if known.trouble is not None:
        waiting = known.trouble.retry_after is not None
        phase = Phase.DRIFTED if waiting else Phase.FAILED
        return phase, known.trouble.reason, known.trouble.message
    broken = [h for h in known.holds if not h.intact]
    if broken:
        named = ", ".join(h.name for h in broken)
        return (
            Phase.DEGRADED,
            Reason.HOLD_BROKEN,
            f"held packages are not as they were: {named}; {words}",
        )
    if not drift.in_sync and not known.failed:
        reason = Reason.OBSERVING if known.config.mode is Mode.OBSERVE else Reason.DRIFTED
        return Phase.DRIFTED, reason, f"{_names(wrong)} not as declared; {words}"
    if known.failed:
        failed = [p for p in wrong if p.status is PackageStatus.FAILED] or wrong
        return (
            Phase.DEGRADED,
            Reason.PACKAGES_FAILED,
            f"{_names(failed)} could not be satisfied; {words}",
        )
    if problem is not None:
        return Phase.DEGRADED, Reason.BAD_FILE, f"{problem.reason}; the last good state is in force"
    return _phase_at_rest(known.snapshot, wrong, words)


def _waiting(beside: int) -> str:
    passes = "1 pass runs" if beside == 1 else f"{beside} passes run"
    return f"the next pass waits for its turn: at most {passes} at once (`max_passes` in [service])"


def _phase_at_rest(
    snapshot: Snapshot, wrong: list[Package], words: str
) -> tuple[Phase, Reason, str]:
    """The phase if there is nothing left that a pass could do."""
    if wrong:
        return (
            Phase.DEGRADED,
            Reason.HOLD_MISMATCH,
            f"{_names(wrong)} held, not as declared; {words}",
        )
    elsewhere = snapshot.elsewhere
    if elsewhere is not None:
        return Phase.DEGRADED, Reason.NOTHING_DECLARED, f"{elsewhere.reason}. {elsewhere.fix}"
    return Phase.IN_SYNC, Reason.IN_SYNC, words


def _names(packages: list[Package]) -> str:
    names = [p.name for p in packages[:5]]
    more = f" and {len(packages) - 5} more" if len(packages) > 5 else ""
    return ", ".join(names) + more


def _count(packages: tuple[Package, ...], known: Known) -> str:
    declared = [p for p in packages if p.required_by is None]
    met = sum(p.ok for p in declared)
    return f"{met} of {len(declared)} requirements satisfied, {len(known.holds)} held"


def _conditions(
    known: Known, phase: Phase, reason: Reason, message: str
) -> dict[ConditionType, tuple[Truth, Reason, str]]:
    ready: Truth = "True" if phase is Phase.IN_SYNC else "False"
    if known.snapshot is None and known.trouble is None:
        ready = "Unknown"
    running = known.current is not None
    waiting = not running and phase is Phase.RECONCILING and reason is Reason.WAITS_FOR_TURN
    stalled = phase in (Phase.FAILED, Phase.PAUSED) or (
        known.snapshot is not None and known.snapshot.problem is not None
    )
    stalled_reason, why = reason, message
    if known.snapshot is not None and known.snapshot.problem is not None:
        stalled_reason = Reason.BAD_FILE
        why = f"{known.snapshot.problem.reason}; the last good state is in force"
    broken = [h for h in known.holds if not h.intact]
    holds = "; ".join(h.message or h.name for h in broken) or f"{len(known.holds)} held, all intact"
    if known.snapshot is None:
        holds = "not looked at yet"
    return {
        ConditionType.READY: (ready, reason, message),
        ConditionType.RECONCILING: (
            "True" if running or waiting else "False",
            Reason.PASS_RUNNING if running else reason if waiting else Reason.IDLE,
            known.step if running else message if waiting else "no pass is running",
        ),
        ConditionType.STALLED: (
            "True" if stalled else "False",
            stalled_reason if stalled else Reason.PROGRESSING,
            why if stalled else "nothing is in the way",
        ),
        ConditionType.HOLDS_INTACT: (
            "Unknown" if known.snapshot is None else "False" if broken else "True",
            Reason.NOT_LOOKED
            if known.snapshot is None
            else Reason.HOLD_BROKEN
            if broken
            else Reason.INTACT,
            holds,
        ),
    }


def _with_times(
    conditions: dict[ConditionType, tuple[Truth, Reason, str]],
    previous: EnvironmentStatus | None,
    now: float,
) -> tuple[Condition, ...]:
    before = {c.type: c for c in previous.conditions} if previous else {}
    found = []
    for kind, (truth, reason, message) in conditions.items():
        last = before.get(kind)
        same = last is not None and last.status == truth
        found.append(
            Condition(
                type=kind,
                status=truth,
                reason=reason,
                message=message,
                last_transition_time=last.last_transition_time if same and last else iso(now),
            )
        )
    return tuple(found)
