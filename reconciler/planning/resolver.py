"""Asks uv for plans, and remembers what it learns from refusals for the rest of the pass.

A plan is a dry run: nothing is installed, and the environment is not written to.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from packaging.utils import NormalizedName

from reconciler.config import Update
from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.log.logger import get_logger
from reconciler.planning.addressed import metadata_without_addresses
from reconciler.planning.shadow import shadow_of
from reconciler.processes import Cancellation, OnLine
from reconciler.uv.effective import EffectiveProject, Item
from reconciler.uv.program import Plan, Unreadable

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """One dry run: what uv is asked for, and with which limits."""

    items: tuple[Item, ...]
    """The requirements to satisfy."""
    constraints: tuple[str, ...] = ()
    reinstall: tuple[NormalizedName, ...] = ()
    """Packages to reinstall even if their version is right."""
    held: bool = True
    """Whether the holds apply; if not, plan as if nothing were held."""
    followed: bool = False
    """Whether the pass shows uv's output."""
    offline: bool = False
    """Whether to use only uv's cache."""
    apart: bool = False
    """Whether another run is active; then uv must not use the environment itself and lock it."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What uv's answers have taught us; it only grows."""

    missing: frozenset[NormalizedName]
    """Names that match a held glob but are not installed: uv must not install them."""
    hidden: frozenset[str] = frozenset()
    """Names of dist-infos that uv cannot read: they are hidden, or uv would refuse everything."""


class Resolver:
    """Asks uv, from any thread, on behalf of one pass.

    Args:
        environment: The environment; its uv is used.
        snapshot: The environment as it is.
        project: uv's input.
        cancel: Ends a running uv.
        on_line: Gets uv's output, if the question is followed.
    """

    def __init__(
        self,
        environment: Environment,
        snapshot: Snapshot,
        project: EffectiveProject,
        cancel: Cancellation,
        on_line: OnLine,
    ) -> None:
        self._environment = environment
        self._snapshot = snapshot
        self.project = project
        self._cancel = cancel
        self._on_line = on_line
        self._lock = Lock()
        self._learned = Learned(project.missing)

    def answer(self, question: Question) -> Plan:
        """The plan; uv is asked again as long as a refusal teaches something new.

        A new name that matches a held glob is excluded. An installed package that uv cannot read
        is hidden from it, as if it were not installed.

        Raises:
            UvError: There is no plan.
        """
        holds = self._snapshot.holds
        while True:
            learned = self._learned  # another thread may learn more meanwhile
            try:
                plan = self._ask(question, learned)
            except Unreadable as error:
                self._hide(error, learned)
                continue
            unknown = {n for n in plan.install if holds.covers(n) and n not in holds.held}
            if unknown <= learned.missing:
                return plan
            self._learn(Learned(frozenset(unknown)))

    def _ask(self, question: Question, learned: Learned) -> Plan:
        ask = replace(self.project, missing=learned.missing).to_plan(
            question.items,
            constraints=question.constraints,
            reinstall=question.reinstall,
            upgrade=self._environment.config.update is Update.LATEST,
            free=not question.held,
        )
        return self._environment.uv.plan(
            ask,
            self._cancel,
            self._on_line if question.followed else None,
            offline=question.offline,
            prefix=self._elsewhere(question, learned),
        )

    def _elsewhere(self, question: Question, learned: Learned) -> Path | None:
        """Where uv looks for installed packages, if not in the environment itself."""
        if not question.apart and not learned.hidden:
            return None
        return shadow_of(self._snapshot, self.project.folder, learned.hidden)

    def _hide(self, error: Unreadable, learned: Learned) -> None:
        """From now on, hide from uv what it has just failed on.

        Raises:
            Unreadable: It was already hidden, and uv fails anyway.
        """
        copies = self._snapshot.installed.copies(error.name) if error.name else ()
        found = {c.info.name for c in copies} | ({error.info} if error.info else set())
        fresh = frozenset(found - learned.hidden)
        if not fresh:
            raise error
        log.warning("metadata.unreadable", folders=sorted(fresh), message=error.message)
        self._learn(Learned(frozenset(), fresh))

    def _learn(self, more: Learned) -> None:
        with self._lock:
            known = self._learned
            self._learned = Learned(known.missing | more.missing, known.hidden | more.hidden)


def project_for(environment: Environment, snapshot: Snapshot, folder: Path) -> EffectiveProject:
    """The effective project of one pass; `folder` is private to it."""
    return EffectiveProject(
        folder=folder,
        python=snapshot.interpreter.executable,
        settings=snapshot.settings,
        holds=snapshot.holds,
        missing=snapshot.holds.missing(_names_required(snapshot)),
        build=environment.config.build.value,
        timeout=environment.config.timeout,
        metadata=metadata_without_addresses(snapshot.installed, snapshot.desired, snapshot.holds),
    )


def _names_required(snapshot: Snapshot) -> Iterator[NormalizedName]:
    """Every name that is declared, or required by something installed."""
    for declared in snapshot.desired.requirements if snapshot.desired else ():
        yield declared.name
    for distribution in snapshot.installed.all():
        yield from distribution.requires.names()
