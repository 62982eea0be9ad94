"""Bare uv beside us: `uv pip install -r` of the same file, as someone without holds would run it.

What it is told in addition is only what makes the comparison fair: held packages stay as they
are, and what cannot be installed is left out, where uv would refuse everything.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli
import tomli_w
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.corpus.case import Case
from tests.support.environments import snapshot, uv_binary


@dataclass(frozen=True)
class Answer:
    """What uv said."""

    code: int
    changes: tuple[tuple[str, str | None], ...]
    said: str

    @property
    def finds_nothing(self) -> bool:
        """Whether uv calls the environment complete."""
        return self.code == 0 and not self.changes


class Uv:
    """uv beside one project."""

    def __init__(self, case: Case) -> None:
        self.case = case
        hold = case.expected.settings.get("hold", ["torch", "torchvision"])
        self.held = frozenset({*hold, "pytorch-triton-rocm"})

    def look(self) -> Answer:
        """What uv would change now."""
        return self._run("--dry-run")

    def install(self) -> Answer:
        """Let it do so."""
        return self._run(*self.case.expected.bare.install)

    @property
    def _given(self) -> Path:
        """The file that it reads."""
        return self.case.root / (self.case.expected.bare.file or self.case.expected.file)

    def _run(self, *more: str) -> Answer:
        case, expected = self.case, self.case.expected
        with self._file():
            command = [
                str(uv_binary()), "pip", "install", "--python", str(case.venv),
                *([] if expected.bare.only_groups else ["-r", str(self._given)]),
                "--output-format", "json",
                *self._constraints(), *self._excludes(), *expected.bare.arguments, *more,
                *self._parts(),
            ]  # fmt: skip
            ended = subprocess.run(
                command, cwd=case.file.parent, env=case.environ, capture_output=True, text=True,
                check=False, timeout=120,
            )  # fmt: skip
        rows = json.loads(ended.stdout)["changes"] if ended.stdout.strip() else []
        changes = tuple((row["name"], row.get("version")) for row in rows)
        return Answer(ended.returncode, changes, ended.stderr)

    def _parts(self) -> list[str]:
        """The parts of the project; another file in its place has none."""
        expected = self.case.expected
        if expected.bare.file is not None:
            return []
        extras = [word for extra in expected.extras for word in ("--extra", extra)]
        return extras + [word for group in expected.groups for word in ("--group", group)]

    @contextmanager
    def _file(self) -> Iterator[None]:
        """The project's file without what uv must not be asked for, as long as uv runs."""
        without = self.held | {canonicalize_name(n) for n in self.case.expected.bare.without}
        whole = self._given.read_bytes()
        if self._given.suffix == ".txt":
            lines = whole.decode().splitlines(keepends=True)
            self._given.write_text("".join(line for line in lines if not _names(line, without)))
        elif self._given.suffix == ".toml":
            table = tomli.loads(whole.decode())
            if _leave_out(table, without):
                self._given.write_text(tomli_w.dumps(table))
        yield
        if self._given.read_bytes() != whole:
            self._given.write_bytes(whole)

    def _constraints(self) -> list[str]:
        installed = snapshot(self.case.venv)
        pins = [f"{name}=={installed[name]}" for name in sorted(self.held & set(installed))]
        return self._list("-c", "bare-constraints.txt", pins + self.case.expected.bare.constraints)

    def _excludes(self) -> list[str]:
        there = {*snapshot(self.case.venv), *self._constrained()}
        return self._list("--excludes", "bare-excludes.txt", sorted(self.held - there))

    def _constrained(self) -> set[str]:
        lines = self.case.expected.bare.constraints
        return {canonicalize_name(Requirement(line).name) for line in lines}

    def _list(self, option: str, name: str, lines: list[str]) -> list[str]:
        if not lines:
            return []
        path = self.case.root / name
        path.write_text("\n".join(lines))
        return [option, str(path)]


def _names(line: str, names: frozenset[str]) -> bool:
    """Whether a line of a requirements file begins with one of these names."""
    found = re.match(r"[A-Za-z0-9._-]+", line)
    return found is not None and canonicalize_name(found[0]) in names


def _leave_out(table: dict[str, Any], names: frozenset[str]) -> bool:
    """Take requirements out of a project's tables; whether there were any."""
    project = table.get("project", {})
    lists = [project.get("dependencies", []), *project.get("optional-dependencies", {}).values()]
    lists += table.get("dependency-groups", {}).values()
    lists.append(table.get("tool", {}).get("uv", {}).get("override-dependencies", []))
    found = False
    for lines in lists:
        kept = [
            line for line in lines
            if not isinstance(line, str) or canonicalize_name(Requirement(line).name) not in names
        ]  # fmt: skip
        found = found or kept != lines
        lines[:] = kept
    return found
