"""Writes the demo's wheels (PEP 427): pure Python, a few files each, in milliseconds."""

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_WHEEL = "Wheel-Version: 1.0\nGenerator: reconciler\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
) -> Path:
    """Write one wheel into the folder.

    Args:
        folder: where it goes.
        name: of the distribution.
        version: PEP 440.
        requires: PEP 508 strings.
        files: path to content; by default one module with its version.
    """
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    metadata += [f"Requires-Dist: {requirement}\n" for requirement in requires]
    content = {
        **(files or {f"{module}/__init__.py": f'__version__ = "{version}"\n'}),
        f"{info}/METADATA": "".join(metadata),
        f"{info}/WHEEL": _WHEEL,
    }
    rows = [f"{path},{_hash(text)},{len(text.encode())}\n" for path, text in content.items()]
    content[f"{info}/RECORD"] = "".join(rows) + f"{info}/RECORD,,\n"
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, text in content.items():
            wheel.writestr(member, text)
    return path


def _hash(text: str) -> str:
    """The hash as RECORD has it (PEP 376)."""
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
