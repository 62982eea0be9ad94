"""Which Python an installed script starts, in every form that installers write.

A script begins with the interpreter's path. If that has spaces or is too long for the kernel, the
script is started by `sh`, which starts the interpreter (`'''exec' ...`, a string to Python). In a
relocatable environment, `sh` starts the interpreter beside the script.
"""

import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.files.bounded import read_head

STARTED_BY_SHELL = b"#!/bin/sh\n'''exec' "
"""How a script begins that `sh` hands on to the interpreter."""

BESIDE_ITSELF = STARTED_BY_SHELL + b'"$(dirname -- "$(realpath -- "$0")")"/'
"""The same if the interpreter's path, which follows, is relative to the script's folder."""

_READ = 10_000
"""Longer than any path."""
_PYTHONS = ("python", "pypy", "graalpy")


def beginning_of(script: Path) -> bytes:
    """Its first line, or all that `sh` reads of it; empty if it is not a script."""
    try:
        begins = read_head(script, _READ)
        return begins if begins.startswith(b"#!") else b""
    except OSError:
        return b""


def interpreter_of(script: Path, beginning: bytes | None = None) -> str | None:
    """The Python that a script names by its path, or None; `#!/usr/bin/env python` names none.

    Args:
        script: The script.
        beginning: What it begins with, if that has been read.
    """
    begins = beginning_of(script) if beginning is None else beginning
    if begins.startswith(BESIDE_ITSELF):
        words = _first_words(begins.removeprefix(BESIDE_ITSELF))
        folder = os.path.dirname(os.path.realpath(script))  # noqa: PTH120 -- as `sh` reads it
        found = os.path.normpath(f"{folder}/{words[0]}") if words else ""
    elif begins.startswith(STARTED_BY_SHELL):
        words = _first_words(begins.removeprefix(STARTED_BY_SHELL))
        found = words[0] if words else ""
    else:
        words = begins[2:].partition(b"\n")[0].decode("utf-8", "surrogateescape").split()
        found = words[0] if words else ""
    python = found.startswith("/") and found.rpartition("/")[2].startswith(_PYTHONS)
    return found if python else None


def _first_words(line: bytes) -> list[str]:
    """The words of the rest of a shell's line, without quotes."""
    with suppress(ValueError):  # a quote without an end
        return shlex.split(line.partition(b"\n")[0].decode("utf-8", "surrogateescape"))
    return []


def starts_python(script: Path) -> bool:
    """Whether Python runs this script, so that another interpreter may run it, too."""
    beginning = beginning_of(script)
    first = beginning.partition(b"\n")[0]
    return b"python" in first or interpreter_of(script, beginning) is not None


def scripts_in(folder: Path) -> Iterator[tuple[str, str]]:
    """The scripts of a folder that name a Python: their names, and what they name."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.is_file(follow_symlinks=False))
    except OSError:
        return
    for name in names:
        interpreter = interpreter_of(folder / name)
        if interpreter is not None:
            yield name, interpreter
