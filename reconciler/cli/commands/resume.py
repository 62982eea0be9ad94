"""`reconciler resume`: ends a pause, or the suspension after a rollback."""

import click

from reconciler.cli.command import Command
from reconciler.cli.direct import direct
from reconciler.cli.json_output import Standing
from reconciler.cli.options import Options
from reconciler.cli.reach import refuse_claimed, served
from reconciler.cli.targets import chosen, configuration
from reconciler.cli.terminal.output import Output
from reconciler.journal.suspension import resumed


@click.command(
    cls=Command,
    examples=(("reconciler resume", "look after the environment again, from now on"),),
    exit_codes="0; 1 for an error.",
)
@click.pass_obj
def resume(options: Options) -> int:
    """Manage the environment again, after a pause or a rollback."""
    config = configuration(options)
    target = chosen(config, options)
    output = Output(options)
    service = served(config, target)
    if service is not None:
        number = service.client.ask(service.name, "resume")
        words = f"pass {number} looks at it now"
    else:
        refuse_claimed(config, target)
        with direct(config, target) as hands:
            hands.change(resumed)
        words = "no service runs: `reconciler apply` brings it to what is declared"
    output.json(Standing(environment=target.name, suspension=None))
    output.say(f"{target.name} is looked after again; {words}.")
    return 0
