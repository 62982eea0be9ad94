"""The shared options: what a command works on, and how it prints its result."""

from dataclasses import dataclass
from pathlib import Path

EVERYWHERE = ("config", "pyproject", "python", "environment", "json", "quiet", "verbose")


@dataclass(frozen=True, slots=True)
class Options:
    """What a command works on, and how it prints its result."""

    config: Path | None = None
    pyproject: Path | None = None
    python: Path | None = None
    environment: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
