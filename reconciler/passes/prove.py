"""Checks that a changed tree may go live: files, dependencies, holds, imports, verify commands.

Only looks, and runs the configured commands inside the tree: either a stage, which is a virtual
environment itself (uv-facts 13b), or the live tree while its old files are still aside.
"""

import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from packaging.utils import NormalizedName

from reconciler.config import Build
from reconciler.environment.interpreter import QUERY_TIMEOUT_SECONDS
from reconciler.environment.snapshot import Snapshot
from reconciler.log.logger import get_logger
from reconciler.log.redact import redact
from reconciler.passes.proving import ImportProof
from reconciler.passes.running import Pass
from reconciler.planning.decision import Decision
from reconciler.processes import Cancellation, Ended, NotStarted, Program, TookTooLong, run
from reconciler.state.adjustments import Adjustments
from reconciler.state.drift import diff
from reconciler.state.holds import hold_set
from reconciler.state.installed import Installed, InstalledReader, MetadataCache, audit, defect_of
from reconciler.state.rows import Drift
from reconciler.state.scripts import starts_python
from reconciler.state.unseen import unseen_of, with_held
from reconciler.state.words import message_of
from reconciler.status import ExpectedEnd, Reason
from reconciler.trees.fingerprints import Fingerprints, fingerprints
from reconciler.trees.tree import Tree
from reconciler.uv.program import Planned

log = get_logger(__name__)

_KEPT_OUTPUT = 20_000
_SHOWN = 200


class VerifyFailed(ExpectedEnd):
    """The stage must not go live; `output` is what a command printed."""

    def __init__(self, reason: Reason, message: str, output: str = "") -> None:
        super().__init__(message, reason=reason)
        self.output = output


def read_tree(snapshot: Snapshot, tree: Path, metadata: MetadataCache | None = None) -> Installed:
    """The installed state of a tree that mirrors the environment.

    Held packages that uv does not see are the same there: no pass changes them.

    Args:
        snapshot: The environment.
        tree: A stage or a generation.
        metadata: Metadata that is already parsed.
    """
    found, unseen = read_folders(snapshot, tree, metadata), unseen_of(snapshot.installed)
    return with_held(found, unseen, snapshot.holds.patterns, snapshot.markers)


def read_folders(
    snapshot: Snapshot, tree: Path, metadata: MetadataCache | None = None
) -> Installed:
    """The same without those, as for what uv prepared."""
    prefix = snapshot.interpreter.prefix
    folders = [tree / d.relative_to(prefix) for d in snapshot.interpreter.site_directories]
    return InstalledReader(folders, metadata).read()


def prove(
    running: Pass,
    snapshot: Snapshot,
    decision: Decision,
    tree: Tree,
    held: Fingerprints,
    imports: ImportProof,
) -> Installed:
    """Check a changed tree, and return what is installed in it.

    Args:
        running: The pass.
        snapshot: The environment before.
        decision: The planned changes.
        tree: The changed tree.
        held: The fingerprints of the held files before.
        imports: Tries what the change could break.

    Raises:
        VerifyFailed: It must not go live.
        ImportsBroken: Something can no longer be imported.
        Cancelled: The pass was asked to end.
    """
    metadata = running.environment.metadata
    found = read_tree(snapshot, tree.folder, metadata)
    check_packages(found, decision.install, decision.remove)
    broken = {n: why for n, why in snapshot.broken.items() if n not in decision.install}
    failing = [NormalizedName(failure.name) for failure in decision.failed]
    drift = staged_drift(snapshot, found, broken)
    check_consistency(snapshot, drift, failing, decision.install)
    imports.check(decision, tree, found)
    if running.environment.config.verify:
        check_holds(tree.held_files, held, tree.folder)  # otherwise the commands would be blamed
        whole = audit(found)
        _run_verify_commands(running, tree)
        check_holds(tree.held_files, held, tree.folder, commands_ran=True)
        check_untouched(found, whole, read_tree(snapshot, tree.folder, metadata))
    return found


def check_starts(running: Pass, snapshot: Snapshot, tree: Path) -> None:
    """Check that the interpreter of a changed tree starts.

    Raises:
        VerifyFailed: It does not.
        Cancelled: The pass was asked to end.
    """
    why = why_not_starting(running, snapshot, tree)
    if why is not None:
        raise VerifyFailed(
            Reason.VERIFY_FAILED,
            f"the interpreter of the new tree {why}, so the old tree stays. Find out which of the "
            "new packages stops Python when it starts (look for a .pth file), and take it out of "
            "the requirements.",
        )


