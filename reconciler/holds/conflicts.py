"""What to know about holds besides their own state: who claims their files, what to hold too.

`/status`, `check` and `doctor` all get it from here, so that they never disagree. Pure.
"""

from collections.abc import Iterator

from packaging.utils import NormalizedName

from reconciler.environment.snapshot import Snapshot
from reconciler.holds.intruders import PROJECT, Intruders, intruders, needs_of
from reconciler.holds.stale import stale
from reconciler.state.companions import worth_holding
from reconciler.state.installed import Distribution
from reconciler.state.notice import Notice
from reconciler.state.shared_files import SharedFiles

_SHOWN = 3


class Conflict(Notice, frozen=True):
    """Two packages claim the same files; `code` is whether one of them is broken by that.

    `held` is whether one of them is held: its files are compared and restored, so the other
    one is what is wrong.
    """

    code: bool
    held: bool


def warnings_of(snapshot: Snapshot) -> tuple[str, ...]:
    """The warnings that `/status` and `check` show."""
    shown = (conflict for conflict in conflicts(snapshot) if conflict.code)
    notices = (*snapshot.cautions, *stale(snapshot), *shown, *companions(snapshot))
    return tuple(map(str, notices))


def companions(snapshot: Snapshot) -> Iterator[Notice]:
    """The packages that are worth holding with torch and are not held."""
    for name, message in worth_holding(snapshot.installed, snapshot.holds):
        yield Notice(message, f'Add "{name}" to `hold` to keep it.')


def conflicts(snapshot: Snapshot) -> tuple[Conflict, ...]:
    """Every two packages that claim the same files with different contents."""
    if not snapshot.shared:
        return ()
    covers = snapshot.holds.covers
    beside = {
        one.name
        for shared in snapshot.shared
        for one, other in ((shared.one, shared.other), (shared.other, shared.one))
        if covers(other.name) and not covers(one.name)
    }
    restored = {name: held.distribution for name, held in snapshot.holds.held.items()}
    found = intruders(beside, snapshot.holds, needs_of(snapshot, restored))
    return tuple(_conflict(shared, snapshot, found) for shared in snapshot.shared)


def _conflict(shared: SharedFiles, snapshot: Snapshot, found: Intruders) -> Conflict:
    one, other = shared.one, shared.other
    held = [d for d in (one, other) if snapshot.holds.covers(d.name)]
    if len(held) == 1:
        intruder = other if held == [one] else one
        return _beside_held(intruder, held[0], shared, found)
    both = " (both held)" if held else ""
    message = (
        f"{one.name} and {other.name}{both} both own {_count(shared)} with different contents "
        f"({_listed(shared)})"
    )
    if held:
        fix = "Whichever was installed last has won: take one of the two out of `hold`."
    else:
        fix = (
            "Keep only one of the two: take the other out of what is declared, `uv pip uninstall "
            f"{one.name} {other.name}`, and let `reconciler apply` install the right one again."
        )
    return Conflict(message, fix, bool(shared.code), bool(held))


def _beside_held(
    intruder: Distribution, held: Distribution, shared: SharedFiles, found: Intruders
) -> Conflict:
    """A package beside a held one: never advises to uninstall what is held."""
    message = (
        f"{intruder.name} {intruder.version} claims {_count(shared)} of {held.name} "
        f"{held.version}, which is held, with different contents ({_listed(shared)})"
    )
    return Conflict(message, _fix(intruder, held, shared, found), bool(shared.code), held=True)


def _fix(intruder: Distribution, held: Distribution, shared: SharedFiles, found: Intruders) -> str:
    if not shared.code:
        return "None of them is code, so both packages work."
    restore = f"`reconciler hold restore {held.name}` removes {intruder.name}"
    reason = found.staying.get(NormalizedName(intruder.name))
    if reason is None:
        return f"{restore} and keeps the held files; any other tool would remove those files, too."
    what = "the dependencies" if reason == PROJECT else "the environment"
    who = intruder.name if reason == PROJECT else reason.partition(" ")[0]
    return f"It stays, since {reason}: take {who} out of {what}, then {restore}."


def _count(shared: SharedFiles) -> str:
    return f"{len(shared.paths)} files" if len(shared.paths) > 1 else "a file"


def _listed(shared: SharedFiles) -> str:
    shown = (shared.code or shared.paths)[:_SHOWN]
    more = " ..." if len(shared.paths) > len(shown) else ""
    return ", ".join(path.rpartition("-packages/")[2] for path in shown) + more
