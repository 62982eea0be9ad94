"""Proves that what could be imported before a change can still be imported after it.

A stage is tried before it goes live; a change in place, before it is committed. What fails there
and works in the live tree is a regression: the change that is responsible must be left out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace
from packaging.utils import NormalizedName

from reconciler.config import Proof
from reconciler.environment.snapshot import Snapshot
from reconciler.log.logger import get_logger
from reconciler.passes.running import Pass
from reconciler.planning.decision import Decision
from reconciler.planning.kept import confinement_of_imports
from reconciler.proof.blame import Suspects, found_by_undoing
from reconciler.proof.dependents import DependencyGraph, needs_of
from reconciler.proof.explained import words_of_regression
from reconciler.proof.selection import Selection, comparable, select
from reconciler.proof.trial import Budget, TrialPlace, try_imports
from reconciler.proof.verdict import Import, Trial, Tried, packages_of
from reconciler.state.installed import Installed
from reconciler.status import FailedImport, Failure, PassProof, ProvenImport, Reason
from reconciler.trees.tree import Tree
from reconciler.trees.undoing import undo_in_stage

log = get_logger(__name__)


class BrokenImports(msgspec.Struct, frozen=True):
    """Imports that failed in a changed tree, and are not known to fail in the live one.

    `stage` is that tree, which never goes live now; None: the change was made in place.
    """

    failed: tuple[Tried, ...]
    after: Installed
    needs: DependencyGraph
    suspects: Suspects
    stage: Path | None


class ImportsBroken(Exception):
    """The changed tree must not go live as it is; `ImportProof.failures` says what to leave out."""

    def __init__(self, broken: BrokenImports) -> None:
        super().__init__(", ".join(one.what.module for one in broken.failed))
        self.broken = broken


class ImportProof:
    """What one attempt of a pass finds out about imports.

    Args:
        running: The pass.
        snapshot: The environment before.
        work: The folder of the attempt.
    """

    def __init__(self, running: Pass, snapshot: Snapshot, work: Path) -> None:
        config = running.environment.config
        self._running, self._snapshot, self._work = running, snapshot, work
        self._mode = config.proof_in_effect
        self._budget = Budget(config.proof_budget)
        self._broken_before: set[Import] = set()
        self._imported: dict[Import, ProvenImport] = {}
        self._failed: dict[Import, FailedImport] = {}

    def check(self, decision: Decision, tree: Tree, after: Installed) -> None:
        """Try the imports that the change could break.

        Args:
            decision: The change.
            tree: The changed tree.
            after: What is installed in it.

        Raises:
            ImportsBroken: Something fails of which it is not known that it failed before.
            Cancelled: The pass was asked to end.
        """
        snapshot, layout = self._snapshot, self._snapshot.interpreter.layout
        going = {*decision.install, *decision.remove}
        full = self._mode is Proof.FULL
        hurting = going if full else going & snapshot.installed.distributions.keys()
        if self._mode is Proof.OFF or not hurting:
            return
        declared = snapshot.desired.requirements if snapshot.desired else ()
        needs = needs_of(after, (one.requirement for one in declared), snapshot.markers)
        selection = select(snapshot.installed, after, going, needs, layout, everything=full)
        trial = self._try(tree.folder, selection.imports, selection.first)
        self._note(trial, selection, needs)
        failed = tuple(one for one in trial.failed if one.what not in self._broken_before)
        if failed:
            suspects = Suspects(sorted(going), snapshot.installed, after, layout)
            stage = tree.folder if tree.folder != tree.prefix else None
            raise ImportsBroken(BrokenImports(failed, after, needs, suspects, stage))
        log.info("proof.passed", imports=len(trial.tried), seconds=round(self._budget.spent, 3))
        if trial.untried:
            log.warning("proof.incomplete", packages=packages_of(trial.untried))

    def failures(self, broken: BrokenImports) -> list[Failure]:
        """The changes to leave out; none if all of it fails in the live tree as well.

        Call when the live tree is the old one.

        Raises:
            Cancelled: The pass was asked to end.
        """
        found: dict[NormalizedName, Failure] = {}
        regressions = self._regressions(broken)
        certain = {one: broken.suspects.certain(one) for one in regressions}
        for one in sorted(regressions, key=lambda one: certain[one] is None):
            known = certain[one]
            culprits = self._searched(one, broken, found) if known is None else [known]
            for culprit in culprits:
                found.setdefault(culprit, self._failure(one, culprit, broken))
            named = ", ".join(culprits)
            if named:
                self._failed[one.what] = _failed(one, named)
        self._report()
        return list(found.values())

    def _regressions(self, broken: BrokenImports) -> list[Tried]:
        """What works in the live tree; what does not is remembered."""
        before, layout = self._snapshot.installed, self._snapshot.interpreter.layout
        comparisons = {
            one: comparable(one.what, before, broken.after, layout) for one in broken.failed
        }
        asked = dict.fromkeys(what for each in comparisons.values() for what in each)
        trial = self._try(None, tuple(asked))
        works = {one.what for one in trial.tried if one.error is None}
        if self._budget.left <= 0:  # it fails in the new tree: better safe
            works |= set(trial.untried)
        regressions = [one for one, each in comparisons.items() if works & set(each)]
        for one in broken.failed:
            self._failed[one.what] = _failed(one, None)
            if one not in regressions:
                self._broken_before.add(one.what)
        return regressions

    def _searched(
        self, failed: Tried, broken: BrokenImports, found: Mapping[NormalizedName, Failure]
    ) -> Sequence[NormalizedName]:
        """The responsible change, found by undoing one after another; if none alone, several."""
        changes = broken.suspects.changed
        needed = broken.needs.nearest(failed.what.package, changes)
        if found.keys() & set(needed):
            return ()  # without that one, it is tried again anyway
        candidates = [*needed, *(name for name in changes if name not in needed)]
        if len(candidates) == 1 or broken.stage is None:
            return needed or candidates
        stage, prefix = broken.stage, self._snapshot.interpreter.prefix
        if found and not self._try(stage, [failed.what]).failed:
            return ()  # by what was undone for another one: it is tried again without that

        def works_without(name: NormalizedName) -> bool:
            old = self._snapshot.installed.get(name)
            undo_in_stage(stage, prefix, broken.after.get(name), old)
            return not self._try(stage, [failed.what]).failed and self._budget.left > 0

        culprit = found_by_undoing(candidates, works_without)
        if culprit is not None:
            return [culprit]
        return candidates if self._budget.left > 0 else needed or candidates

    def _failure(self, failed: Tried, culprit: NormalizedName, broken: BrokenImports) -> Failure:
        old = self._snapshot.installed.version(culprit)
        new = broken.after.version(culprit)
        message = words_of_regression(failed, culprit, str(old or ""), str(new or ""))
        log.warning("proof.failed", package=failed.what.package, module=failed.what.module,
                    because=culprit, error=failed.error)  # fmt: skip
        return Failure(
            name=culprit, requirement=culprit, reason=Reason.IMPORT_BROKEN, message=message
        )

    def _try(
        self, stage: Path | None, imports: Sequence[Import], first: Sequence[Import] = ()
    ) -> Trial:
        """Import modules in a tree; None: in the live one."""
        interpreter, spent = self._snapshot.interpreter, self._budget.spent
        python = interpreter.executable
        if stage is not None:
            python = stage / python.parent.name / python.name
        confined = confinement_of_imports(interpreter.prefix, self._work)
        place = TrialPlace(python, self._running.environment.environ, confined, self._work)
        trial = try_imports(place, imports, self._budget, self._running.cancel, first)
        self._running.spent("imports", self._budget.spent - spent)
        return trial if stage is None else _as_if_live(trial, stage, interpreter.prefix)

    def _note(self, trial: Trial, selection: Selection, needs: DependencyGraph) -> None:
        for one in trial.tried:
            package = one.what.package
            needed = needs.nearest(package, selection.changed)
            changed = package in selection.changed or not needed
            self._imported[one.what] = ProvenImport(
                package=package, module=one.what.module, seconds=one.seconds,
                because=None if changed else needed[0],
            )  # fmt: skip
            if one.error is None:
                self._failed.pop(one.what, None)
        self._report(packages_of(trial.untried))

    def _report(self, untried: Sequence[NormalizedName] | None = None) -> None:
        before = self._running.proof or PassProof()
        self._running.proof = PassProof(
            seconds=round(self._budget.spent, 3),
            imported=tuple(self._imported.values()),
            failed=tuple(self._failed.values()),
            not_tried=before.not_tried if untried is None else tuple(untried),
        )


def _as_if_live(trial: Trial, stage: Path, prefix: Path) -> Trial:
    """With the names that the files will have: nobody will find them in the stage."""

    def renamed(one: Tried) -> Tried:
        error = one.error and one.error.replace(f"{stage}/", f"{prefix}/")
        return replace(one, error=error)

    return replace(trial, tried=tuple(map(renamed, trial.tried)))


def _failed(one: Tried, culprit: str | None) -> FailedImport:
    return FailedImport(
        package=one.what.package, module=one.what.module, error=str(one.error), because=culprit
    )
