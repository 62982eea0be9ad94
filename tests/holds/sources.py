"""Projects and sdists that want another torch than the held one."""

import io
import tarfile
from pathlib import Path

from tests.support.wheels import make_sdist, unpack

NOWHERE = "http://127.0.0.1:9"
"""Nobody listens there."""


def make_local_project(folder: Path, requires: list[str], source: str | None = None) -> None:
    """A project in a folder, which builds without any build requirement."""
    unpack(make_sdist(folder.parent, folder.name, "1.0", requires=requires)).rename(folder)
    table = f'[project]\nname = "{folder.name}"\nversion = "1.0"\ndependencies = {requires!r}\n'
    if source:
        table += f'[tool.uv.sources]\ntorch = {source}\n[[tool.uv.index]]\nname = "rocm"\n'
        table += f'url = "{NOWHERE}"\nexplicit = true\n'
    with (folder / "pyproject.toml").open("a") as file:
        file.write(table)


def prepend(sdist: Path, member: str, text: str) -> None:
    """Put a line in front of a file of an sdist."""
    with tarfile.open(sdist) as archive:
        contents = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}
    with tarfile.open(sdist, "w:gz") as archive:
        for name, body in contents.items():
            head = text.encode() if name.endswith(f"/{member}") else b""
            info = tarfile.TarInfo(name)
            info.size = len(head + body)
            archive.addfile(info, io.BytesIO(head + body))
