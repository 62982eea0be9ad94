"""The shared options: what a command works on, and how it prints its result."""

from pathlib import Path

import msgspec


class Options(msgspec.Struct, frozen=True):
    """What a command works on, and how it prints its result."""

    config: Path | None = None
    pyproject: Path | None = None
    python: Path | None = None
    environment: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
