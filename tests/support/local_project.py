"""Writes projects that are installed from their folder, editable or not, without any network."""

import json
from collections.abc import Sequence
from pathlib import Path

_BACKEND = """
import os, tomllib, zipfile

def _project():
    with open("pyproject.toml", "rb") as file:
        return tomllib.load(file).get("project", {})

def _build(folder, files):
    project = _project()
    name, version = project.get("name", NAME), project.get("version", "9.0")
    base = f"{name}-{version}"
    requires = "".join(f"Requires-Dist: {r}\\n" for r in project.get("dependencies", []))
    files = {
        **files,
        f"{base}.dist-info/METADATA":
            f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n{requires}\\n",
        f"{base}.dist-info/WHEEL":
            "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    record = f"{base}.dist-info/RECORD"
    files[record] = "".join(f"{path},,\\n" for path in files) + f"{record},,\\n"
    with zipfile.ZipFile(os.path.join(folder, f"{base}-py3-none-any.whl"), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return f"{base}-py3-none-any.whl"

def build_wheel(folder, config_settings=None, metadata_directory=None):
    return _build(folder, {f"{NAME}.py": open("content.py").read()})

def build_editable(folder, config_settings=None, metadata_directory=None):
    return _build(folder, {f"{NAME}.pth": os.getcwd() + "\\n"})
"""


def write_local_project(
    folder: Path,
    name: str,
    version: str | None = "1.0",
    *,
    requires: Sequence[str] = (),
    extra: str = "",
) -> Path:
    """Write a project whose build backend lies in its own folder, and return the folder.

    Args:
        folder: Where it goes; what is there is written over.
        name: The project's name.
        version: Its version; None makes it dynamic, and the backend says 9.0.
        requires: Its dependencies.
        extra: Further tables of its pyproject.toml.
    """
    folder.mkdir(parents=True, exist_ok=True)
    says = f'version = "{version}"' if version else 'dynamic = ["version"]'
    text = (
        f'[project]\nname = "{name}"\n{says}\ndependencies = {json.dumps(list(requires))}\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (folder / "pyproject.toml").write_text(text + extra)
    (folder / "backend.py").write_text(f'NAME = "{name}"\n{_BACKEND}')
    (folder / "content.py").write_text("x = 1\n")
    return folder
