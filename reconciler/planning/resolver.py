"""Asks uv for plans, and remembers what it learns from refusals for the rest of the pass.

A plan is a dry run: nothing is installed, and the environment is not written to.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock

import msgspec
from msgspec.structs import replace
from packaging.utils import NormalizedName

from reconciler.config import Update
from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.log.logger import get_logger
from reconciler.planning.addressed import metadata_without_addresses
from reconciler.planning.failures import mentions
from reconciler.planning.kept import confinement_of_builds
from reconciler.planning.shadow import shadow_of
from reconciler.processes import Cancellation, OnLine
from reconciler.state.distribution import INTERRUPTED
from reconciler.state.sources import Source
from reconciler.uv.discovery import sources_of_projects
from reconciler.uv.effective import EffectiveProject, Item
from reconciler.uv.program import BuildFailed, Plan, Unreadable, UvError

log = get_logger(__name__)


class Question(msgspec.Struct, frozen=True):
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
    alone: bool = False
    """Whether to plan without what the requirements depend on."""
    apart: bool = False
    """Whether another run is active; then uv must not use the environment itself and lock it."""


class Learned(msgspec.Struct, frozen=True):
    """What uv's answers have taught us; it only grows."""

    missing: frozenset[NormalizedName]
    """Names that match a held glob but are not installed: uv must not install them."""
    hidden: frozenset[str] = frozenset()
    """Names of dist-infos that uv cannot read: they are hidden, or uv would refuse everything."""
    without_sources: bool = False
    """Whether a project that uv builds names another place for a hold, which must be ignored."""


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
        self._learned = Learned(project.missing, without_sources=project.without_sources)

    def answer(self, question: Question) -> Plan:
        """The plan; uv is asked again as long as a refusal teaches something new.

        A new name that matches a held glob is excluded. An installed package that uv cannot read
        is hidden from it, as if it were not installed. A source of a hold in a project that uv
        builds is ignored once it gets in the way: to ignore it costs the project its workspace
        (uv-facts 12d).

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
            except UvError as refused:
                if learned.without_sources or not self.blames_a_source(refused, question.items):
                    raise
                plan = self._ask_without_sources(question, learned, refused)
            unknown = {n for n in plan.install if holds.covers(n) and n not in holds.held}
            if unknown <= learned.missing:
                return plan
            self._learn(Learned(frozenset(unknown)))

    def say(self, text: str) -> None:
        """Add a line of our own to uv's output."""
        self._on_line(text)

    def blames_a_source(self, refused: UvError, items: Iterable[Item]) -> bool:
        """Whether uv failed on a place that a project of its own names for a hold."""
        built = any(item.source or " @ " in item.text for item in items)
        if not built or "No solution found when resolving dependencies" in refused.message:
            return False
        words, names = refused.message, {*self._snapshot.holds.held, *self._learned.missing}
        return any(mentions(words, name) or f"/{name}" in words for name in names)

    def _ask_without_sources(self, question: Question, learned: Learned, refused: UvError) -> Plan:
        try:
            plan = self._ask(question, replace(learned, without_sources=True))
        except BuildFailed as error:  # this project needs its workspace
            raise BuildFailed(error.name, refused.message, refused.log) from refused
        self.forgo_sources()
        return plan

    def forgo_sources(self) -> None:
        """From now on, ignore what projects that uv builds say about where holds come from."""
        self._learn(Learned(frozenset(), without_sources=True))

    def _ask(self, question: Question, learned: Learned) -> Plan:
        project = replace(
            self.project, missing=learned.missing, without_sources=learned.without_sources
        )
        ask = project.to_plan(
            question.items,
            constraints=question.constraints,
            reinstall=question.reinstall,
            upgrade=self._environment.config.update is Update.LATEST,
            free=not question.held,
            alone=question.alone,
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

    def leave(self, name: NormalizedName) -> None:
        """Plan around a package as it is, though it is broken and nobody has it.

        uv would use neither of two copies, so all but the first are hidden. If uv cannot read its
        METADATA, it leaves the resolution: nothing can be said about what needs it.
        """
        first, *others = self._snapshot.installed.copies(name)
        readable = first.defect in (None, INTERRUPTED)
        gone = frozenset[NormalizedName]() if readable else frozenset({name})
        hidden = others if readable else [first, *others]
        self._learn(Learned(gone, frozenset(copy.info.name for copy in hidden)))

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
            self._learned = Learned(
                known.missing | more.missing,
                known.hidden | more.hidden,
                known.without_sources or more.without_sources,
            )
            self.project = replace(self.project, without_sources=self._learned.without_sources)


def project_for(environment: Environment, snapshot: Snapshot, folder: Path) -> EffectiveProject:
    """The effective project of one pass; `folder` is private to it."""
    elsewhere = sources_of_projects(snapshot.desired, snapshot.markers, environment.environ)
    sources = [*_declared(snapshot), *(source for _, source in elsewhere)]
    return EffectiveProject(
        folder=folder,
        python=snapshot.interpreter.executable,
        settings=snapshot.settings,
        holds=snapshot.holds,
        missing=snapshot.holds.missing(_names_required(snapshot)),
        build=environment.config.build.value,
        timeout=environment.config.timeout,
        # An index is not asked for a hold, but uv would fetch it from an exact place.
        without_sources=any(s.is_direct and snapshot.holds.covers(n) for n, s in elsewhere),
        nested=dict(reversed(elsewhere)),
        metadata=metadata_without_addresses(snapshot.installed, snapshot.desired, snapshot.holds),
        confined=confinement_of_builds(environment, snapshot, folder, sources),
    )


def _declared(snapshot: Snapshot) -> Iterator[Source]:
    """Where declared packages come from, if not from an index."""
    for declared in snapshot.desired.requirements if snapshot.desired else ():
        if declared.source is not None:
            yield declared.source
        elif declared.requirement.url:
            yield Source.of_reference(declared.requirement.url)


def _names_required(snapshot: Snapshot) -> Iterator[NormalizedName]:
    """Every name that is declared, or required by something installed."""
    for declared in snapshot.desired.requirements if snapshot.desired else ():
        yield declared.name
    for distribution in snapshot.installed.all():
        yield from distribution.requires.names()
