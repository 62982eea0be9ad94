"""The `reconciler` command: which commands there are, and how each run of one ends.

Imports a command's module only when it is asked for.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn, cast

import click
from click.shell_completion import CompletionItem

from reconciler import __version__
from reconciler.cli.nearest import nearest
from reconciler.cli.options import Options
from reconciler.cli.shared_options import common_options

COMMANDS = {
    "run": "Run the service in the foreground.",
    "check": "Say whether the environment is as declared.",
    "plan": "Show what would change, and what is held back.",
    "apply": "Bring the environment to what is declared, now.",
    "status": "Show the service's status.",
    "history": "Show past passes and kept generations, or one pass in full.",
    "rollback": "Go back to an earlier tree.",
    "pause": "Leave the environment alone for a while.",
    "resume": "Manage the environment again, after a pause or a roll-back.",
    "trigger": "Ask the service for a pass now.",
    "hold": "Show held packages, put a broken one back, or accept what is there.",
    "doctor": "Find what could stand in the way, each with its mend.",
    "demo": "Show what this is for, on a throw-away environment.",
    "service": "Install, remove or show the systemd service.",
    "completion": "Print the completion script for SHELL: bash, zsh or fish.",
}
"""Name to what `--help` says of it; each lives in the module of its name."""

INTERRUPTED = 130
ERROR = 1


class RootGroup(click.Group):
    """All commands, each loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order of the table."""
        _ = ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one."""
        _ = ctx
        if cmd_name not in COMMANDS:
            return None
        return cast(
            "click.Command", getattr(import_module(f"reconciler.cli.commands.{cmd_name}"), cmd_name)
        )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but a mistyped name is answered with the nearest one."""
        name = args[0]
        if not name.startswith("-") and name not in COMMANDS and not ctx.resilient_parsing:
            ctx.fail(f"There is no command {name!r}. {nearest(name, COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, without loading them."""
        _ = ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Likewise."""
        found = [
            CompletionItem(name, help=words)
            for name, words in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return found if not incomplete.startswith("-") else super().shell_complete(ctx, incomplete)


@click.group(
    cls=RootGroup,
    params=common_options(
        ("config", "pyproject", "python", "environment", "json", "quiet", "verbose")
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 92},
    epilog="`reconciler COMMAND --help` says more, with examples. Start with `reconciler demo`.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def reconciler(context: click.Context) -> None:
    """Keep a Python environment equal to its pyproject.toml; never touch the GPU build of torch.

    Without a configuration it is about ./pyproject.toml, and $VIRTUAL_ENV or the .venv beside
    it. The options below may also follow the command.
    """
    options = context.ensure_object(Options)
    places = {
        name: str(path)
        for name in ("config", "pyproject", "python")
        if (path := getattr(options, name)) is not None
    }
    # The service's commands have options of their own for these.
    context.default_map = {"service": {"install": places, "show": places}}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end the process with its exit status."""
    sys.exit(status_of(arguments))


def status_of(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. 1 for any error, that of usage included.

    (2, which click takes for usage errors, means drift or changes here.)
    """
    try:
        status: Any = reconciler.main(arguments, prog_name="reconciler", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return ERROR
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except Exception as error:
        from reconciler.cli.terminal.failure import words_of  # noqa: PLC0415 -- only once something failed

        words = words_of(error)
        if words is None:
            raise
        click.echo(f"Error: {words}", err=True)
        return ERROR
    return status if isinstance(status, int) else 0
