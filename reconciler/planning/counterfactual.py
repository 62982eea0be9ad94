"""What the holds cost: which packages are older than they would be without them, and why.

Asks uv for the plan without holds while the real plan is being installed. That plan is only
compared, never applied.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from reconciler.environment.snapshot import Snapshot
from reconciler.planning.decision import Decision
from reconciler.planning.failures import mentions, why_held
from reconciler.planning.planner import Planner
from reconciler.state.declared import Declared
from reconciler.state.holds import requires_of
from reconciler.status import HeldBack
from reconciler.uv.effective import Item, items_of_holds
from reconciler.uv.program import BuildFailed, NetworkTrouble, NoSolution, Plan, UvError

_MOST_EXPLAINED = 8
"""How many held-back packages get a uv run of their own for the explanation."""


_FROM_ABOVE = frozenset({"<", "<=", "==", "===", "~=", "!="})
"""Operators that can keep a package older than the newest."""


class Withheld(msgspec.Struct, frozen=True):
    """A package that the holds keep older than it would be without them."""

    name: NormalizedName
    chosen: Version
    newest: Version
    because: tuple[str, ...]
    """The pins of the holds that keep it."""
    message: str

    def served(self) -> HeldBack:
        """The same, as the status shows it and the journal keeps it."""
        return HeldBack(
            name=self.name, chosen=str(self.chosen), newest=str(self.newest),
            because=listed(self.because), message=self.message,
        )  # fmt: skip


def listed(pins: tuple[str, ...]) -> str:
    """Pins in one line."""
    return ", ".join(pins)


@dataclass
class Unheld:
    """The plan without holds.

    Requested after the real plan, never at the same time: two concurrent runs make an index
    stall. By then, uv's cache mostly has everything.
    """

    planner: Planner
    _plans: dict[tuple[str, ...], Plan] = field(default_factory=dict)

    def _free_plan(self, decision: Decision) -> Plan:
        """The plan without the holds.

        Raises:
            UvError: uv failed, or there is no such plan.
        """
        items = [item for item in decision.kept if item.weight == 1]
        wanted = tuple(item.text for item in items)
        if wanted not in self._plans:
            cached = self._from_cache(items, decision)
            self._plans[wanted] = cached or self.planner.plan_without_holds(items, offline=False)
        return self._plans[wanted]

    def _from_cache(self, items: Sequence[Item], decision: Decision) -> Plan | None:
        """The plan from uv's cache alone, if the cache is known to be sufficient.

        uv has looked at a version that was refused because of a hold, so the cache has it, and
        this plan would take it. uv may not have looked at a version above a hold's own bound.
        """
        snapshot = self.planner.snapshot
        bounds = (Requirement(i.text) for i in items_of_holds(snapshot.holds, snapshot.markers))
        if any(one.operator in _FROM_ABOVE for r in bounds for one in r.specifier):
            return None
        try:
            plan = self.planner.plan_without_holds(items, offline=True)
        except UvError:
            return None
        return None if self._older(plan, decision) else plan

    def held_back(self, decision: Decision) -> tuple[Withheld, ...]:
        """The packages that are older than without the holds, each with the hold's name.

        Raises:
            UvError: uv failed.
        """
        holds = self.planner.snapshot.holds
        if not holds.held:
            return ()
        try:
            free = self._free_plan(decision)
        except (NoSolution, BuildFailed):
            return ()  # there is no plan without the holds either
        older = self._older(free, decision)
        return tuple(
            self._explain(name, chosen, newest, ask=number < _MOST_EXPLAINED)
            for number, (name, chosen, newest) in enumerate(older)
        )

    def _older(
        self, free: Plan, decision: Decision
    ) -> list[tuple[NormalizedName, Version, Version]]:
        """Name, chosen version, and the newer version that would be chosen without the holds."""
        snapshot = self.planner.snapshot
        found: list[tuple[NormalizedName, Version, Version]] = []
        for name in sorted({*free.install, *decision.install}):
            newest, chosen = (
                plan[name].version if name in plan else snapshot.installed.version(name)
                for plan in (free.install, decision.install)
            )
            if newest and chosen and chosen < newest and not snapshot.holds.covers(name):
                found.append((name, chosen, newest))
        return found

    def _explain(
        self, name: NormalizedName, chosen: Version, newest: Version, *, ask: bool
    ) -> Withheld:
        held = self.planner.snapshot.holds.held.values()
        reason = self.bounds(name, newest)
        if not reason and ask:
            markers = self.planner.snapshot.markers
            item = Item(name, f"{name}=={newest}", "held back")
            reason = (
                self.refusal([*items_of_holds(self.planner.snapshot.holds, markers), item]) or ""
            )
        holds = [h for h in held if mentions(reason, h.name)]
        holds = holds or [h for h in held if h.pinned_by is None]
        because = tuple(h.pin for h in holds)
        also = why_held(reason, self.planner.snapshot.holds)
        sentences = (f"{name} {newest} is available, but {listed(because)} is held.", reason, *also)
        message = " ".join(filter(None, sentences))
        return Withheld(name, chosen, newest, because, message)

    def bounds(self, name: NormalizedName, version: Version) -> str:
        """The holds that declare themselves that they are incompatible with this version."""
        snapshot = self.planner.snapshot
        return " ".join(
            f"{held.name} {held.version} needs {name}{requirement.specifier}."
            for held in snapshot.holds.held.values()
            for requirement in requires_of(held.distribution, snapshot.markers, sorted(held.extras))
            if canonicalize_name(requirement.name) == name
            and not requirement.specifier.contains(version, prereleases=True)
        )

    def refusal(self, items: Sequence[Item]) -> str | None:
        """uv's explanation why these conflict with the holds; None if they do not."""
        for offline in (True, False):  # the index has just been asked, so the cache may be enough
            try:
                self.planner.plan_beside_holds(items, offline=offline)
            except NetworkTrouble:
                continue
            except UvError as refused:
                return refused.message
            return None
        return None


def still_held_back(known: tuple[HeldBack, ...], snapshot: Snapshot) -> tuple[HeldBack, ...]:
    """The packages that are still held back: the same version, because of the same holds.

    They must also still be needed, and the project itself must allow the newest version.
    """
    pins = {held.pin for held in snapshot.holds.held.values()}
    return tuple(
        entry
        for entry in known
        if str(snapshot.installed.version(entry.name)) == entry.chosen
        and entry.pins <= pins
        and entry.name in snapshot.drift.reachable
        and _admitted(entry, snapshot.desired.requirements if snapshot.desired else ())
    )


def _admitted(entry: HeldBack, declared: Iterable[Declared]) -> bool:
    """Whether the project's own requirements allow the newest version of a package."""
    return all(
        d.requirement.specifier.contains(entry.newest, prereleases=True)
        for d in declared
        if d.name == entry.name
    )
