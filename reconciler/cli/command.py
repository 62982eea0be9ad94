"""A click command with the shared options, listed separately in its help."""

from collections.abc import Sequence
from typing import Any

import click

from reconciler.cli.shared_options import EVERYWHERE, common_options

_WIDTH = 92


class Command(click.Command):
    """One command.

    Args:
        takes: the shared options that it accepts.
        examples: command lines for its help, each with a description.
    """

    def __init__(
        self,
        *arguments: Any,
        takes: tuple[str, ...] = EVERYWHERE,
        examples: tuple[tuple[str, str], ...] = (),
        exit_codes: str = "",
        **keywords: Any,
    ) -> None:
        keywords.setdefault("context_settings", {"max_content_width": _WIDTH})
        super().__init__(*arguments, **keywords)
        self._common = common_options(takes)
        self.params.extend(self._common)
        self._examples = examples
        self._exit_codes = exit_codes

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write its own options first, then the shared ones."""
        shared = {id(option) for option in self._common}
        own = [
            p for p in self.get_params(ctx) if isinstance(p, click.Option) and id(p) not in shared
        ]
        _write(ctx, formatter, "Options", own)
        _write(ctx, formatter, "Common options", self._common)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples and exit codes."""
        _ = ctx
        if self._examples:
            with formatter.section("Examples"):
                formatter.write_dl([(line, words) for line, words in self._examples])
        if self._exit_codes:
            with formatter.section("Exit status"):
                formatter.write_text(self._exit_codes)


def _write(
    ctx: click.Context,
    formatter: click.HelpFormatter,
    title: str,
    parameters: Sequence[click.Parameter],
) -> None:
    records = [r for p in parameters if (r := p.get_help_record(ctx)) is not None]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)
