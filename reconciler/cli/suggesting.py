"""A group of commands that suggests the nearest name for a mistyped one."""

import click

from reconciler.cli.nearest import nearest


class SuggestingGroup(click.Group):
    """A click group; only the message about an unknown command differs."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Do what click does otherwise."""
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            ctx.fail(f"There is no command {args[0]!r}. {nearest(args[0], known)}")
        return super().resolve_command(ctx, args)