def why_not_starting(running: Pass, snapshot: Snapshot, tree: Path) -> str | None:
    """Why the interpreter of this tree does not start as that of an environment, or None.

    It starts as every program of the environment does: with the `.pth` files of the packages,
    unless `build = "never"` keeps their code from running.

    Raises:
        Cancelled: The pass was asked to end.
    """
    interpreter = snapshot.interpreter
    if interpreter.is_venv and not (tree / "pyvenv.cfg").is_file():
        return "has no pyvenv.cfg"
    executable = interpreter.executable
    alone = ["-S"] if running.environment.config.build is Build.NEVER else []
    python = tree / executable.parent.name / executable.name
    program = Program(
        [python, "-I", "-B", *alone, "-c", "pass"],
        environ=running.environment.environ,
        folder=Path("/"),
    )
    try:
        ended = run(program, limit=QUERY_TIMEOUT_SECONDS, cancel=running.cancel)
    except (NotStarted, TookTooLong) as error:
        return f"does not start ({redact(str(error))})"
    if ended.status != 0:
        said = redact(ended.err.strip().rpartition("\n")[2][:_SHOWN])
        return f"ends at once, with status {ended.status}" + (f" ({said})" if said else "")
    return None


def _run_verify_commands(running: Pass, tree: Tree) -> None:
    config = running.environment.config
    run_commands(
        config.verify, tree.folder, running.environment.environ, config.verify_timeout,
        running.cancel, running.log.add,
    )  # fmt: skip
    log.info("verify.passed", commands=len(config.verify))


def check_packages(
    staged: Installed,
    install: Mapping[NormalizedName, Planned],
    remove: Iterable[NormalizedName],
) -> None:
    """Check that planned packages are there and complete, and that removed ones are gone.

    Raises:
        VerifyFailed: They are not.
    """
    for name, planned in install.items():
        found = staged.get(name)
        if found is None:
            raise VerifyFailed(
                Reason.INCOMPLETE_STAGE, f"{name} is missing from the stage. Try again."
            )
        if planned.version is not None and found.version != planned.version:
            message = f"{name} {found.version} was installed, but {planned.version} was planned."
            raise VerifyFailed(Reason.NOT_AS_PLANNED, message)
        commit = found.direct_url.commit if found.direct_url else None
        if planned.commit is not None and commit != planned.commit:
            message = (
                f"{name} was planned at commit {planned.commit}, but the requested revision now "
                f"points to {commit}. The pass is retried."
            )
            raise VerifyFailed(Reason.NOT_AS_PLANNED, message)
        defect = defect_of(found, staged)
        if defect:
            raise VerifyFailed(
                Reason.INCOMPLETE_STAGE, f"{name} {found.version}: {defect}. Try again."
            )
    for name in remove:
        if staged.get(name) is not None:
            raise VerifyFailed(Reason.INCOMPLETE_STAGE, f"{name} is still in the stage. Try again.")


def staged_drift(
    snapshot: Snapshot, staged: Installed, broken: Mapping[NormalizedName, str]
) -> Drift:
    """How the stage differs from what is declared."""
    if snapshot.desired is None:
        return Drift(())
    held = snapshot.holds
    holds = hold_set(held.patterns, staged, snapshot.markers, held.closure)
    adjustments = Adjustments.of(snapshot.settings)
    return diff(snapshot.desired, staged, holds, broken, snapshot.markers, adjustments)


def check_consistency(
    snapshot: Snapshot,
    drift: Drift,
    expected: Iterable[NormalizedName],
    install: Iterable[NormalizedName] = (),
) -> None:
    """Check that nothing in the stage is worse than before, except what is reported anyway.

    Args:
        snapshot: The current environment.
        drift: How the stage differs from what is declared.
        expected: The packages that are reported as failed.
        install: The packages just installed: their requirements must be satisfied.

    Raises:
        VerifyFailed: A requirement that was satisfied no longer is.
    """
    known = {row.name for row in snapshot.drift.rows if not row.ok} | set(expected)
    parents = known - (set(install) - set(expected))
    worse = [
        row for row in drift.drifted if row.name not in known and row.required_by not in parents
    ]
    if worse:
        words = "; ".join(f"{row.name}: {message_of(row)}" for row in worse[:5])
        raise VerifyFailed(
            Reason.INCONSISTENT_STAGE,
            f"the packages in the new tree do not fit together ({words}). The old tree stays; "
            "check these packages, or pin them.",
        )


