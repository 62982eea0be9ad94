"""Lets uv prepare the planned packages in a separate folder; nothing is live yet.

A package that does not build, or must not be installed, is left out together with everything
that depends on it. The rest continues.
"""

import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import NormalizedName

from reconciler.log.logger import get_logger
from reconciler.passes.prove import read_folders
from reconciler.passes.running import Pass
from reconciler.planning.counterfactual import Unheld, Withheld
from reconciler.planning.decision import Decision
from reconciler.planning.failures import build_failure
from reconciler.planning.planner import Planner
from reconciler.state.installed import Distribution
from reconciler.status import Failure, Reason
from reconciler.trees.tree import HoldConflict, Tree, follow_links
from reconciler.uv.program import BuildFailed, DiskFull, TimedOut, UvError

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Incoming:
    """The prepared packages, the remaining decision, and what the holds held back."""

    decision: Decision
    folder: Path
    held_back: tuple[Withheld, ...] = ()


def prepare(
    running: Pass, unheld: Unheld, decision: Decision, work: Path, pool: ThreadPoolExecutor
) -> Incoming:
    """Let uv prepare as much of the plan as possible.

    Args:
        running: The pass.
        unheld: Explains what the holds hold back; has the planner.
        decision: What is planned.
        work: The folder of this attempt.
        pool: Runs the explanation in the meantime.

    Returns:
        An empty decision if nothing can be installed.
    """
    planner = unheld.planner
    for attempt in range(len(decision.install) + 2):
        folder = work / f"incoming-{attempt}"
        explaining = pool.submit(unheld.held_back, decision)
        try:
            found = _unpack(running, planner, decision, folder)
        except BuildFailed as error:
            refused = [build_failure(error, decision.install, planner.snapshot.holds)]
        except HoldConflict as conflict:
            refused = [_failure_of(conflict)]
        else:
            held_back = explaining.result()
            allowed = running.environment.config.allow_downgrade
            refused = [] if allowed else unheld.objections(held_back, found)
            if not refused:
                return Incoming(planner.to_remove(decision, found), folder, held_back)
        explaining.result()
        decision = _decide_without(running, planner, refused, decision)
        if decision.is_empty:
            break
    return Incoming(decision, work / "nothing")


def tell_plan(running: Pass, planner: Planner, decision: Decision) -> None:
    """Report the plan to the listener and the log, and keep it for the journal."""
    changes = running.planned = decision.changes(planner.snapshot.installed)
    running.listener.planned(changes)
    log.info(
        "plan.ready",
        changes=[f"{c.name} {c.from_ or '-'} -> {c.to or '-'}" for c in changes],
        failed=[f.requirement for f in decision.failed],
    )


def _failure_of(conflict: HoldConflict) -> Failure:
    return Failure(
        name=conflict.package, requirement=conflict.package, reason=Reason.HOLD_CONFLICT,
        message=str(conflict),
    )  # fmt: skip


def _decide_without(
    running: Pass, planner: Planner, refused: list[Failure], decision: Decision
) -> Decision:
    for failure in refused:
        log.warning("requirement.failed", package=failure.name, reason=failure.reason)
        pushed = failure.reason in (Reason.WOULD_DOWNGRADE, Reason.HELD_BACK_TOO_FAR)
        planner.exclude(failure, None if pushed else decision)
    with running.step("plan"):
        decision = planner.decide()
    tell_plan(running, planner, decision)
    return decision


def _unpack(
    running: Pass, planner: Planner, decision: Decision, folder: Path
) -> Mapping[NormalizedName, Distribution]:
    """Let uv install into `folder`, and check whether any file would replace a held one."""
    snapshot = planner.snapshot
    prefix = snapshot.interpreter.prefix
    if not decision.install:
        return {}
    with running.step("install"):
        _download_and_unpack(running, planner, decision, folder)
    follow_links(folder, prefix)
    found = read_folders(snapshot, folder, running.environment.metadata).distributions
    live = Tree(prefix, prefix, snapshot.installed, snapshot.holds)
    conflict = live.conflict(folder, found.values())
    if conflict:
        raise conflict
    return found


def _download_and_unpack(running: Pass, planner: Planner, decision: Decision, folder: Path) -> None:
    uv = running.environment.uv
    ask = planner.project.to_install(list(decision.install.values()), decision.kept)
    if not decision.to_download:
        # The plan has just asked the index for everything: no need to ask again.
        try:
            uv.install(ask, folder, running.cancel, running.line, offline=True)
        except (DiskFull, TimedOut):
            raise
        except UvError:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            return
    uv.install(ask, folder, running.cancel, running.line)
