"""`reconciler pause`: leaves the environment alone, also after a restart."""

import click

from reconciler.cli.command import Command
from reconciler.cli.direct import direct
from reconciler.cli.durations import seconds_of
from reconciler.cli.json_output import Standing
from reconciler.cli.options import Options
from reconciler.cli.reach import refuse_claimed, required, served
from reconciler.cli.targets import chosen, configuration
from reconciler.cli.terminal.output import Output
from reconciler.daemon.requests import Pause
from reconciler.status import Suspension


@click.command(
    cls=Command,
    examples=(
        ("reconciler pause --reason 'long training run' --for 8h", "until tonight"),
        ("reconciler pause", "until `reconciler resume`"),
    ),
    exit_codes="0; 1 for an error.",
)
@click.option("--reason", metavar="TEXT", help="Why, for everyone who reads the status.")
@click.option(
    "--for",
    "duration",
    callback=seconds_of,
    metavar="DURATION",
    help="How long, such as 90s or 1h30m.",
)
@click.pass_obj
def pause(options: Options, *, reason: str | None, duration: float | None) -> int:
    """Leave the environment alone for a while.

    Drift is still detected and shown. A pass that is already running completes. Works without
    the service too: one that starts later respects it.
    """
    config = configuration(options)
    target = chosen(config, options)
    output = Output(options)
    service = served(config, target)
    if service is not None:
        service.client.ask(service.name, Pause(reason=reason, duration=duration))
        suspension = required(config, target).environment.suspension
    else:
        refuse_claimed(config, target)
        with direct(config, target) as local:
            state = local.pause(reason, duration)
        suspension = state.suspension
    output.json(Standing(environment=target.name, suspension=suspension))
    _show(target.name, suspension, output)
    return 0


def _show(name: str, suspension: Suspension | None, output: Output) -> None:
    if suspension is None:  # someone has resumed it in the meantime
        output.say(f"{name} is managed.")
        return
    until = f" until {suspension.until}" if suspension.until else ""
    output.say(f"{name} is left alone{until}: {suspension.reason}. `reconciler resume` ends that.")