def check_holds(
    held_files: Iterable[str], before: Fingerprints, folder: Path, *, commands_ran: bool = False
) -> None:
    """Check that every file of every held package is unchanged: the same inode, the same bytes.

    Raises:
        VerifyFailed: A file differs.
    """
    after = fingerprints(held_files, folder)
    if after == before:
        return
    changed = sorted(p for p in {*before, *after} if before.get(p) != after.get(p))
    fix = "Find out which package brings them, and remove it from the requirements."
    if commands_ran:
        fix = "Correct `verify`: a verify command must not change what it checks."
    raise VerifyFailed(
        Reason.HOLD_VIOLATION,
        f"files of a held package would change ({', '.join(changed[:3])}), so nothing went live. "
        f"{fix}",
    )


def check_untouched(
    before: Installed, whole: Mapping[NormalizedName, str], after: Installed
) -> None:
    """Check that the verify commands did not change the packages in the stage.

    Args:
        before: The packages in the stage before.
        whole: The packages that were already broken then.
        after: The packages in the stage now.

    Raises:
        VerifyFailed: A package was added, removed or lost files.
    """
    names = {*before.distributions, *after.distributions}
    changed = {name for name in names if before.version(name) != after.version(name)}
    changed |= set(audit(after)) - set(whole)
    if changed:
        raise VerifyFailed(
            Reason.VERIFY_FAILED,
            f"the verify commands changed packages in the stage ({', '.join(sorted(changed)[:3])})"
            ", so the old tree stays. Correct `verify`: only planned changes may go live.",
        )


def run_commands(
    commands: Iterable[tuple[str, ...]],
    tree: Path,
    environ: Mapping[str, str],
    timeout: float,
    cancel: Cancellation,
    said: Callable[[str], None],
) -> None:
    """Run the configured commands inside the stage, one after another.

    Args:
        commands: Each as a list of words; `python` and scripts are the stage's.
        tree: The stage.
        environ: The variables to start from.
        timeout: Seconds for each command.
        cancel: Ends a running command.
        said: Gets the output of each command, below its command line, even if it failed.

    Raises:
        VerifyFailed: One failed, took too long, or could not be started.
    """
    inside = {k: v for k, v in environ.items() if k not in ("PYTHONHOME", "PYTHONPATH")}
    inside |= {
        "VIRTUAL_ENV": str(tree),
        "PATH": f"{tree / 'bin'}{os.pathsep}{environ.get('PATH', os.defpath)}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for command in commands:
        shown = shlex.join(command)
        try:
            program = Program(_in_stage(command, tree), environ=inside, folder=tree, merged=True)
            output = _run_one(program, shown, timeout, cancel)
        except VerifyFailed as failed:
            said(f"$ {shown}\n{failed.output}\n{failed.message}\n")
            raise
        said(f"$ {shown}\n{output}")


def _in_stage(command: tuple[str, ...], tree: Path) -> list[str]:
    """The command with the stage's own programs; its scripts would start the live interpreter."""
    program = tree / "bin" / command[0]
    if "/" in command[0] or not program.exists():
        return list(command)
    by_python = starts_python(program)
    start = [str(tree / "bin" / "python"), str(program)] if by_python else [str(program)]
    return [*start, *command[1:]]


def _run_one(program: Program, shown: str, timeout: float, cancel: Cancellation) -> str:
    try:
        ended = run(program, limit=timeout, cancel=cancel, keep=_KEPT_OUTPUT)
    except NotStarted as error:
        message = f"the verify command `{shown}` does not start ({error}). Correct `verify`."
        raise VerifyFailed(Reason.VERIFY_FAILED, message) from error
    except TookTooLong as error:
        raise _not_fit(shown, f"took longer than {error.limit:.0f} s", error.ended) from error
    if ended.status != 0:
        raise _not_fit(shown, f"exited with {ended.status}", ended)
    return _printed_by(ended)


def _not_fit(shown: str, how: str, ended: Ended) -> VerifyFailed:
    return VerifyFailed(
        Reason.VERIFY_FAILED,
        f"the verify command `{shown}` {how}, so the old tree stays. `reconciler history ID` "
        "shows what it printed.",
        _printed_by(ended),
    )


def _printed_by(ended: Ended) -> str:
    """The output; of a long one the head and the tail."""
    return redact(ended.out)
