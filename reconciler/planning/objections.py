"""Planned versions that a hold pushed too far back to be accepted silently, and what to do instead.

Judges by metadata: whether a version says that it fits the held package. Neither the version that
was chosen nor the advice may be made for another build of a hold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from reconciler.planning.counterfactual import Unheld, Withheld, listed
from reconciler.planning.decision import Decision
from reconciler.planning.resolver import Question
from reconciler.state.holds import requires_of
from reconciler.state.installed import Distribution
from reconciler.status import Failure, Reason
from reconciler.uv.effective import Item, items_of_holds
from reconciler.uv.program import BuildFailed, NoSolution, Plan, Planned

Distributions = Mapping[NormalizedName, Distribution]
Unpack = Callable[[Sequence[Planned]], Distributions]
"""Lets uv unpack packages aside, where nothing is live, to read their metadata."""

_MOST_TRIED = 6
"""How many versions are tried at most to find one that says that it fits."""


@dataclass
class Objections:
    """Judges what is held back.

    Args:
        unheld: Knows the plan without the holds.
        unpack: Gets metadata that is not there yet.
    """

    unheld: Unheld
    unpack: Unpack
    _unpacked: dict[Planned, Distribution] = field(default_factory=dict)

    def to(
        self, held_back: Sequence[Withheld], decision: Decision, incoming: Distributions
    ) -> list[Failure]:
        """The planned versions that are not accepted, each with the advice.

        Args:
            held_back: The packages that the holds keep older.
            decision: What is planned.
            incoming: What uv has unpacked of it so far.

        Raises:
            BuildFailed: The metadata of a planned package cannot be had.
            UvError: uv failed.
        """
        found: list[Failure] = []
        for entry in held_back:
            if entry.name not in decision.install:
                continue
            before = self.unheld.planner.snapshot.installed.version(entry.name)
            fits = False
            if before is not None and entry.chosen < before:
                fits = bool(self.unheld.bounds(entry.name, entry.newest)) or (
                    self._says_that_it_fits(entry.name, decision.install, incoming)
                )
                reason = Reason.WOULD_DOWNGRADE
                fate = f"{entry.name} stays at {before}; only {entry.chosen} works"
            elif self._is_too_far(entry, decision, incoming):
                reason = Reason.HELD_BACK_TOO_FAR
                fate = f"uv accepts no newer {entry.name} than {entry.chosen}"
            else:
                continue
            advice = _to_go_back(entry) if fits else self._to_fit(entry, decision)
            found.append(_objection(entry, reason, fate, advice))
        return found

    def _is_too_far(self, entry: Withheld, decision: Decision, incoming: Distributions) -> bool:
        """Whether the newest version depends on a hold, and the chosen one does not say so.

        What is not unpacked yet is unpacked only if a dry run does not settle it.
        """
        unpacked = entry.name in incoming
        if not unpacked and not self._depends_on_a_hold(entry):
            return False
        if self._says_that_it_fits(entry.name, decision.install, incoming):
            return False
        return not unpacked or self._depends_on_a_hold(entry)

    def _says_that_it_fits(
        self,
        name: NormalizedName,
        planned: Mapping[NormalizedName, Planned],
        incoming: Distributions,
    ) -> bool:
        """Whether it requires a hold, directly or not; uv has made sure that the hold fits."""
        snapshot = self.unheld.planner.snapshot
        waiting = [(name, frozenset[str]())]
        seen = set(waiting)
        for child, extras in waiting:
            distribution = self._distribution(child, planned, incoming)
            if distribution is None:
                continue
            for requirement in requires_of(distribution, snapshot.markers, sorted(extras)):
                key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
                if key[0] in snapshot.holds.held:
                    return True
                if key not in seen:
                    seen.add(key)
                    waiting.append(key)
        return False

    def _distribution(
        self,
        name: NormalizedName,
        planned: Mapping[NormalizedName, Planned],
        incoming: Distributions,
    ) -> Distribution | None:
        if name in incoming:
            return incoming[name]
        wanted = planned.get(name)
        if wanted is None:
            return self.unheld.planner.snapshot.installed.get(name)
        if wanted not in self._unpacked:
            found = self.unpack([wanted]).get(name)
            if found is None:
                return None
            self._unpacked[wanted] = found
        return self._unpacked[wanted]

    def _depends_on_a_hold(self, entry: Withheld) -> bool:
        """Whether the newest version does not fit a hold because of its own requirements."""
        # Without the holds' requirements: a refusal is then due to this package's own.
        return self.unheld.refusal([_exactly(entry.name, entry.newest)]) is not None

    def _to_fit(self, entry: Withheld, decision: Decision) -> str:
        """How to get the newest version that says that it fits, or that there is none."""
        silent = (
            f"{entry.chosen} does not say which {_names(entry)} it needs, so it may be made for "
            "another one."
        )
        version, lowest = self._newest_that_fits(entry, decision)
        if version is not None:
            return (
                f"{silent} {entry.name} {version} is the newest version that does: declare "
                f"`{entry.name}=={version}`."
            )
        searched = "No older version does" if lowest is None else f"None down to {lowest} does"
        return (
            f"{silent} {searched}: install a build of {entry.name} that is made for it by hand, or "
            "leave it out."
        )

    def _newest_that_fits(
        self, entry: Withheld, decision: Decision
    ) -> tuple[Version | None, Version | None]:
        """The newest version that says that it fits, or the oldest one tried if there are more."""
        planner = self.unheld.planner
        snapshot = planner.snapshot
        beside = (
            *items_of_holds(snapshot.holds, snapshot.markers),
            *(item for item in decision.kept if item.name == entry.name and item.weight == 1),
        )
        below = entry.chosen
        for _ in range(_MOST_TRIED):
            older = Item(entry.name, f"{entry.name}<{below}", "held back")
            try:
                # As if it were not installed: uv would keep the installed one.
                question = Question((*beside, older), reinstall=(entry.name,))
                plan: Plan = planner.resolver.answer(question)
                planned = plan.install.get(entry.name)
                if planned is None or planned.version is None or planned.version >= below:
                    return None, None
                if self._says_that_it_fits(entry.name, plan.install, {}):
                    return planned.version, None
            except (NoSolution, BuildFailed):
                return None, None
            below = planned.version
        return None, below


def _names(entry: Withheld) -> str:
    return " or ".join(pin.partition("==")[0] for pin in entry.because)


def _exactly(name: NormalizedName, version: Version) -> Item:
    return Item(name, f"{name}=={version}", "held back")


def _to_go_back(entry: Withheld) -> str:
    return (
        f"To go back to it, declare `{entry.name}=={entry.chosen}`, or set allow_downgrade = true; "
        "otherwise change the hold."
    )


def _objection(entry: Withheld, reason: Reason, fate: str, advice: str) -> Failure:
    return Failure(
        name=entry.name,
        requirement=f"{entry.name}=={entry.newest}",
        reason=reason,
        message=f"{fate} with {listed(entry.because)}, which is held. {advice} {entry.message}",
    )
