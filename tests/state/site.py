"""Writes distributions straight into a site-packages folder, right ones and wrong ones."""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.wheels import compiled


@dataclass(frozen=True, slots=True)
class Site:
    """A site-packages folder that no interpreter needs."""

    folder: Path

    def add(
        self,
        name: str,
        version: str = "1.0",
        *,
        requires: Sequence[str] = (),
        extras: Sequence[str] = (),
        files: Mapping[str, str] | None = None,
        record: bool | str | bytes = True,
        metadata: bytes | None = None,
        direct_url: object = None,
        info: str | None = None,
    ) -> Path:
        """Write a distribution, and return its dist-info folder.

        Args:
            name: As METADATA has it.
            version: Its version.
            requires: Requires-Dist.
            extras: Provides-Extra.
            files: Path to content; by default one module, and a library where the real one has it.
            record: Whether there is a RECORD, or its very content.
            metadata: The very bytes of METADATA.
            direct_url: What direct_url.json holds.
            info: The folder's name, if not the usual one.
        """
        if files is None:
            module = name.replace("-", "_")
            files = {f"{module}.py": "1\n"}
            if compiled(name):
                files[f"{module}.so"] = "1\n"
        folder = self.folder / (info or f"{name.replace('-', '_')}-{version}.dist-info")
        folder.mkdir(parents=True)
        lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
        lines += [f"Requires-Dist: {r}\n" for r in requires]
        lines += [f"Provides-Extra: {e}\n" for e in extras]
        text = metadata if metadata is not None else ("".join(lines) + "\nAbout it.\n").encode()
        (folder / "METADATA").write_bytes(text)
        if direct_url is not None:
            (folder / "direct_url.json").write_text(json.dumps(direct_url))
        rows = []
        for path, content in files.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
            rows.append(f"{path},{digest(content)},{len(content.encode())}\n")
        rows += [f"{folder.name}/METADATA,,{len(text)}\n", f"{folder.name}/RECORD,,\n"]
        if record is True:
            (folder / "RECORD").write_text("".join(rows))
        elif isinstance(record, bytes):
            (folder / "RECORD").write_bytes(record)
        elif record:
            (folder / "RECORD").write_text(record)
        return folder


def digest(content: str) -> str:
    """A hash as RECORD writes it."""
    raw = hashlib.sha256(content.encode()).digest()
    return "sha256=" + urlsafe_b64encode(raw).rstrip(b"=").decode()
