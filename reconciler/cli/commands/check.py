"""`reconciler check`: is the environment as declared? Changes nothing."""

import os
from collections.abc import Sequence

import click

from reconciler.cli.command import Command
from reconciler.cli.json_output import Check, check_of
from reconciler.cli.opening import holds_seen, opened, refuse_interrupted
from reconciler.cli.options import Options
from reconciler.cli.targets import chosen, configuration
from reconciler.cli.terminal.changes import places_shown
from reconciler.cli.terminal.hold_table import show_broken_holds
from reconciler.cli.terminal.output import BAD, DOUBT, GOOD, QUIET, Output, complain
from reconciler.environment.absent import snapshot_of_nothing
from reconciler.status import Hold, Package, PackageStatus

IN_SYNC, ERROR, DRIFT = 0, 1, 2

_MARKS = {
    PackageStatus.OK: GOOD,
    PackageStatus.HELD: GOOD,
    PackageStatus.HELD_MISMATCH: DOUBT,
    PackageStatus.HELD_MISSING: DOUBT,
}
_FIXABLE = (PackageStatus.MISSING, PackageStatus.MISMATCH, PackageStatus.BROKEN)


@click.command(
    cls=Command,
    examples=(
        ("reconciler check", "the project in this folder"),
        ("reconciler check --verbose", "every package, not only those that are wrong"),
        ("reconciler check --json | jq .in_sync", "for scripts"),
    ),
    exit_codes="0 in sync, 2 drift, 1 error (such as a project file that cannot be read).",
)
@click.pass_obj
def check(options: Options) -> int:
    """Check whether the environment is as declared.

    Compares what the project declares with what is installed, including dependencies of
    dependencies. Also checks that no installed file is missing and that every held package is
    intact. Needs no service, no network and no uv, and changes nothing.
    """
    config = configuration(options)
    target = chosen(config, options)
    output = Output(options)
    environment = opened(config, target)
    refuse_interrupted(environment)
    if environment.exists:
        snapshot = environment.look(audit_files=True)
    else:
        snapshot = snapshot_of_nothing(target, os.environ, environment.store)
        output.say(
            f"{target.name}: there is no environment at {target.python} yet. Compared for Python "
            f"{snapshot.interpreter.version}, which runs this command."
        )
    document = check_of(target, snapshot, holds_seen(config, environment, snapshot))
    output.json(document)
    _show(document, output)
    if document.problem is not None:
        return ERROR
    return IN_SYNC if document.in_sync else DRIFT


def _show(document: Check, output: Output) -> None:
    if document.problem is not None:
        complain(f"Error: {document.problem.with_line()}")
    wrong = [p for p in document.packages if not p.ok]
    shown = document.packages if output.options.verbose else wrong
    if shown:
        show_packages(shown, document.holds, output)
    show_broken_holds(document.holds, output)
    for warning in document.warnings:
        output.say(warning, DOUBT)
    _conclude(document, output, wrong)


def show_packages(packages: Sequence[Package], holds: Sequence[Hold], output: Output) -> None:
    """Show the package table, and below it the reasons that the table does not show.

    Args:
        packages: the rows.
        holds: the holds; broken ones are explained elsewhere.
        output: where to print it.
    """
    output.table(
        ("Package", "Required", "Installed", "Status"),
        [(p.name, p.required, p.installed, p.status) for p in packages],
        [_MARKS.get(p.status, BAD) for p in packages],
    )
    explained = _broken(holds)
    for package in packages:
        told = package.ok or package.name in explained or package.message == "not installed"
        if package.message and not told:
            output.say(f"{package.name}: {package.message}")
        if output.options.verbose and len(package.origins) > 1:
            output.say(f"{package.name}: declared in {places_shown(package.origins)}", QUIET)


def _broken(holds: Sequence[Hold]) -> set[str]:
    return {hold.name for hold in holds if not hold.intact}


def _conclude(document: Check, output: Output, wrong: list[Package]) -> None:
    declared = [p for p in document.packages if p.required_by is None]
    met = sum(p.ok for p in declared)
    counts = f"{met} of {len(declared)} requirements satisfied, {len(document.holds)} held"
    if document.problem is not None:
        if document.packages:
            output.say(f"For its last good state: {counts}.", DOUBT)
        return
    if document.in_sync:
        output.say(f"{document.environment} is in sync: {counts}.", GOOD)
        return
    output.say(f"{document.environment} is not as declared: {counts}.", BAD, bold=True)
    broken = _broken(document.holds)
    if any(p.status in _FIXABLE and p.name not in broken for p in wrong):
        output.say("`reconciler plan` shows what would change; `reconciler apply` fixes it.", QUIET)
