"""The `reconciler` command: lists the commands, runs one, and returns its exit status.

A command's module is only imported when it runs.
"""

import gc
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NoReturn, cast

import click
from click.shell_completion import CompletionItem

from reconciler import __version__
from reconciler.cli.nearest import nearest
from reconciler.cli.shared_options import common_options

COMMANDS = {
    "run": "Run the service in the foreground.",
    "check": "Check whether the environment is as declared.",
    "plan": "Show what would change, and what is held back.",
    "apply": "Make the environment match what is declared, now.",
    "status": "Show the service's status.",
    "history": "Show past passes and kept generations, or one pass in full.",
    "rollback": "Go back to an earlier tree.",
    "pause": "Leave the environment alone for a while.",
    "resume": "Manage the environment again, after a pause or a rollback.",
    "trigger": "Ask the service for a pass now.",
    "hold": "Show held packages, restore a broken one, or accept what is installed.",
    "vault": "List, export, import and prune the copies of held packages.",
    "doctor": "Find anything that could get in the way, and say how to fix it.",
    "demo": "Show what Reconciler is for, on a throw-away environment.",
    "service": "Install, remove or show the systemd service.",
    "completion": "Print the completion script for SHELL: bash, zsh or fish.",
}
"""Name to its line in `--help`; each command lives in the module of the same name."""

INTERRUPTED = 130
ERROR = 1


class RootGroup(click.Group):
    """All commands, each loaded when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        _ = ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        _ = ctx
        if cmd_name not in COMMANDS:
            return None
        with _uncollected():
            module = import_module(f"reconciler.cli.commands.{cmd_name}")
        return cast("click.Command", getattr(module, cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Do what click does, but suggest the nearest name for a mistyped one."""
        name = args[0]
        if not name.startswith("-") and name not in COMMANDS and not ctx.resilient_parsing:
            ctx.fail(f"There is no command {name!r}. {nearest(name, COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without loading them."""
        _ = ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete command names from the table, without loading them."""
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
    epilog="`reconciler COMMAND --help` has details and examples. Start with `reconciler demo`.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def reconciler(context: click.Context) -> None:
    """Keep a Python environment equal to its pyproject.toml; never touch the GPU build of torch.

    Without a configuration, commands work on ./pyproject.toml, and on $VIRTUAL_ENV or the .venv
    beside it. The options below may also come after the command.
    """
    from reconciler.cli.options import Options  # noqa: PLC0415 -- not for `--help`

    options = context.ensure_object(Options)
    places = {
        name: str(path)
        for name in ("config", "pyproject", "python")
        if (path := getattr(options, name)) is not None
    }
    # The `service` commands have their own options for these.
    context.default_map = {"service": {"install": places, "show": places}}


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leave what is imported to no garbage collection, now or later: it stays until the end.

    Collecting costs a fifth of the processor time of a command that starts, imports and ends.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end the process with its exit status."""
    sys.exit(status_of(arguments))


def status_of(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 1 for any error, including wrong usage.

    (click uses 2 for wrong usage, which means drift or changes here.)
    """
    try:
        status: Any = reconciler.main(arguments, prog_name="reconciler", standalone_mode=False)
    except click.ClickException as error:
        _show(error)
        return ERROR
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except Exception as error:  # noqa: BLE001 -- Python would print it with control characters
        import traceback  # noqa: PLC0415 -- only once something failed

        from reconciler.cli.logs import silence_default_log  # noqa: PLC0415
        from reconciler.cli.terminal.failure import words_of  # noqa: PLC0415 -- only once something failed
        from reconciler.cli.terminal.output import complain  # noqa: PLC0415

        silence_default_log()
        words = words_of(error)
        # A defect is shown with its traceback, without the values of local variables.
        complain(f"Error: {words}" if words else traceback.format_exc().rstrip("\n"))
        return ERROR
    return status if isinstance(status, int) else 0


def _show(error: click.ClickException) -> None:
    """Show what click would show, with its lines broken between words."""
    from reconciler.cli.terminal.output import complain  # noqa: PLC0415 -- only once something failed

    shown = io.StringIO()
    error.show(shown)
    complain(shown.getvalue().rstrip("\n"))
