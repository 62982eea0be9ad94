"""Finds out which repairs uv can do: on the index, in uv's cache, or where a package came from."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

import msgspec
from msgspec.structs import replace

from reconciler.planning.failures import suspects
from reconciler.planning.repair import Repair
from reconciler.planning.resolver import Question, Resolver
from reconciler.uv.cached import pack_cached
from reconciler.uv.program import BuildFailed, NoSolution


class RepairSearch(msgspec.Struct, frozen=True):
    """Asks for the repairs alone, so that a build that nobody has any more blocks nothing else.

    Args:
        resolver: Asks uv; learns the folder of wheels that were found in uv's cache.
        cache: uv's cache, if it has one.
        offline: Whether to use only that.
    """

    resolver: Resolver
    cache: Path | None
    offline: bool = False

    def divide(self, wanted: Sequence[Repair]) -> tuple[list[Repair], list[Repair]]:
        """The repairs that are possible, and those for which nobody has the build.

        Raises:
            UvError: An index does not answer, or uv failed.
        """
        possible, hopeless = list(wanted), list[Repair]()
        searched = False
        while possible:
            missing = self._first_missing(possible)
            if missing is None:
                break
            if not searched and self._found_in_cache(possible):
                searched = True
                continue
            possible.remove(missing)
            hopeless.append(missing)
        return possible, hopeless

    def _first_missing(self, wanted: Sequence[Repair]) -> Repair | None:
        """One that uv cannot find, or None."""
        items = tuple(repair.item for repair in wanted)
        names = tuple(item.name for item in items)
        try:
            self.resolver.answer(Question(items, reinstall=names, alone=True, offline=self.offline))
        except BuildFailed as refused:
            guilty = [r for r in wanted if r.item.name == refused.name]
        except NoSolution as refused:
            guilty = [wanted[i] for i in sorted(suspects(refused.message, items))]
        else:
            return None
        if len(guilty) == 1 or len(wanted) == 1:
            return guilty[0] if guilty else wanted[0]
        return next((r for r in guilty or wanted if self._first_missing([r])), None)

    def _found_in_cache(self, wanted: Sequence[Repair]) -> bool:
        """Look in uv's cache for the wheels that were installed; whether any is there."""
        if self.cache is None:
            return False
        folder = Path(mkdtemp(prefix="cached-", dir=self.resolver.project.folder))
        packed = [pack_cached(r.distribution, self.cache, folder) for r in wanted if r.pin]
        self.resolver.project = replace(self.resolver.project, wheels=folder)
        return any(packed)
