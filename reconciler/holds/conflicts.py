"""What to know about holds besides their own state: who claims their files, what to hold too.

`/status`, `check` and `doctor` all get it from here, so that they never disagree. Pure.
"""

from collections.abc import Collection, Iterator
from weakref import WeakKeyDictionary

from packaging.utils import NormalizedName

from reconciler.environment.snapshot import Snapshot
from reconciler.holds.intruders import PROJECT, Intruders, Needs, intruders, needs_of
from reconciler.holds.leftovers import leftovers
from reconciler.holds.removal import how_to_remove, uninstall
from reconciler.holds.stale import stale
from reconciler.state.companions import worth_holding
from reconciler.state.installed import Distribution
from reconciler.state.notice import Notice
from reconciler.state.shared_files import SharedFiles
from reconciler.status import Hold

_SHOWN = 3

Holds = Collection[Hold]

_known: WeakKeyDictionary[Snapshot, tuple[Holds, tuple[str, ...]]] = WeakKeyDictionary()
"""The warnings of a snapshot: a status is made several times a second, and RECORDs are long."""


class Conflict(Notice, frozen=True):
    """Two packages claim the same files; `code` is whether one of them is broken by that.

    `held` is whether one of them is held: its files are compared and restored, so the other
    one is what is wrong. `going` are those that the advice removes.
    """

    code: bool
    held: bool
    going: frozenset[NormalizedName] = frozenset()


def warnings_of(snapshot: Snapshot, holds: Holds) -> tuple[str, ...]:
    """The warnings that `/status` and `check` show.

    Args:
        snapshot: The environment.
        holds: The state of each hold.
    """
    known = _known.get(snapshot)
    if known is None or known[0] != holds:
        found = conflicts(snapshot, holds)
        shown = (conflict for conflict in found if conflict.code)
        left = left_behind(snapshot, holds, found)
        notices = (*snapshot.cautions, *stale(snapshot), *shown, *left, *companions(snapshot))
        known = _known[snapshot] = holds, tuple(map(str, notices))
    return known[1]


def companions(snapshot: Snapshot) -> Iterator[Notice]:
    """The packages that are worth holding with torch and are not held."""
    for name, message in worth_holding(snapshot.installed, snapshot.holds):
        yield Notice(message, f'Add "{name}" to `hold` to keep it.')


def left_behind(
    snapshot: Snapshot, holds: Holds, found: Collection[Conflict]
) -> tuple[Notice, ...]:
    """The accelerator packages of another build that nothing requires, in one notice.

    Args:
        snapshot: The environment.
        holds: The state of each hold.
        found: The conflicts, which say themselves what to remove.
    """
    told = {name for conflict in found if conflict.code for name in conflict.going}
    left = leftovers(snapshot, told)
    if not left.names:
        return ()
    going = [snapshot.installed.distributions[name] for name in left.names]
    advice = how_to_remove(going, snapshot, holds)
    keep = "To keep what you use in another way, declare it or add it to `hold`."
    return (Notice(left.message, f"{advice} {keep}"),)


def conflicts(snapshot: Snapshot, holds: Holds) -> tuple[Conflict, ...]:
    """Every two packages that claim the same files with different contents.

    Args:
        snapshot: The environment.
        holds: The state of each hold.
    """
    if not snapshot.shared:
        return ()
    return tuple(_Judged(snapshot, holds).conflicts())


