"""`reconciler rollback`: makes an earlier tree live again."""

import click
from click.shell_completion import CompletionItem

from reconciler.cli.asking import exit_status, show_outcome
from reconciler.cli.command import Command
from reconciler.cli.direct import direct, recovered
from reconciler.cli.logs import configure_log
from reconciler.cli.opening import opened
from reconciler.cli.options import Options
from reconciler.cli.reach import refuse_claimed, refuse_observed, served
from reconciler.cli.targets import chosen, configuration
from reconciler.cli.terminal.output import QUIET, Output
from reconciler.cli.terminal.passes import show_pass
from reconciler.cli.terminal.progress import following
from reconciler.daemon.requests import Rollback
from reconciler.passes.rollback import choose
from reconciler.trees import generations


def _complete(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    options = context.find_object(Options) or Options()
    try:
        config = configuration(options)
        kept = generations.kept(opened(config, chosen(config, options)).workspace)
    except Exception:  # noqa: BLE001 -- completion stays silent on any error
        return []
    return [CompletionItem(str(g.number)) for g in kept if str(g.number).startswith(incomplete)]


@click.command(
    cls=Command,
    examples=(
        ("reconciler rollback", "to the tree that the live one replaced"),
        ("reconciler rollback 4", "to generation 4; `reconciler history` lists them"),
        ("reconciler resume", "apply the files again"),
    ),
    exit_codes="0; 1 for an error.",
)
@click.argument("generation", type=click.IntRange(min=0), required=False, shell_complete=_complete)
@click.option("--reason", metavar="TEXT", help="Why, for the history and the log.")
@click.option("--force", is_flag=True, help="Even if the environment is only observed.")
@click.pass_obj
def rollback(options: Options, *, generation: int | None, reason: str | None, force: bool) -> int:
    """Go back to an earlier tree.

    Goes to GENERATION, or to the tree that the live one replaced. Works offline, by exchanging
    whole trees; held, editable and local packages are as they were then. The environment is
    left alone until the project's files change or someone resumes.
    """
    configure_log(options)
    config = configuration(options)
    target = chosen(config, options)
    output = Output(options)
    service = served(config, target)
    if not force:
        refuse_observed(target, service)
    if service is not None:
        number = service.client.ask(
            service.name, Rollback(generation=generation, reason=reason, apply=True)
        )
        status = show_outcome(service, number, output)
    else:
        recovered(config, target)
        refuse_claimed(config, target)
        choose(opened(config, target).workspace, generation)
        with direct(config, target) as local, following(output, target.name) as follower:
            recorded = local.roll_back(generation, reason, follower)
        output.json(recorded.detail)
        show_pass(recorded.detail, target.name, output)
        status = exit_status(recorded.detail)
    if status == 0:
        output.say(
            "Left alone until the project's files change or you run `reconciler resume`.", QUIET
        )
    return status
