"""Rewrites scripts that uv wrote for a relocatable environment into a folder of ours.

They find their interpreter from the folder that they are in (uv-facts 23b), so they must say where
it is from the folder that they are moved to. RECORD is rewritten with them.
"""

import base64
import hashlib
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from reconciler.files.bounded import read_bytes
from reconciler.files.naming import naming
from reconciler.state.scripts import BESIDE_ITSELF, beginning_of

_REWRITTEN = ".reconciler-rewritten"
_ARGUMENTS = b' "$0"'
"""What follows the interpreter."""


def rewrite_scripts(incoming: Path, scripts: Path, prefix: Path, sites: Iterable[Path]) -> None:
    """Make the scripts in `incoming` the ones that uv would write into the environment itself.

    Args:
        incoming: What uv installed into a folder of its own; it mirrors the environment.
        scripts: The environment's folder of scripts.
        prefix: The environment.
        sites: The environment's folders with distributions.
    """
    if not scripts.is_relative_to(prefix):
        return
    folder = incoming / scripts.relative_to(prefix)
    written = dict(
        change
        for script in (folder.iterdir() if folder.is_dir() else ())
        if not script.is_symlink() and beginning_of(script).startswith(BESIDE_ITSELF)
        for change in _rewritten(script, scripts)
    )
    if not written:
        return
    for site in sites:
        for record in (incoming / site.relative_to(prefix)).glob("*.dist-info/RECORD"):
            _correct(record, written)


def _rewritten(script: Path, scripts: Path) -> Iterator[tuple[bytes, bytes]]:
    """Rewrite one script; yields the end of its row in RECORD before and after.

    A wheel may bring a script that only begins like those that uv writes: it stays as it is.
    """
    before = read_bytes(script)
    line, _, rest = before.removeprefix(BESIDE_ITSELF).partition(b"\n")
    quoted, mark, arguments = line.partition(_ARGUMENTS)
    try:
        (named,) = shlex.split(quoted.decode("utf-8", "surrogateescape"))
    except ValueError:
        return
    if not mark or "\0" in named:
        return
    there, name = os.path.split(script.parent / named)
    folder = os.path.relpath(os.path.realpath(there), scripts)
    interpreter = _quoted(os.path.normpath(f"{folder}/{name}"))
    after = b"".join((BESIDE_ITSELF, interpreter, mark, arguments, b"\n", rest))
    _replace(script, after)
    yield _recorded(before), _recorded(after)


def _quoted(path: str) -> bytes:
    """The path in quotes, as uv writes it: even if it needs none."""
    return ("'" + path.replace("'", "'\"'\"'") + "'").encode("utf-8", "surrogateescape")


def _recorded(content: bytes) -> bytes:
    """The hash and the size of a file, as a row of RECORD ends (PEP 376)."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    return b",sha256=%s,%d\n" % (digest, len(content))


def _correct(record: Path, written: dict[bytes, bytes]) -> None:
    """Replace the hash and size of each rewritten script; every other byte stays."""
    before = after = read_bytes(record)
    for old, new in written.items():
        after = after.replace(old, new)
    if after != before:
        _replace(record, after)


def _replace(file: Path, content: bytes) -> None:
    """Replace a file, which may be a hard link into uv's cache, by a new one."""
    beside = file.with_name(f"{file.name}{_REWRITTEN}")
    beside.unlink(missing_ok=True)
    with naming(beside), beside.open("xb") as fresh:
        fresh.write(content)
    shutil.copymode(file, beside)
    beside.replace(file)
