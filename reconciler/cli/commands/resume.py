"""`reconciler resume`: ends a pause, or the suspension after a rollback."""

import click

from reconciler.cli.command import Command
from reconciler.cli.direct import direct
from reconciler.cli.json_output import Standing
from reconciler.cli.options import Options
from reconciler.cli.reach import refuse_claimed, served
from reconciler.cli.targets import chosen, configuration
from reconciler.cli.terminal.output import Output
from reconciler.daemon.requests import Resume


@click.command(
    cls=Command,
    examples=(("reconciler resume", "manage the environment again, from now on"),),
    exit_codes="0; 1 for an error.",
)
@click.option("--reason", metavar="TEXT", help="Why, for the history and the log.")
@click.pass_obj
def resume(options: Options, *, reason: str | None) -> int:
    """Manage the environment again, after a pause or a rollback."""
    config = configuration(options)
    target = chosen(config, options)
    output = Output(options)
    service = served(config, target)
    if service is not None:
        number = service.client.ask(service.name, Resume(reason=reason))
        words = f"pass {number} looks at it now"
    else:
        refuse_claimed(config, target)
        with direct(config, target) as local:
            local.resume(reason)
        words = "no service runs: `reconciler apply` brings it to what is declared"
    output.json(Standing(environment=target.name, suspension=None))
    output.say(f"{target.name} is managed again; {words}.")
    return 0
