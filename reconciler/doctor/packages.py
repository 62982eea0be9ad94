"""Checks of the installed packages: complete, held as they should be, no file owned twice."""

from collections import defaultdict
from collections.abc import Iterator

from packaging.utils import NormalizedName

from reconciler.doctor.finding import Finding, fine, problem, warning
from reconciler.environment.snapshot import Snapshot
from reconciler.holds.standing import holds_found
from reconciler.state.companions import warnings_for
from reconciler.state.installed import Distribution, RecordedFile
from reconciler.status import PackageStatus, Problem

_CODE = (".py", ".so", ".pyd", ".pyi")
_SHOWN = 3


def check_project(snapshot: Snapshot) -> Finding:
    """The project's file can be read."""
    if snapshot.problem is not None:
        return bad_file(snapshot.problem)
    count = len(snapshot.desired.requirements) if snapshot.desired else 0
    file = snapshot.desired.file if snapshot.desired else "no file"
    return fine("project", f"{file}: {count} requirements")


def bad_file(found: Problem) -> Finding:
    """The finding for a project's file that cannot be used."""
    return problem("project", f"{found.place}: {found.reason}", found.fix)


def check_whole(snapshot: Snapshot) -> Iterator[Finding]:
    """Every installed package has all its files (uv never looks: uv-facts 22)."""
    for name, why in snapshot.broken.items():
        held = snapshot.holds.covers(name)
        command = f"`reconciler hold restore {name}`" if held else "`reconciler apply`"
        yield problem("packages", f"{name} is broken: {why}", f"Run {command} to repair it.")
    if not snapshot.broken:
        yield fine("packages", f"{len(snapshot.installed.distributions)} packages, all complete")


def check_holds(snapshot: Snapshot) -> Iterator[Finding]:
    """Every hold is intact, every declared one is installed, and companions are held too."""
    holds = holds_found(snapshot)
    broken = [hold for hold in holds if not hold.intact]
    for hold in broken:
        yield problem(
            "holds",
            hold.message or f"{hold.name} has changed",
            f"Run `reconciler hold restore {hold.name}` to restore the held build, or `reconciler "
            f"hold accept {hold.name}` to hold the installed one.",
        )
    for row in snapshot.drift.rows:
        if row.status is PackageStatus.HELD_MISSING:
            yield warning(
                "holds",
                f"{row.name} is declared and held, but not installed",
                "Install the build for your GPU by hand, or remove it from `hold`.",
            )
    for sentence in warnings_for(snapshot.installed, snapshot.holds):
        yield warning("companions", sentence, "Add it to `hold` of the environment.")
    if not broken:
        yield fine("holds", ", ".join(f"{h.name} {h.version}" for h in holds) or "none installed")


def check_shared_files(snapshot: Snapshot) -> Iterator[Finding]:
    """No two packages own one file with different contents: the last one installed has won."""
    shared = _shared(snapshot)
    for (one, other), paths in sorted(shared.items()):
        code = [path for path in paths if path.endswith(_CODE)]
        names = ", ".join(path.rpartition("site-packages/")[2] for path in (code or paths)[:_SHOWN])
        kind = problem if code else warning
        yield kind(
            "shared files",
            f"{one} and {other} both own {len(paths)} files with different contents ({names})",
            _how_to_separate(snapshot, one, other),
        )
    if not shared:
        yield fine("shared files", "no file belongs to two packages")


def _how_to_separate(snapshot: Snapshot, one: NormalizedName, other: NormalizedName) -> str:
    """How to keep one of two packages; never tells anyone to uninstall a held one."""
    held = [name for name in (one, other) if snapshot.holds.covers(name)]
    if len(held) == 2:
        return (
            "Both are held. Decide which one to keep, and remove the other from `hold` and from "
            "what is declared; `reconciler doctor` then says how to remove it."
        )
    if held:
        kept, unwanted = held[0], other if held[0] == one else one
        return (
            f"Keep {kept}, which is held. Remove {unwanted} from what is declared, and let "
            f"`prune = true` remove it; or run `uv pip uninstall {unwanted}`, which deletes the "
            f"shared files, and then `reconciler hold restore {kept}`."
        )
    return (
        "Keep only one of them: remove the other from what is declared, run "
        f"`uv pip uninstall {one} {other}`, and let `reconciler apply` install the right one again."
    )


def _shared(snapshot: Snapshot) -> dict[tuple[NormalizedName, NormalizedName], list[str]]:
    first: dict[str, tuple[NormalizedName, str | None]] = {}
    shared: dict[tuple[NormalizedName, NormalizedName], list[str]] = defaultdict(list)
    for distribution in snapshot.installed.distributions.values():
        for file in _files(distribution):
            name, digest = first.setdefault(file.path, (distribution.name, file.hash))
            if name != distribution.name and digest != file.hash:
                pair = sorted((name, distribution.name))
                shared[pair[0], pair[1]].append(file.path)
    return shared


def _files(distribution: Distribution) -> Iterator[RecordedFile]:
    try:
        files = distribution.files() if not distribution.legacy else ()
    except (OSError, ValueError):
        return  # broken, and reported as such
    yield from (file for file in files if not file.is_bytecode)
