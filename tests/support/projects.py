"""A project folder: a pyproject.toml that asks one local index only, and its `.venv`."""

import json
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Project:
    """A project in a folder of its own.

    Attributes:
        directory: The project's folder.
        index_url: The one index that uv may ask for it.
    """

    directory: Path
    index_url: str

    @property
    def path(self) -> Path:
        """Its pyproject.toml."""
        return self.directory / "pyproject.toml"

    @property
    def venv(self) -> Path:
        """Where its environment is by default; a test makes it, or the product does."""
        return self.directory / ".venv"

    def text(self, dependencies: Iterable[str] = (), *, extra: str = "") -> str:
        """Return a pyproject.toml with these dependencies, one to a line.

        Args:
            dependencies: PEP 508 strings.
            extra: Further tables, or keys of `[project]`'s own sub-tables; dedented.
        """
        lines = [f"    {json.dumps(requirement)}," for requirement in dependencies]
        head = ["[project]", 'name = "studio"', 'version = "0.1.0"', "dependencies = [", *lines]
        index = ["[[tool.uv.index]]", f'url = "{self.index_url}"', "default = true"]
        return "\n".join([*head, "]", "", *index, "", textwrap.dedent(extra)])

    def write(self, dependencies: Iterable[str] = (), *, extra: str = "") -> Path:
        """Write pyproject.toml in place, as `echo >` does, and return its path."""
        return self.write_text(self.text(dependencies, extra=extra))

    def write_text(self, text: str) -> Path:
        """Write any text to pyproject.toml."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.path.write_text(text)
        return self.path

    def save(self, dependencies: Iterable[str] = (), *, extra: str = "") -> Path:
        """Write pyproject.toml as an editor does: a new file, renamed over the old one."""
        new = self.directory / ".pyproject.toml.swp"
        new.write_text(self.text(dependencies, extra=extra))
        new.replace(self.path)
        return self.path
