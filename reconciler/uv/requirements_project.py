"""Reads a project whose requirements are in a requirements file (`requirements.txt`).

uv's settings for it come from the `pyproject.toml` beside it, or from further up, as for
`uv pip install -r requirements.txt` in that folder. Read-only.
"""

import os
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as BadConfig
from pathlib import Path
from typing import Any

from reconciler.files.deciding import read_deciding, read_deciding_text
from reconciler.files.parsing import toml_of
from reconciler.log.redact import redact
from reconciler.state.desired import Desired, revision_of
from reconciler.state.listed import Listing
from reconciler.state.uv_workspace import ProjectContext
from reconciler.uv.discovery import is_endless
from reconciler.uv.requirement_files import Read, RequirementFiles, lines_of_project
from reconciler.uv.settings import is_on, uv_table_of


def declared_in_requirements(
    file: Path, markers: Mapping[str, str], environ: Mapping[str, str], read: Read = read_deciding
) -> Desired:
    """What a requirements file declares, with the files that it includes.

    Args:
        file: The project's file.
        markers: The target's PEP 508 environment.
        environ: The environment variables.
        read: Reads the requirements files.

    Raises:
        BadFile: A file is missing, or uv would refuse a line of it.
    """
    settings = file.with_name("pyproject.toml")
    uv = {} if is_on(environ.get("UV_NO_CONFIG")) else uv_table_of(settings)
    found = RequirementFiles(environ=environ, project=file.parent, read=read)
    names = _Names()
    context = ProjectContext(environ=environ, exists=os.path.lexists, endless=is_endless)
    listing = Listing(file.parent, markers, context, names.of, uv)
    declared = listing.read(lines_of_project(file, found))
    redact.register_document(listing.options)
    return Desired(
        file=file,
        revision=revision_of(b"".join(found.texts.values())),
        project=None,
        requirements=declared,
        requires_python=None,
        uv=uv,
        texts=found.texts,
        deciding=(settings, *names.read),
        configured_by=settings,
        options=listing.options,
        requires_hashes=listing.requires_hashes,
        notices=tuple(listing.notices),
    )


class _Names:
    """The names of projects, as far as their files say them; notes which files were read."""

    def __init__(self) -> None:
        self.read: list[Path] = []

    def of(self, folder: Path) -> str | None:
        """The name of the project in a folder; None if only a build would tell."""
        for file, name_in in ((folder / "pyproject.toml", _in_toml),
                              (folder / "setup.cfg", _in_config)):  # fmt: skip
            self.read.append(file)
            try:
                name = name_in(read_deciding_text(file))
            except (OSError, ValueError, BadConfig):
                continue
            if name:
                return name
        return None


def _in_toml(text: str) -> str | None:
    document = toml_of(text)
    poetry = _table(_table(document.get("tool")).get("poetry"))
    name = _table(document.get("project")).get("name", poetry.get("name"))
    return name if isinstance(name, str) else None


def _in_config(text: str) -> str | None:
    config = ConfigParser(interpolation=None)
    config.read_string(text)
    return config.get("metadata", "name", fallback=None)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
