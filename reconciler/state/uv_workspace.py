"""The uv workspace that a project belongs to, and what the project takes from it.

Values only: `uv/discovery.py` finds them on the disk.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from packaging.utils import NormalizedName

from reconciler.state.notice import Notice
from reconciler.state.requirements_lines import Listed


class Member(msgspec.Struct, frozen=True):
    """One project of a workspace."""

    folder: Path
    is_package: bool = True
    """Whether it can be built; `[tool.uv] package = false` says that it cannot."""


class UvWorkspace(msgspec.Struct, frozen=True):
    """A workspace, as its root declares it.

    `file` is the root's `pyproject.toml`, `text` its content and `uv` its `[tool.uv]` table.
    """

    file: Path
    text: bytes
    uv: Mapping[str, Any]
    members: Mapping[NormalizedName, Member] = msgspec.field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that decide what its members declare."""
        projects = (member.folder / "pyproject.toml" for member in self.members.values())
        return tuple(sorted({self.file, self.file.with_name("uv.toml"), *projects}))


class DynamicFiles(msgspec.Struct, frozen=True):
    """The requirements that the project's build backend takes from other places.

    `dependencies` is None if only a build would tell. `texts` are the files, if they are others.
    """

    dependencies: tuple[Listed, ...] | None = None
    extras: Mapping[NormalizedName, tuple[Listed, ...]] = msgspec.field(default_factory=dict)
    texts: Mapping[Path, bytes] = msgspec.field(default_factory=dict)
    groups: Mapping[NormalizedName, tuple[Listed, ...]] = msgspec.field(default_factory=dict)
    name: str | None = None
    requires_python: str | None = None
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True)
class ProjectContext:
    """Everything outside a project's file that decides what the file means.

    `named` are other workspaces that its sources name by their folder. `index_names` are the
    indexes that uv knows from its variables. `without_sources` and `sourceless` are uv's
    `no-sources` and `no-sources-package`. `exists` says whether a local file exists, `endless`
    whether it is a pipe, a socket or a device, which uv would wait for.
    """

    workspace: UvWorkspace | None = None
    named: Mapping[Path, UvWorkspace] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    index_names: frozenset[str] = frozenset()
    without_sources: bool = False
    sourceless: frozenset[NormalizedName] = frozenset()
    requirements_beside: tuple[str, ...] = ()
    """The names of the requirements files in the project's folder."""
    dynamic: DynamicFiles = field(default_factory=DynamicFiles)
    exists: Callable[[Path], bool] = field(default=lambda _: True, compare=False)
    endless: Callable[[Path], bool] = field(default=lambda _: False, compare=False)


NO_CONTEXT = ProjectContext()
