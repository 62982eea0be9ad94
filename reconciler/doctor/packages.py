"""Checks of the installed packages: complete, held as they should be, no file claimed twice.

The findings about holds come from `reconciler.holds`, as they do in `/status`.
"""

from collections.abc import Collection, Iterator

from reconciler.doctor.finding import Finding, fine, problem, warning
from reconciler.environment.snapshot import Snapshot
from reconciler.environment.uv_lock import HOW_TO_STOP_UV, uv_lock_of
from reconciler.holds.conflicts import Conflict, companions, conflicts, left_behind
from reconciler.holds.missed import Before, missed
from reconciler.holds.stale import stale
from reconciler.holds.standing import holds_and_notices
from reconciler.state.notice import Notice
from reconciler.state.words import message_of
from reconciler.status import Hold, PackageStatus, Problem


def check_project(snapshot: Snapshot) -> Finding:
    """The project's file can be read."""
    if snapshot.problem is not None:
        return bad_file(snapshot.problem)
    if snapshot.elsewhere is not None:
        return warning("project", snapshot.elsewhere.reason, snapshot.elsewhere.fix)
    count = len({d.name for d in snapshot.desired.requirements}) if snapshot.desired else 0
    file = snapshot.desired.file if snapshot.desired else "no file"
    return fine("project", f"{file}: {count} requirements")


def bad_file(found: Problem) -> Finding:
    """The finding for a project's file that cannot be used."""
    return problem("project", f"{found.place}: {found.reason}", found.fix)


def check_settings(snapshot: Snapshot) -> Iterator[Finding]:
    """The project fits the environment's Python, and every setting of uv counts."""
    for caution in snapshot.cautions:
        yield warning("settings", caution.message, caution.fix)
    if not snapshot.cautions:
        yield fine("settings", "every setting of uv counts")


def check_whole(snapshot: Snapshot) -> Iterator[Finding]:
    """Every installed package has all its files (uv never checks: uv-facts 22).

    `check_holds` reports broken holds.
    """
    for name, why in snapshot.broken.items():
        if not snapshot.holds.covers(name):
            yield problem("packages", f"{name} is broken: {why}",
                          "Run `reconciler apply` to install it again.")  # fmt: skip
    if not snapshot.broken:
        yield fine("packages", f"{len(snapshot.installed.distributions)} packages, all complete")


def check_scripts(snapshot: Snapshot) -> Iterator[Finding]:
    """Every script starts a Python that exists.

    `check_whole` reports those that a pass repairs.
    """
    found = list(stale(snapshot))
    for notice in found:
        yield problem("scripts", notice.message, notice.fix)
    if not found and not snapshot.stale.broken:
        yield fine("scripts", "each one starts a Python that exists")


def check_holds(snapshot: Snapshot, before: Before) -> Iterator[Finding]:
    """Every hold is intact, and no other package claims its files or was left over beside it.

    Args:
        snapshot: The environment.
        before: The holds that the journal remembers.
    """
    holds, broken = holds_and_notices(snapshot)
    gone = missed(before, holds, snapshot)
    yield from _check_held(snapshot, broken, gone)
    yield from check_lock(snapshot)
    found = conflicts(snapshot, holds)
    yield from _check_shared_files(found)
    left = left_behind(snapshot, holds, found)
    for notice in left:
        yield warning("leftovers", notice.message, notice.fix)
    if not left:
        yield fine("leftovers", "no accelerator package of another build is left over")


def _check_held(
    snapshot: Snapshot, broken: Collection[Notice], gone: Collection[Hold]
) -> Iterator[Finding]:
    """Every hold is intact, every declared one is installed, companions are held too."""
    for notice in broken:
        yield problem("holds", notice.message, notice.fix)
    for hold in gone:
        message, _, fix = (hold.message or hold.name).partition(". ")
        yield problem("holds", message, fix)
    missing = {hold.name for hold in gone}
    for row in snapshot.drift.rows:
        if row.name in missing:
            continue
        if row.name in snapshot.holds.held and row.status is not PackageStatus.HELD_MISMATCH:
            continue  # intact, or reported above
        if row.status is PackageStatus.HELD_MISSING or row.status is PackageStatus.HELD_MISMATCH:
            message, _, fix = (message_of(row) or row.name).partition(". ")
            yield warning("holds", f"{row.name}: {message}", fix)
    for notice in companions(snapshot):
        yield warning("companions", notice.message, notice.fix)
    if not broken and not gone:
        held = snapshot.holds.held.values()
        listed = ", ".join(f"{h.name} {h.version}" for h in held)
        yield fine("holds", listed or "none installed")


def check_lock(snapshot: Snapshot) -> Iterator[Finding]:
    """`uv sync` and `uv run` would not replace or remove what is held."""
    lock = uv_lock_of(snapshot)
    if lock is None:
        return
    held = [h for h in snapshot.holds.held.values() if h.distribution.unseen is None]
    replaced = [
        f"{h.pin} by {' or '.join(map(str, sorted(lock.versions[h.name])))}"
        for h in held
        if h.name in lock.versions and not lock.has(h.name, h.version)
    ]
    removed = [h.pin for h in held if h.name not in lock.versions]
    would = [f"`uv sync` and `uv run` would replace {', '.join(replaced)}"] if replaced else []
    would += [f"`uv sync` would remove {', '.join(removed)}"] if removed else []
    if would:
        yield warning("uv.lock", f"{'; '.join(would)} ({lock.file})", f"{HOW_TO_STOP_UV}.")
    else:
        yield fine("uv.lock", f"{lock.file} would not replace or remove a held package")


def _check_shared_files(found: Collection[Conflict]) -> Iterator[Finding]:
    """No two packages claim one file with different contents: the last one written has won.

    With a held package it is a warning, as in `/status`: the held files are checked and restored
    separately.
    """
    for conflict in found:
        kind = problem if conflict.code and not conflict.held else warning
        yield kind("shared files", conflict.message, conflict.fix)
    if not found:
        yield fine("shared files", "no file belongs to two packages")
