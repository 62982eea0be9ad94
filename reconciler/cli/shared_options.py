"""The options that every command shares, accepted before and after the command's name.

`--help` and `--version` need nothing but this, so it imports what a value needs only with a value.
"""

from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

EVERYWHERE = ("config", "pyproject", "python", "environment", "json", "quiet", "verbose")


def common_options(names: Sequence[str]) -> list[click.Option]:
    """The shared options with these names. Each one only adds to the `Options`."""
    return [_OPTIONS[name]() for name in EVERYWHERE if name in names]


def _store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Store only what is given, so that options before the command are not lost."""
    from pathlib import Path  # noqa: PLC0415

    import msgspec  # noqa: PLC0415

    from reconciler.cli.options import Options  # noqa: PLC0415

    if value is not None and isinstance(parameter.type, click.Path):
        value = Path(value)
    options = context.obj if isinstance(context.obj, Options) else Options()
    context.obj = (
        msgspec.structs.replace(options, **{str(parameter.name): value}) if value else options
    )


def _path(name: str, metavar: str, words: str) -> click.Option:
    return click.Option(
        [f"--{name}"],
        type=click.Path(),
        metavar=metavar,
        help=words,
        expose_value=False,
        callback=_store,
    )


def _flag(names: list[str], words: str) -> click.Option:
    return click.Option(names, is_flag=True, help=words, expose_value=False, callback=_store)


def _environment() -> click.Option:
    return click.Option(
        ["-e", "--environment"],
        metavar="NAME",
        help="Which environment, if several are configured.",
        expose_value=False,
        callback=_store,
        shell_complete=_complete_environment,
    )


def _complete_environment(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from reconciler.cli.options import Options  # noqa: PLC0415
    from reconciler.cli.targets import known_names  # noqa: PLC0415 -- only when completing

    names = known_names(context.find_object(Options) or Options())
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


_OPTIONS: dict[str, Callable[[], click.Option]] = {
    "config": lambda: _path("config", "FILE", "The configuration file."),
    "pyproject": lambda: _path("pyproject", "FILE", "The project's file, or its folder."),
    "python": lambda: _path("python", "ENV", "The environment: its folder, or its interpreter."),
    "environment": _environment,
    "json": lambda: _flag(["--json"], "Print JSON (docs/cli.md)."),
    "quiet": lambda: _flag(["-q", "--quiet"], "Print nothing but errors."),
    "verbose": lambda: _flag(["-v", "--verbose"], "Print more: uv's output, the log."),
}
