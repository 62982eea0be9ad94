"""Many families in one project and one environment, and who says what about each of them."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from packaging.utils import canonicalize_name

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from tests.corpus.families import VERSIONS, WHEELS, Copy, Family
from tests.support.environments import site_packages, uv_binary
from tests.support.wheels import make_wheel, metadata_text, module_name

Numbered = Mapping[int, Family]


@dataclass(frozen=True)
class Verdicts:
    """For each family: whether something is left to do; None if the project is refused."""

    ours: dict[int, bool | None]
    uvs: dict[int, bool | None]


class Crowd:
    """One environment that is filled again for each batch of families."""

    def __init__(self, folder: Path, venv: Path) -> None:
        self.folder = folder
        self.venv = venv
        self.wheels = folder / "wheels"
        self.offered = 0
        self.batches = 0

    def judge(self, families: Sequence[Family]) -> tuple[Numbered, Verdicts]:
        """Install the families as they say, and ask uv and us about all of them."""
        numbered = dict(enumerate(families))
        self.batches += 1
        self.batch = self.folder / f"batch{self.batches}"
        self.batch.mkdir(parents=True)
        self._empty()
        for number, family in numbered.items():
            self._offer(number, family)
            self._install(number, family)
        return numbered, Verdicts(self._ours(numbered), self._uvs(numbered))

    def _empty(self) -> None:
        for info in site_packages(self.venv).glob("*.dist-info"):
            shutil.rmtree(info)

    # What may be installed.

    def _offer(self, number: int, family: Family) -> None:
        if number >= self.offered:  # the same for each family of that number
            self.offered = number + 1
            for name in family.names(number):
                for version in VERSIONS:
                    make_wheel(self.wheels, name, version, files={})
        parent, metadata = family.named("{p}", number), self._metadata(number, family)
        for place, version in WHEELS.items():
            make_wheel(self.batch / place, parent, version, files={}, **metadata)
        self._write_folders(parent, number, family)

    def _write_folders(self, parent: str, number: int, family: Family) -> None:
        """The folders hold what was installed from them, if it was and has not changed since."""
        same = family.parent is not None and not family.changed
        version = family.parent.version if family.parent and same else "1.0"
        metadata = self._metadata(number, family)
        project = {
            "name": parent, "version": version, "dependencies": metadata["requires"],
            "optional-dependencies": metadata["extras"],
        }  # fmt: skip
        build = {"requires": ["uv_build>=0.13.9"], "build-backend": "uv_build"}
        for place in ("folder", "folder-elsewhere"):
            folder = self.batch / place / parent
            (folder / "src" / module_name(parent)).mkdir(parents=True)
            (folder / "src" / module_name(parent) / "__init__.py").touch()
            text = tomli_w.dumps({"project": project, "build-system": build})
            (folder / "pyproject.toml").write_text(text)

    @staticmethod
    def _metadata(number: int, family: Family) -> dict[str, Any]:
        return {
            "requires": [family.named(family.needs, number)] if family.needs else [],
            "extras": {"x": [family.named(family.extra, number)]},
        }

    def place(self, word: str, number: int) -> Path:
        """The path that a family's word for a place means."""
        name = f"fam{number}"
        if word.startswith("folder"):
            return self.batch / word / name
        return self.batch / word / f"{name}-{WHEELS[word]}-py3-none-any.whl"

    # What is installed.

    def _install(self, number: int, family: Family) -> None:
        if family.parent is not None:
            metadata = self._metadata(number, family)
            self._write("{p}", number, family, family.parent, **metadata)
        for word, copy in (("{a}", family.child), ("{b}", family.other)):
            if copy is not None:
                self._write(word, number, family, copy)

    def _write(self, word: str, number: int, family: Family, copy: Copy, **metadata: Any) -> None:
        name = family.named(word, number)
        info = site_packages(self.venv) / f"{module_name(name)}-{copy.version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(metadata_text(name, copy.version, **metadata))
        (info / "RECORD").write_text(f"{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
        (info / "WHEEL").write_text(
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        (info / "INSTALLER").write_text("uv")
        if copy.place is not None:
            self._write_origin(info, copy, self.place(copy.place, number))

    @staticmethod
    def _write_origin(info: Path, copy: Copy, place: Path) -> None:
        """What uv writes of a place."""
        origin: dict[str, Any] = {"url": place.as_uri(), "archive_info": {}}
        stamp = place
        if place.suffix != ".whl":
            noted = {} if copy.editable is None else {"editable": copy.editable}
            origin = {"url": place.as_uri(), "dir_info": noted}
            stamp = place / "pyproject.toml"
        (info / "direct_url.json").write_text(json.dumps(origin))
        nanoseconds = stamp.stat().st_mtime_ns
        when = {"secs_since_epoch": nanoseconds // 10**9, "nanos_since_epoch": nanoseconds % 10**9}
        cache: dict[str, Any] = {"timestamp": when, "commit": None, "tags": None, "env": {}}
        if place.suffix != ".whl":
            source = (place / "src").stat().st_mtime_ns
            at = {"secs_since_epoch": source // 10**9, "nanos_since_epoch": source % 10**9}
            cache["directories"] = {"src": at}
        (info / "uv_cache.json").write_text(json.dumps(cache))

    # The project.

    def _project(self, numbered: Numbered) -> Path:
        sources: dict[str, Any] = {}
        settings: dict[str, list[str]] = {}
        asked = []
        for number, family in numbered.items():
            asked += [self._asked(line, number, family) for line in family.asked]
            for key, line in family.settings.items():
                settings.setdefault(key, []).append(family.named(line, number))
            if family.source is not None:
                place = self.place(family.source["path"], number)
                sources[family.named("{p}", number)] = {**family.source, "path": str(place)}
        uv = {**settings, "sources": sources, "no-index": True,
              "find-links": [str(self.wheels)]}  # fmt: skip
        project = {"name": "crowd", "version": "1", "dependencies": asked}
        path = self.batch / "project" / "pyproject.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(tomli_w.dumps({"project": project, "tool": {"uv": uv}}))
        return path

    def _asked(self, line: str, number: int, family: Family) -> str:
        text = family.named(line, number)
        return re.sub(r"\{at:(\S+?)\}", lambda found: str(self.place(found[1], number)), text)

    # The verdicts.

    def _uvs(self, numbered: Numbered) -> dict[int, bool | None]:
        """uv's, by one dry run; where it finds no solution for all, by halves."""
        project = self._project(numbered)
        command = [
            str(uv_binary()), "pip", "install", "--python", str(self.venv), "--dry-run",
            "--offline", "--output-format", "json", "-r", str(project),
        ]  # fmt: skip
        ended = subprocess.run(
            command, cwd=project.parent, capture_output=True, text=True, check=False, timeout=120
        )
        if ended.returncode == 0:
            changed = {
                canonicalize_name(row["name"]) for row in json.loads(ended.stdout)["changes"]
            }
            return {n: bool(family.names(n) & changed) for n, family in numbered.items()}
        if len(numbered) == 1:
            refused = ended.returncode != 1
            return dict.fromkeys(numbered, None if refused else True)
        first, second = _halves(numbered)
        return self._uvs(first) | self._uvs(second)

    def _ours(self, numbered: Numbered) -> dict[int, bool | None]:
        project = self._project(numbered)
        config = EnvironmentConfig(
            name="crowd", pyproject=project, python=self.venv / "bin" / "python", hold=()
        )
        snapshot = Environment(config, os.environ).look()
        if snapshot.problem is not None and len(numbered) == 1:
            return dict.fromkeys(numbered, None)
        if snapshot.problem is not None:
            first, second = _halves(numbered)
            return self._ours(first) | self._ours(second)
        drifted = {row.name for row in snapshot.drift.drifted}
        return {n: bool(family.names(n) & drifted) for n, family in numbered.items()}


def _halves(numbered: Numbered) -> tuple[Numbered, Numbered]:
    rows = list(numbered.items())
    half = len(rows) // 2
    return dict(rows[:half]), dict(rows[half:])


def shown(family: Family, number: int) -> str:
    """The example in one line, to be repeated by hand."""
    parts = [f"asked {list(family.asked)}"]
    parts += [f"source {family.source}"] if family.source else []
    parts += [f"settings {family.settings}"] if family.settings else []
    for word, copy in (("p", family.parent), ("a", family.child), ("b", family.other)):
        if copy is not None:
            place = f" from {copy.place}" if copy.place else ""
            editable = "" if copy.editable is None else f" (editable {copy.editable})"
            parts.append(f"{word} {copy.version}{place}{editable}")
    if family.parent is not None:
        parts.append(f"p needs [{family.needs}], with x [{family.extra}]")
    parts += ["the folder has changed"] if family.changed else []
    return family.named("; ".join(parts), number)
