"""What the holds cost: which packages are older than they would be without them, and why.

Asks uv for the plan as if nothing were held, at the same time as for the plan itself; it
is compared, never applied.
"""

import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from reconciler.effective import Item, items_of, items_of_holds
from reconciler.environment import Look
from reconciler.planning import Decision, Planner, mentions
from reconciler.state.holds import HoldSet
from reconciler.state.installed import Distribution
from reconciler.status import Failure, HeldBack
from reconciler.uv import BuildFailed, NetworkTrouble, NoSolution, Plan, Planned, UvError

_MOST_EXPLAINED = 8
"""How many packages that are held back are explained by a run of uv of their own."""


@dataclass
class Unheld:
    """The plan as if nothing were held, begun before anybody knows whether it is needed.

    An index that must be asked whether its answers still hold takes as long again as for
    the plan itself, so the two run side by side.
    """

    planner: Planner
    executor: Executor
    _plans: dict[tuple[str, ...], "Future[Plan]"] = field(default_factory=dict)

    def begin(self) -> None:
        """Ask for everything that is declared; most often all of it can be had."""
        look = self.planner.look
        if look.holds.held and look.desired is not None:
            declared = items_of(look.desired.requirements, look.holds)
            self._ask([item for item in declared if item.name not in self.planner.excluded])

    def _ask(self, items: Sequence[Item]) -> "Future[Plan]":
        wanted = tuple(item.text for item in items)
        if wanted not in self._plans:
            self._plans[wanted] = self.executor.submit(self._plan, items)
        return self._plans[wanted]

    def _plan(self, items: Sequence[Item]) -> Plan:
        planner = self.planner
        shadow = shadow_of(planner.look, planner.project.folder)
        return planner.ask(items, free=True, aside=True, prefix=shadow)

    def held_back(self, decision: Decision) -> tuple[HeldBack, ...]:
        """What of the decision is older than without the holds, each with the hold's name.

        Raises:
            UvError: uv could not be asked.
        """
        holds = self.planner.look.holds
        if not holds.held:
            return ()
        try:
            free = self._ask([item for item in decision.kept if item.weight == 1]).result()
        except (NoSolution, BuildFailed):
            return ()  # without the holds there is no plan at all
        older: list[tuple[Planned, Version | None]] = []
        for name, planned in sorted(free.install.items()):
            chosen = self._chosen(name, decision)
            if planned.version and not holds.covers(name) and chosen and chosen < planned.version:
                older.append((planned, chosen))
        return tuple(
            self._explain(newest, chosen, explain=n < _MOST_EXPLAINED)
            for n, (newest, chosen) in enumerate(older)
        )

    def _chosen(self, name: NormalizedName, decision: Decision) -> Version | None:
        planned = decision.install.get(name)
        return planned.version if planned else self.planner.look.installed.version(name)

    def _explain(self, newest: Planned, chosen: Version | None, *, explain: bool) -> HeldBack:
        held = self.planner.look.holds.held.values()
        reason = self._reason_against(newest) if explain else ""
        holds = [h for h in held if mentions(reason, h.name)]
        holds = holds or [h for h in held if h.pinned_by is None]
        because = ", ".join(h.pin for h in holds)
        message = f"{newest.name} {newest.version} is out, but {because} is held."
        return HeldBack(
            name=newest.name,
            chosen=str(chosen) if chosen else None,
            newest=str(newest.version),
            because=because,
            message=f"{message} {reason}".strip(),
        )

    def _reason_against(self, newest: Planned) -> str:
        """Why the newest version does not go beside the holds, in uv's words."""
        look = self.planner.look
        item = Item(newest.name, f"{newest.name}=={newest.version}", "held back")
        items = [*items_of_holds(look.holds, look.markers), item]
        for offline in (True, False):  # the index has just been asked, so the cache may do
            try:
                self.planner.ask(items, aside=True, offline=offline)
            except NetworkTrouble:
                continue
            except UvError as refused:
                return refused.message
            return ""
        return ""


def shadow_of(look: Look, folder: Path) -> Path | None:
    """A prefix with nothing but the metadata of what is installed, or None for a whole Python.

    uv locks the environment that it looks at even for a dry run (uv-facts 17), so of two
    runs side by side one must look elsewhere.
    """
    prefix = look.interpreter.prefix
    if not look.interpreter.is_venv:
        return None
    shadow = Path(tempfile.mkdtemp(prefix="shadow-", dir=folder))
    for directory in look.interpreter.site_directories:
        (shadow / directory.relative_to(prefix)).mkdir(parents=True, exist_ok=True)
    for distribution in look.installed.all():
        info = distribution.info
        if not info.is_dir():
            continue
        mirrored = shadow / info.relative_to(prefix)
        mirrored.mkdir()  # uv does not look into a folder that is a symbolic link itself
        for name in os.listdir(info):  # noqa: PTH208 -- names only, for each package
            os.symlink(info / name, mirrored / name)  # noqa: PTH211
    return shadow


def objections(
    held_back: Iterable[HeldBack], look: Look, incoming: Mapping[NormalizedName, Distribution]
) -> list[Failure]:
    """Which of the planned versions a hold has pushed too far back to be wanted silently.

    Args:
        held_back: What the holds keep older.
        look: The environment as it is.
        incoming: The distributions that uv has prepared, not live yet.
    """
    found: list[Failure] = []
    for entry in held_back:
        name = canonicalize_name(entry.name)
        before = look.installed.version(name)
        coming = incoming.get(name)
        if coming is None:
            continue
        if before is not None and coming.version < before:
            reason, fate = "WouldDowngrade", f"{name} stays at {before}; only {coming.version} fits"
        elif _forgot_the_hold(entry, coming, look.holds):
            reason = "HeldBackTooFar"
            fate = f"only {name} {coming.version} fits, from before it declared what it needs"
        else:
            continue
        found.append(
            Failure(
                name=name,
                requirement=f"{name}=={entry.newest}",
                reason=reason,
                message=f"{fate} beside {entry.because}, which is held. Set allow_downgrade = true "
                f"to let it through, or change the hold. {entry.message}",
            )
        )
    return found


def _forgot_the_hold(entry: HeldBack, coming: Distribution, holds: HoldSet) -> bool:
    """Whether the newest version requires a hold, and the one that was chosen knows none."""
    requires = {canonicalize_name(r.name) for r in coming.requires}
    newest_requires = [
        name
        for name in holds.held
        if re.search(
            rf"\b{re.escape(entry.name)}(==\S+)? depends on {re.escape(name)}\b",
            entry.message or "",
        )
    ]
    return bool(newest_requires) and not requires & set(newest_requires)
