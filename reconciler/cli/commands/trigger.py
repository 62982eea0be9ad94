"""`reconciler trigger`: asks the service for a pass now."""

import click

from reconciler.cli.asking import show_outcome
from reconciler.cli.command import Command
from reconciler.cli.options import Options
from reconciler.cli.reach import required
from reconciler.cli.targets import chosen, configuration
from reconciler.cli.terminal.output import Output
from reconciler.daemon.requests import Reconcile


@click.command(
    cls=Command,
    examples=(
        ("reconciler trigger", "look now, and fix what has drifted"),
        ("reconciler trigger --apply", "even if it is paused or only observed"),
        ("reconciler trigger --no-wait", "return at once"),
    ),
    exit_codes="0; 1 for an error, or if the pass or a package failed.",
)
@click.option(
    "--apply",
    "forced",
    is_flag=True,
    help="Change things this once, even if the environment is paused, rolled back or only "
    "observed, outside the maintenance windows, or used by running jobs.",
)
@click.option("--reason", metavar="TEXT", help="Why, for the history and the log.")
@click.option("--wait/--no-wait", default=True, help="Whether to wait until the pass is done.")
@click.pass_obj
def trigger(options: Options, *, forced: bool, reason: str | None, wait: bool) -> int:
    """Ask the service for a pass now.

    Without a service, `reconciler apply` runs one itself.
    """
    config = configuration(options)
    served = required(config, chosen(config, options))
    output = Output(options)
    number = served.client.ask(served.name, Reconcile(apply=forced, reason=reason))
    if not wait:
        output.json({"environment": served.name, "pass": number})
        output.say(f"{served.name}: pass {number} will do it; see `reconciler history {number}`.")
        return 0
    return show_outcome(served, number, output)
