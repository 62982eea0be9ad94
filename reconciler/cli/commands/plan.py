"""`reconciler plan`: what a pass would change, and what the holds hold back. Changes nothing."""

from collections.abc import Iterator

import click

from reconciler.cli.command import Command
from reconciler.cli.interruptible import cancellable
from reconciler.cli.json_output import PlanDocument
from reconciler.cli.logs import configure_log
from reconciler.cli.opening import opened_or_blank, refuse_interrupted
from reconciler.cli.options import Options
from reconciler.cli.targets import chosen, configuration
from reconciler.cli.terminal.changes import show_changes, show_failures, show_held_back
from reconciler.cli.terminal.output import BAD, DOUBT, GOOD, QUIET, Output, complain
from reconciler.cli.terminal.progress import following
from reconciler.config import EnvironmentConfig, Proof
from reconciler.environment.environment import Environment
from reconciler.holds.standing import holds_found
from reconciler.passes import reconcile
from reconciler.passes.outcome import Listener, Outcome
from reconciler.passes.running import Pass
from reconciler.passes.sweeping import sweep
from reconciler.processes import Cancellation

DETAILED = "0 nothing to do, 2 changes, 4 some packages cannot be installed, 6 both, 1 error"


@click.command(
    cls=Command,
    examples=(
        ("reconciler plan", "the project in this folder"),
        ("reconciler plan --json | jq '.changes[].name'", "for scripts"),
    ),
    exit_codes=f"0; 1 for an error. With --detailed-exitcode: {DETAILED}.",
)
@click.option("--detailed-exitcode", is_flag=True, help="Let the exit status say what was found.")
@click.pass_obj
def plan(options: Options, *, detailed_exitcode: bool) -> int:
    """Show what would change, and what is held back.

    Plans around the held packages with a dry run of uv, just as a pass does, and says what only
    a pass can find out. Needs no service and changes nothing.
    """
    configure_log(options)
    config = configuration(options)
    target = chosen(config, options)
    output = Output(options)
    with (
        opened_or_blank(config, target, options) as environment,
        following(output, target.name, lines=False) as listener,
    ):
        outcome = cancellable(lambda cancel: _plan(environment, cancel, listener))
    document = _document(target, outcome)
    output.json(document)
    _show(document, output)
    if document.problem is not None:
        return 1
    detailed = 2 * bool(document.changes) + 4 * bool(document.failed)
    return detailed if detailed_exitcode else 0


def _plan(environment: Environment, cancel: Cancellation, listener: Listener) -> Outcome:
    refuse_interrupted(environment)  # while another pass ran, say
    workspace = environment.workspace
    workspace.create()
    # A pass that starts meanwhile would delete our work folder.
    with workspace.pass_lock(cancel, environment.config.timeout):
        outcome = reconcile.plan(Pass(environment, cancel, listener))
    sweep(environment)
    return outcome


def _document(target: EnvironmentConfig, outcome: Outcome) -> PlanDocument:
    """The document for a plan."""
    snapshot = outcome.snapshot
    return PlanDocument(
        environment=target.name,
        revision=snapshot.revision,
        changes=outcome.plan,
        failed=outcome.failed,
        held_back=tuple(entry.served() for entry in outcome.held_back or ()),
        holds=holds_found(snapshot),
        problem=snapshot.unclear,
        unknown=tuple(_unknown(target, outcome)),
        warnings=(outcome.message,) if outcome.message else (),
    )


def _unknown(target: EnvironmentConfig, outcome: Outcome) -> Iterator[str]:
    """What a plan cannot know, because nothing is built, installed or run for it."""
    if target.proof_in_effect is not Proof.OFF and any(change.from_ for change in outcome.plan):
        yield "Whether what changes, and what requires it, can still be imported shows in `apply`."
    if not any(change.to for change in outcome.plan):
        return
    yield (
        "Only `apply` finds out whether everything builds, and whether a new file would replace "
        "one of a held package."
    )
    if target.prune and not outcome.failed:
        yield "What `prune` removes is known once the new packages are there."
    if target.verify:
        yield "The verify commands only run in `apply`."


def _show(document: PlanDocument, output: Output) -> None:
    if document.problem is not None:
        complain(f"Error: {document.problem.with_line()}")
    show_changes(document.changes, output)
    show_held_back(document.held_back, output)
    show_failures(document.failed, output)
    for warning in document.warnings:
        output.say(warning, DOUBT)
    held = ", ".join(f"{hold.name} {hold.version}" for hold in document.holds)
    if held:
        output.say(f"Held, and never touched: {held}.")
    count = len(document.changes)
    if count:
        plural = "change" if count == 1 else "changes"
        output.say(f"{document.environment}: {count} {plural}. `reconciler apply` makes them.",
                   bold=True)  # fmt: skip
        for sentence in document.unknown:
            output.say(sentence, QUIET)
    elif document.failed:
        output.say(f"{document.environment}: nothing else to do.", BAD)
    else:
        output.say(f"{document.environment}: nothing to do.", GOOD)
