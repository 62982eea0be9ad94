"""Accelerator packages that another build left behind.

Only decides. Names packages that are not held, that nothing requires, and whose libraries no
package loads that stays.
"""

from collections.abc import Collection, Iterable

import msgspec
from msgspec.structs import replace
from packaging.utils import NormalizedName

from reconciler.environment.snapshot import Snapshot
from reconciler.files.shared_objects import read_shared_object
from reconciler.holds.intruders import Needs, needs_of
from reconciler.state.payload import payload_of
from reconciler.state.requires import NOTHING
from reconciler.state.runtimes import Kin, generation_of, kind_of_build, relatives
from reconciler.status import Change

_SHOWN = 8
_MORE = "`reconciler doctor` then says how to remove what is left over."

Names = frozenset[NormalizedName]


class Leftovers(msgspec.Struct, frozen=True):
    """What is left over of one build, and what is used instead, as `name version`."""

    names: tuple[NormalizedName, ...] = ()
    going: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """What they are and why, without a full stop."""
        one = len(self.going) == 1
        verb, them, their = ("is", "it", "its") if one else ("are", "them", "their")
        return (
            f"{_listed(self.going)} {verb} left over: nothing requires {them}, and "
            f"{_listed(self.instead)} {'is' if len(self.instead) == 1 else 'are'} used in "
            f"{their} place"
        )


def leftovers(snapshot: Snapshot, except_for: Collection[NormalizedName] = ()) -> Leftovers:
    """The accelerator packages that nothing requires, beside those of the build that is used.

    While another build is in place of a held one, none is known to be left over.

    Args:
        snapshot: The environment.
        except_for: Packages that are reported in another way.
    """
    held = snapshot.holds.held
    known = snapshot.installed.distributions
    if snapshot.desired is None or snapshot.unclear is not None:
        return Leftovers()
    if any(known.get(name) is not one.distribution for name, one in held.items()):
        return Leftovers()
    kin = relatives(known)
    kinds = {kind for h in held.values() if (kind := kind_of_build(h.version)) is not None}
    loose = frozenset(
        name
        for name in known
        if name not in snapshot.drift.reachable
        and _is_ours(name, snapshot)
        and (name in kin or _is_of_another_kind(name, kinds))
    )
    if not loose:
        return Leftovers()
    more = frozenset(n for n in known if generation_of(n) is not None and _is_ours(n, snapshot))
    needs = needs_of(snapshot, {})
    unneeded = _unneeded(loose | more, needs)
    unneeded = _unneeded(unneeded - _loaded(unneeded, snapshot), needs)
    going = _unneeded(_left(unneeded, kin, kinds, snapshot), needs)
    rest = going - set(except_for)
    instead = {near for name in rest or going for near in kin.get(name, ())} - unneeded
    if not instead:
        instead = {n for n, h in held.items() if kind_of_build(h.version) in kinds}
    return _leftovers(rest, _pins(instead, snapshot), snapshot)


def newly_left(before: Snapshot, after: Snapshot) -> str | None:
    """What a change has left behind, in a sentence."""
    left = leftovers(after, leftovers(before).names)
    return f"{left.message}. {_MORE}" if left.names else None


def left_by(snapshot: Snapshot, changes: Collection[Change]) -> str | None:
    """What a plan would leave behind, as far as it can be known before anything is fetched.

    Args:
        snapshot: The environment.
        changes: The plan.
    """
    known = snapshot.installed.distributions
    changed = {NormalizedName(change.name): change.to for change in changes}
    coming = {name: to for name, to in changed.items() if to is not None and name not in known}
    kin = relatives({*known, *coming}) if coming else {}
    loose = frozenset(
        name
        for name in known
        if name not in changed
        and _is_ours(name, snapshot)
        and not kin.get(name, frozenset()).isdisjoint(coming)
    )
    if not loose:
        return None
    # What the new versions require is not known yet.
    silent = {n: replace(known[n], requires=NOTHING) for n in changed if n in known}
    going = _unneeded(loose, needs_of(snapshot, silent))
    instead = {near for name in going for near in kin[name] if near in coming}
    if not going:
        return None
    named = [f"{name} {coming[name]}" for name in sorted(instead)]
    return (
        f"This would leave {_listed(_pins(going, snapshot))} behind: what requires "
        f"{'it' if len(going) == 1 else 'them'} now is changed, and {_listed(named)} "
        f"{'takes' if len(named) == 1 else 'take'} {'its' if len(going) == 1 else 'their'} place. "
        f"{_MORE}"
    )


def _leftovers(going: Names, instead: Collection[str], snapshot: Snapshot) -> Leftovers:
    if not going:
        return Leftovers()
    return Leftovers(tuple(sorted(going)), _pins(going, snapshot), tuple(instead))


def _is_ours(name: NormalizedName, snapshot: Snapshot) -> bool:
    """Whether it may be removed at all: not a hold, nor another tool's package."""
    copies = list(snapshot.installed.copies(name))
    return not snapshot.holds.covers(name) and not any(d.installer or d.unseen for d in copies)


def _is_of_another_kind(name: NormalizedName, kinds: Collection[str]) -> bool:
    generation = generation_of(name)
    return bool(kinds) and generation is not None and generation.kind not in kinds


def _left(unneeded: Names, kin: Kin, kinds: Collection[str], snapshot: Snapshot) -> Names:
    """Those of another generation than one that is used, with all others of that generation."""
    known = snapshot.installed.distributions
    used = {generation_of(name) for name in known if name not in unneeded}
    kinds_used = {generation.kind for generation in used if generation is not None}
    direct = {
        name
        for name in unneeded
        for near in kin.get(name, ())
        if near not in unneeded and near not in set(known[name].requires.names())
    }
    passed = {generation_of(name) for name in direct} - used - {None}
    also = {
        name
        for name in unneeded
        if generation_of(name) in passed
        or (_is_of_another_kind(name, kinds) and _kind(name) not in kinds_used)
    }
    return frozenset(direct | also)


def _kind(name: NormalizedName) -> str | None:
    generation = generation_of(name)
    return generation.kind if generation else None


def _unneeded(names: Names, needs: Needs) -> Names:
    """The most of them that nothing else requires, neither the project nor what stays."""
    while kept := names & needs.without(names).keys():
        names -= kept
    return names


def _loaded(names: Names, snapshot: Snapshot) -> Names:
    """Those that have a library which another package needs, and which nothing else has.

    onnxruntime-gpu, for one, does not require cuDNN, but loads it (`DT_NEEDED`). What is held
    brings its own libraries.
    """
    known = snapshot.installed.distributions
    others = [d for n, d in known.items() if n not in names]
    theirs = {_file(path) for d in others for path in payload_of(d).public}
    needed = {
        name
        for d in others
        if d.name not in snapshot.holds.held
        for path in payload_of(d).shared
        if (library := read_shared_object(f"{d.info.parent}/{path}")) is not None
        for name in library.needed
        if name not in theirs
    }
    return frozenset(
        name for name in names if any(_file(p) in needed for p in payload_of(known[name]).public)
    )


def _file(path: str) -> str:
    return path.rpartition("/")[2]


def _pins(names: Iterable[NormalizedName], snapshot: Snapshot) -> tuple[str, ...]:
    return tuple(f"{name} {snapshot.installed.version(name)}" for name in sorted(names))


def _listed(words: Collection[str]) -> str:
    shown = [*words][:_SHOWN]
    more = len(words) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
