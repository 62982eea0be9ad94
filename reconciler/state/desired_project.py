"""Everything that a project declares for one target, whatever its files are. Pure."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from packaging.specifiers import SpecifierSet

from reconciler.state.declared import Declared
from reconciler.state.notice import Notice
from reconciler.state.uv_workspace import UvWorkspace


class Desired(msgspec.Struct, frozen=True):
    """Everything that the project declares for one target; `revision` as in `revision_of`."""

    file: Path
    revision: str
    project: str | None
    requirements: tuple[Declared, ...]
    requires_python: SpecifierSet | None
    uv: Mapping[str, Any]
    """The `[tool.uv]` table, unchanged."""
    workspace: UvWorkspace | None = None
    texts: Mapping[Path, bytes] = msgspec.field(default_factory=dict)
    """The files that were read besides a `pyproject.toml`; of that, `revision` is enough."""
    deciding: tuple[Path, ...] = ()
    """Further files that decide what it means, whether they exist or not."""
    configured_by: Path | None = None
    """The file of `uv`, if that is another one."""
    options: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Settings of uv that the project's file has besides; uv's own files come before them."""
    requires_hashes: bool = False
    """Whether nothing may be installed without a hash that is listed."""
    notices: tuple[Notice, ...] = ()
    """What the file says that does not count."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files besides `file` that decide what is declared."""
        return (*self.texts, *self.deciding, *(self.workspace.files if self.workspace else ()))

    @property
    def configured(self) -> tuple[Path, Mapping[str, Any]]:
        """The project whose uv settings apply, and its `[tool.uv]`: the workspace's root."""
        root = self.workspace
        return (root.file, root.uv) if root else (self.configured_by or self.file, self.uv)


def revision_of(
    text: bytes, workspace: UvWorkspace | None = None, more: Iterable[bytes] = ()
) -> str:
    """The revision of a project's file with this content: `sha256:` and a digest.

    It is the digest that `sha256sum` prints; for a member of a workspace, that of its file
    followed by the root's, and by `more` files that are read with it.
    """
    root = b"" if workspace is None or workspace.text == text else workspace.text
    return "sha256:" + hashlib.sha256(b"".join((text, root, *more))).hexdigest()
