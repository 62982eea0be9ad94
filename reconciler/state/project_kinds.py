"""Which kind of file declares a project's requirements, by its name. Pure."""

from enum import Enum, auto
from pathlib import Path

BY_PREFERENCE = ("pyproject.toml", "requirements.txt")
"""What is looked for in a project's folder."""


class ProjectKind(Enum):
    """The kinds of files that declare requirements."""

    PYPROJECT = auto()
    REQUIREMENTS = auto()
    SCRIPT = auto()


_BY_SUFFIX = {
    ".toml": ProjectKind.PYPROJECT,
    ".txt": ProjectKind.REQUIREMENTS,
    ".in": ProjectKind.REQUIREMENTS,
    ".py": ProjectKind.SCRIPT,
}


def names_a_project(file: Path) -> bool:
    """Whether a path that may not exist is the name of a project's file, not of a folder."""
    return file.suffix in _BY_SUFFIX


def kind_of_project(file: Path) -> ProjectKind:
    """The kind of a project's file."""
    return _BY_SUFFIX.get(file.suffix, ProjectKind.REQUIREMENTS)
