"""A copy of the project's files as they were when last good, for a start with a bad one."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from reconciler.environment.snapshot import Snapshot
from reconciler.files.deciding import read_deciding
from reconciler.files.parsing import json_as
from reconciler.files.trust import Insecure
from reconciler.state.desired import revision_of
from reconciler.trees.workspace import Workspace, write_durably
from reconciler.uv.requirement_files import Read

_NAME = "last-good-pyproject.toml"
_OTHERS = "last-good-files.json"
"""For a project in several files: their texts by path."""


def last_good(workspace: Workspace, project: Path) -> Read:
    """What reads the files as an earlier process kept them.

    Raises:
        OSError: There are none, or they cannot be read.
    """
    others = workspace.root / _OTHERS
    kept: Mapping[str, str] = {}
    if others.exists():
        try:
            kept = json_as(read_deciding(others), dict[str, str])
        except msgspec.DecodeError as error:
            raise OSError(errno.EIO, "the copy is damaged", str(others)) from error
    if str(project) not in kept:
        text = read_deciding(workspace.root / _NAME)
        return lambda _: text

    def read(file: Path) -> bytes:
        if str(file) not in kept:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
        return kept[str(file)].encode()

    return read


def keep_good(workspace: Workspace, project: Path, snapshot: Snapshot) -> None:
    """Keep the project's files, if they are still those of a good snapshot."""
    desired = snapshot.desired
    if desired is None or snapshot.problem is not None:
        return
    try:
        if desired.texts:
            texts = {str(file): text.decode() for file, text in desired.texts.items()}
            _keep(workspace.root / _OTHERS, msgspec.json.encode(texts))
            return
        text = read_deciding(project)
        if revision_of(text, desired.workspace) == snapshot.revision:
            _keep(workspace.root / _NAME, text)
        # else saved again since the look: nobody knows whether it is good
    except (OSError, Insecure):
        return  # only a convenience: the pass itself reports what cannot be written


def _keep(kept: Path, text: bytes) -> None:
    if not kept.exists() or read_deciding(kept) != text:
        write_durably(kept, text.decode("utf-8"))  # unchanged: its revision stays the same
