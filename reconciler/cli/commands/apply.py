"""`reconciler apply`: one pass now, without the service."""

import click

from reconciler.cli.command import Command
from reconciler.cli.direct import direct, recovered
from reconciler.cli.logs import configure_log
from reconciler.cli.options import Options
from reconciler.cli.targets import chosen, configuration
from reconciler.cli.terminal.output import DOUBT, Output, complain
from reconciler.cli.terminal.passes import show_pass
from reconciler.cli.terminal.progress import following
from reconciler.passes.runner import Recorded
from reconciler.state.words import message_of

NOTHING, ERROR, CHANGED, FAILED = 0, 1, 2, 4


@click.command(
    cls=Command,
    examples=(
        ("reconciler apply", "the project in this folder"),
        ("reconciler apply --json --detailed-exitcode", "for scripts"),
        ("reconciler apply --force", "even while it is paused or in use"),
    ),
    exit_codes="0; 1 for an error or if a package failed; 130 after Ctrl-C. With "
    "--detailed-exitcode: 0 nothing to do, 2 changed, 4 some packages failed, 6 both, 1 error.",
)
@click.option("--detailed-exitcode", is_flag=True, help="Let the exit status say what was done.")
@click.option(
    "--force",
    is_flag=True,
    help="Apply even if the environment is paused, rolled back or only observed, outside the "
    "maintenance windows, or used by running jobs.",
)
@click.option("--reason", metavar="TEXT", help="Why, for the history and the log.")
@click.pass_obj
def apply(options: Options, *, detailed_exitcode: bool, force: bool, reason: str | None) -> int:
    """Make the environment match what is declared, now.

    Runs one pass: plan around the holds, install into a stage, check it, and exchange it with
    the live tree. Creates the environment if there is none. A package that cannot be installed
    is reported; the others are installed anyway. Needs no service; a running one waits.

    Ctrl-C stops it at any time and leaves the installed packages as they were, even where
    changes are made in place; once the new tree has gone live, the pass completes. After
    kill -9, the next pass finishes or undoes the interrupted change.
    """
    configure_log(options)
    config = configuration(options)
    target = chosen(config, options)
    output = Output(options)
    recovered(config, target)
    with direct(config, target) as local:
        if not force:
            local.refuse_suspended()
        with following(output, target.name) as follower:
            recorded = local.reconcile(follower, force=force, reason=reason)
    output.json(recorded.detail)
    problem = recorded.outcome.snapshot.unclear if recorded.outcome else None
    if problem is not None:  # what has been applied is not what was saved
        complain(f"Error: {problem.with_line()}")
    show_pass(recorded.detail, target.name, output)
    _show_rest(recorded, output)
    return _status(recorded, detailed=detailed_exitcode)


def _show_rest(recorded: Recorded, output: Output) -> None:
    """Show what no pass can fix: held packages not as declared, and why it was not atomic."""
    outcome = recorded.outcome
    if outcome is None:
        return
    failed = {failure.name for failure in outcome.failed}
    for row in outcome.snapshot.drift.rows:
        if not row.ok and row.name not in failed:
            output.say(f"{row.name}: {message_of(row)}", DOUBT)
    if outcome.message:
        output.say(outcome.message, DOUBT)
    if outcome.changes and outcome.atomic_reason:
        output.say(f"Changed in place, not atomically: {outcome.atomic_reason}.", DOUBT)


def _status(recorded: Recorded, *, detailed: bool) -> int:
    detail = recorded.detail
    bad_file = recorded.outcome is not None and recorded.outcome.snapshot.unclear is not None
    if recorded.trouble is not None or bad_file:
        return ERROR
    if not detailed:
        return ERROR if detail.failed else NOTHING
    return CHANGED * bool(detail.changes) + FAILED * bool(detail.failed)
