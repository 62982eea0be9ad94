"""`reconciler completion`: prints the script that completes commands, options and names."""

import click
from click.shell_completion import get_completion_class

from reconciler.cli.command import Command

_VARIABLE = "_RECONCILER_COMPLETE"


@click.command(
    cls=Command,
    takes=(),
    examples=(
        ('eval "$(reconciler completion bash)"', "in ~/.bashrc"),
        ('eval "$(reconciler completion zsh)"', "in ~/.zshrc"),
        ("reconciler completion fish | source", "in ~/.config/fish/config.fish"),
    ),
    exit_codes="0.",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print the completion script for SHELL: bash, zsh or fish."""
    kind = get_completion_class(shell)
    root = context.find_root().command
    if kind is None:  # pragma: no cover -- the choice allows only what click knows
        raise click.ClickException(f"There is no completion for {shell}.")
    # Not `.source()`, which starts a bash to read its version.
    script = kind(root, {}, "reconciler", _VARIABLE)
    click.echo(script.source_template % script.source_vars())
    return 0
