"""What an index says of its files: the simple API's pages, as pure functions.

Knows no sockets and no faults.
"""

import hashlib
import json
import zipfile
from dataclasses import dataclass
from html import escape
from pathlib import Path

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    NormalizedName,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

JSON_TYPE = "application/vnd.pypi.simple.v1+json"


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A wheel or sdist on the index."""

    path: Path
    name: NormalizedName
    version: Version
    sha256: str
    metadata: bytes | None
    yanked: bool
    uploaded: str | None

    @property
    def requires_python(self) -> str | None:
        """Requires-Python, as the file's METADATA has it."""
        for line in (self.metadata or b"").decode().partition("\n\n")[0].splitlines():
            if line.startswith("Requires-Python:"):
                return line.partition(":")[2].strip()
        return None


def project_of(path: str) -> NormalizedName | None:
    """Return the project that a path on the index is about."""
    match path.strip("/").split("/"):
        case ["simple", name]:
            return canonicalize_name(name)
        case ["files", filename]:
            try:
                return _parsed(filename.removesuffix(".metadata"))[0]
            except (InvalidSdistFilename, InvalidWheelFilename):
                return None
        case _:
            return None


def _parsed(filename: str) -> tuple[NormalizedName, Version]:
    if filename.endswith(".whl"):
        name, version, _, _ = parse_wheel_filename(filename)
        return name, version
    return parse_sdist_filename(filename)


def served_file(path: Path, *, yanked: bool, uploaded: str | None) -> ServedFile:
    """Read what the index says of a file."""
    name, version = _parsed(path.name)
    return ServedFile(
        path=path,
        name=name,
        version=version,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        metadata=_metadata(path),
        yanked=yanked,
        uploaded=uploaded,
    )


def _metadata(path: Path) -> bytes | None:
    if path.suffix != ".whl":
        return None
    with zipfile.ZipFile(path) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return archive.read(member)


def html_page(name: str, files: list[ServedFile]) -> bytes:
    """Return a project's page after PEP 503."""
    lines = [
        f'<a href="../../files/{escape(file.path.name)}#sha256={file.sha256}"'
        + (
            f' data-requires-python="{escape(file.requires_python)}"'
            if file.requires_python
            else ""
        )
        + (' data-core-metadata="true"' if file.metadata else "")
        + (' data-yanked=""' if file.yanked else "")
        + f">{escape(file.path.name)}</a><br>"
        for file in files
    ]
    return "\n".join([f"<!DOCTYPE html><title>{escape(name)}</title>", *lines]).encode()


def json_page(name: str, files: list[ServedFile]) -> bytes:
    """Return a project's page after PEP 691 and PEP 700."""
    rows = [
        {
            "filename": file.path.name,
            "url": f"../../files/{file.path.name}",
            "hashes": {"sha256": file.sha256},
            "requires-python": file.requires_python,
            "core-metadata": file.metadata is not None,
            "yanked": file.yanked,
            "size": file.path.stat().st_size,
        }
        | ({} if file.uploaded is None else {"upload-time": file.uploaded})
        for file in files
    ]
    page = {
        "meta": {"api-version": "1.1"},
        "name": canonicalize_name(name),
        "versions": sorted({str(file.version) for file in files}),
        "files": rows,
    }
    return json.dumps(page).encode()