class _Judged:
    """Decides which of two packages that claim the same files goes, and how."""

    def __init__(self, snapshot: Snapshot, holds: Holds) -> None:
        covers = snapshot.holds.covers
        beside = {
            one.name
            for shared in snapshot.shared
            for one, other in ((shared.one, shared.other), (shared.other, shared.one))
            if covers(other.name) and not covers(one.name)
        }
        restored = {name: held.distribution for name, held in snapshot.holds.held.items()}
        self._snapshot = snapshot
        self._holds = holds
        self._rows = {row.name: row for row in holds}
        self._needs: Needs = needs_of(snapshot, restored)
        self._beside: Intruders = intruders(beside, snapshot.holds, self._needs)

    def conflicts(self) -> Iterator[Conflict]:
        """One for every two packages."""
        for shared in self._snapshot.shared:
            pair = (shared.one, shared.other)
            held = [d for d in pair if self._snapshot.holds.covers(d.name)]
            if len(held) == 1:
                intruder = shared.other if held == [shared.one] else shared.one
                yield self._beside_held(intruder, held[0], shared)
            else:
                yield self._of_two(shared, held=bool(held))

    def _of_two(self, shared: SharedFiles, *, held: bool) -> Conflict:
        """Two packages, of which both are held, or neither."""
        one, other = shared.one, shared.other
        both = " (both held)" if held else ""
        message = (
            f"{one.name} and {other.name}{both} both own {_count(shared)} with different contents "
            f"({_listed(shared)})"
        )
        going: tuple[Distribution, ...] = ()
        if held:
            fix = "Whichever was installed last has won: take one of the two out of `hold`."
        else:
            needed = self._needs.without((one.name, other.name))
            going = tuple(d for d in (one, other) if d.name not in needed)
            fix = self._remove_one(one, other, going)
        names = frozenset(d.name for d in going) if len(going) == 1 else frozenset()
        return Conflict(message, fix, bool(shared.code), held, names)

    def _remove_one(
        self, one: Distribution, other: Distribution, going: tuple[Distribution, ...]
    ) -> str:
        if len(going) == 1:
            how = how_to_remove(going, self._snapshot, self._holds)
            return f"Nothing requires {going[0].name}. {how}"
        how = how_to_remove((one, other), self._snapshot, self._holds)
        return (
            "Keep only one of the two: take the other out of what is declared. "
            f"{how} Then let `reconciler apply` install the right one again."
        )

    def _beside_held(
        self, intruder: Distribution, held: Distribution, shared: SharedFiles
    ) -> Conflict:
        """A package beside a held one: never advises to uninstall what is held."""
        message = (
            f"{intruder.name} {intruder.version} claims {_count(shared)} of {held.name} "
            f"{held.version}, which is held, with different contents ({_listed(shared)})"
        )
        fix = "None of them is code, so both packages work."
        if shared.code:
            fix = self._fix(intruder, held)
        going = frozenset({intruder.name}) - self._beside.staying.keys()
        return Conflict(message, fix, bool(shared.code), held=True, going=going)

    def _fix(self, intruder: Distribution, held: Distribution) -> str:
        remove = self._removal(intruder, held)
        reason = self._beside.staying.get(NormalizedName(intruder.name))
        if reason is None:
            return f"{remove}."
        who = intruder.name if reason == PROJECT else reason.partition(" ")[0]
        if reason != PROJECT and self._snapshot.holds.covers(NormalizedName(who)):
            return f"It stays, since {reason}, which is held, too."
        what = "the dependencies" if reason == PROJECT else "the environment"
        return f"It stays, since {reason}. Take {who} out of {what} first. Then: {remove}."

    def _removal(self, intruder: Distribution, held: Distribution) -> str:
        """Any other way to remove it would remove the held files as well."""
        row = self._rows.get(held.name)
        restore = (
            f"`reconciler hold restore {held.name}` removes {intruder.name} and keeps the held "
            "files; any other tool would remove those files, too"
        )
        if row is not None and row.vaulted:
            return restore
        if row is not None and not row.intact:
            return (
                f"the vault has no copy of {held.name}: "
                f"`{uninstall([intruder], self._snapshot)}`, and install that build of {held.name} "
                "by hand again"
            )
        return f"`reconciler apply` makes a copy of {held.name}; after that, {restore}"


def _count(shared: SharedFiles) -> str:
    return f"{len(shared.paths)} files" if len(shared.paths) > 1 else "a file"


def _listed(shared: SharedFiles) -> str:
    shown = (shared.code or shared.paths)[:_SHOWN]
    more = " ..." if len(shared.paths) > len(shown) else ""
    return ", ".join(path.rpartition("-packages/")[2] for path in shown) + more
