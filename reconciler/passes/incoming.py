"""Lets uv prepare the planned packages in a separate folder; nothing is live yet.

A package that does not build, or must not be installed, is left out together with everything
that depends on it. The rest continues.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import msgspec
from packaging.utils import NormalizedName

from reconciler.log.logger import get_logger
from reconciler.passes.prove import read_folders
from reconciler.passes.running import Pass
from reconciler.planning.counterfactual import Unheld, Withheld
from reconciler.planning.decision import Decision
from reconciler.planning.failures import build_failure
from reconciler.planning.objections import Objections
from reconciler.planning.planner import Planner
from reconciler.state.installed import Distribution, Installed, defect_of
from reconciler.status import Failure, Reason
from reconciler.trees.arrivals import Arrivals, CannotMoveIn, Refused
from reconciler.trees.intrusion import shadowing
from reconciler.trees.relocatable import rewrite_scripts
from reconciler.trees.tree import HoldConflict, Tree, follow_links
from reconciler.uv.program import BuildFailed, DiskFull, Planned, TimedOut, Unusable, UvError

log = get_logger(__name__)

_SHOWN = 5


class Incoming(msgspec.Struct, frozen=True):
    """The prepared packages, the remaining decision, and what the holds held back."""

    decision: Decision
    folder: Path
    held_back: tuple[Withheld, ...] = ()


def prepare(
    running: Pass,
    unheld: Unheld,
    decision: Decision,
    work: Path,
    pool: ThreadPoolExecutor,
    *,
    fetch: bool = True,
) -> Incoming:
    """Let uv prepare as much of the plan as possible, and leave out what must not be installed.

    Args:
        running: The pass.
        unheld: Explains what the holds hold back; has the planner.
        decision: What is planned.
        work: The folder of this attempt.
        pool: Runs the explanation in the meantime.
        fetch: Whether to prepare everything. If not, this only finds out what would be left out;
            whether a package builds, or has a file of a hold, remains unknown.

    Returns:
        An empty decision if nothing can be installed.
    """
    planner = unheld.planner
    objections = Objections(unheld, partial(_read_aside, running, planner, decision, work))
    allowed = running.environment.config.allow_downgrade
    for attempt in range(len(decision.install) + 2):
        folder = work / f"incoming-{attempt}"
        explaining = pool.submit(unheld.held_back, decision)
        try:
            found = _unpack(running, planner, decision, folder) if fetch else {}
            held_back = explaining.result()
            refused = [] if allowed else objections.to(held_back, decision, found)
        except BuildFailed as error:
            refused = [build_failure(error, decision.install, planner.snapshot.holds)]
        except HoldConflict as conflict:
            refused = [_failure_of(conflict)]
        except CannotMoveIn as error:
            refused = [_failure_to_move_in(one) for one in error.refused]
        else:
            if not refused:
                settled = planner.to_remove(decision, found) if fetch else decision
                return Incoming(settled, folder, held_back)
        explaining.result()
        decision = decide_without(running, planner, refused, decision)
        if decision.is_empty:
            break
    return Incoming(decision, work / "nothing")


def _read_aside(
    running: Pass, planner: Planner, decision: Decision, work: Path, planned: Sequence[Planned]
) -> Mapping[NormalizedName, Distribution]:
    """What packages declare, unpacked only to read that."""
    folder = _unpack_aside(running, planner, decision, work, planned)
    return read_folders(planner.snapshot, folder, running.environment.metadata).distributions


def _unpack_aside(
    running: Pass, planner: Planner, decision: Decision, work: Path, planned: Sequence[Planned]
) -> Path:
    """Let uv unpack packages into a folder of their own, only to look at them."""
    folder = Path(tempfile.mkdtemp(prefix="metadata-", dir=work))
    ask = planner.project.to_install(planned, decision.kept)
    running.environment.uv.install(ask, folder, running.cancel, lambda _: None)
    follow_links(folder, planner.snapshot.interpreter.prefix)
    return folder


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


def _failure_to_move_in(refused: Refused) -> Failure:
    return Failure(
        name=refused.package, requirement=refused.package, reason=refused.reason,
        message=refused.message,
    )  # fmt: skip


def decide_without(
    running: Pass, planner: Planner, refused: list[Failure], decision: Decision
) -> Decision:
    """Decide again, and leave out what must not be installed."""
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
        found = _unpack_whole(running, planner, decision, folder)
    live = Tree(prefix, prefix, snapshot.installed, snapshot.holds)
    conflict = live.conflict(folder, found.values()) or shadowing(
        live, folder, found.values(), snapshot.interpreter.layout
    )
    if conflict:
        conflict.package = _bringing(running, planner, decision, folder, conflict)
        raise conflict
    going = frozenset({*decision.install, *decision.remove})
    Arrivals(folder, tuple(found.values()), live, going).check()
    return found


def _bringing(
    running: Pass, planner: Planner, decision: Decision, folder: Path, conflict: HoldConflict
) -> NormalizedName:
    """The package that brings the file, though perhaps its RECORD does not list it."""
    if conflict.package in decision.install:
        return conflict.package
    for name, planned in decision.install.items():
        alone = _unpack_aside(running, planner, decision, folder.parent, [planned])
        if os.path.lexists(alone / conflict.path):
            return name
    return conflict.package


def _unpack_whole(
    running: Pass, planner: Planner, decision: Decision, folder: Path
) -> Mapping[NormalizedName, Distribution]:
    """Let uv install into `folder`; if its cache has the damage that is repaired, without it.

    The cache shares its files with the environment: what was written into one is in the other.
    """
    repaired = {repair.distribution.name for repair in planner.repairs or ()}
    try:
        _download_and_unpack(running, planner, decision, folder)
        found = _finished(running, planner, decision, folder)
        if not any(defect_of(d, found) for n, d in found.distributions.items() if n in repaired):
            return found.distributions
    except Unusable as error:
        if error.name not in repaired:
            raise
    log.info("cache.damaged", packages=sorted(repaired & set(decision.install)))
    shutil.rmtree(folder, ignore_errors=True)
    ask = planner.project.to_install(list(decision.install.values()), decision.kept)
    running.environment.uv.install(ask, folder, running.cancel, running.line, fresh=True)
    return _finished(running, planner, decision, folder).distributions


def _finished(running: Pass, planner: Planner, decision: Decision, folder: Path) -> Installed:
    """What uv has installed into `folder`, made ready for its final place.

    Raises:
        UvError: It said that all is well, and has not installed everything.
    """
    interpreter = planner.snapshot.interpreter
    folder.mkdir(exist_ok=True)  # otherwise uv has not even begun
    follow_links(folder, interpreter.prefix)
    rewrite_scripts(folder, interpreter.scripts, interpreter.prefix, interpreter.site_directories)
    found = read_folders(planner.snapshot, folder, running.environment.metadata)
    missing = sorted(decision.install.keys() - found.distributions.keys())
    if missing:
        raise _installed_nothing_of(missing, running)
    return found


def _installed_nothing_of(missing: Sequence[NormalizedName], running: Pass) -> UvError:
    named = ", ".join(missing[:_SHOWN])
    named += f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    return UvError(
        f"uv ended without an error, but installed nothing of {named}. Check whether "
        f"{running.environment.uv.executable} really is uv (`uv` in [service])."
    )


def _download_and_unpack(running: Pass, planner: Planner, decision: Decision, folder: Path) -> None:
    try:
        _install(running, planner, decision, folder)
    except UvError as refused:
        resolver = planner.resolver
        forgone = resolver.project.without_sources
        if forgone or not resolver.blames_a_source(refused, decision.kept):
            raise
        resolver.forgo_sources()
        shutil.rmtree(folder, ignore_errors=True)
        _install(running, planner, decision, folder)


def _install(running: Pass, planner: Planner, decision: Decision, folder: Path) -> None:
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
