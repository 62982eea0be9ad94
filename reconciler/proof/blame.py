"""Which change is responsible for an import that no longer works."""

from collections.abc import Callable, Iterable, Sequence

from packaging.utils import NormalizedName

from reconciler.proof.importable import modules_of
from reconciler.proof.verdict import Tried
from reconciler.state.held_modules import ImportLayout
from reconciler.state.installed import Distribution, Installed, read_recorded_paths

MOST_TRIALS = 8
"""How many changes are undone one after another to find the one that is responsible."""


class Suspects:
    """The changes of a plan, and what each of them owns.

    Args:
        changed: The packages that a plan installs or removes.
        before: What is installed in the live tree.
        after: What is installed in the changed one.
        layout: How the target's Python names modules.
    """

    def __init__(
        self, changed: Iterable[NormalizedName], before: Installed, after: Installed,
        layout: ImportLayout,
    ) -> None:  # fmt: skip
        self.changed = tuple(changed)
        self._owners: dict[str, NormalizedName] = {}
        self._modules: dict[str, NormalizedName] = {}
        for name in self.changed:
            new, old = after.distributions.get(name), before.distributions.get(name)
            for one in filter(None, (old, new)):
                self._modules |= dict.fromkeys(modules_of(one, layout), name)
            self._owners |= dict.fromkeys(_paths(new), name)

    def certain(self, failed: Tried) -> NormalizedName | None:
        """The change that the failure itself points to: its own, or where the traceback leads."""
        if failed.what.package in self.changed:
            return failed.what.package
        if failed.missing is not None:
            parts = failed.missing.split(".")
            for count in range(len(parts), 0, -1):
                owner = self._modules.get(".".join(parts[:count]))
                if owner is not None:
                    return owner
        return next((self._owners[path] for path in failed.files if path in self._owners), None)


def found_by_undoing(
    candidates: Sequence[NormalizedName], works_without: Callable[[NormalizedName], bool]
) -> NormalizedName | None:
    """The change without which an import works again; None: not found.

    Args:
        candidates: The changes, the most likely first.
        works_without: Undoes this change, in addition to earlier ones, and tries the import.
    """
    return next((name for name in candidates[:MOST_TRIALS] if works_without(name)), None)


def _paths(distribution: Distribution | None) -> tuple[str, ...]:
    try:
        known = distribution is not None and not distribution.legacy
        return read_recorded_paths(distribution.info) if distribution and known else ()
    except (OSError, ValueError):
        return ()
