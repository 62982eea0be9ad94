"""The requirement tables of real projects, which are not part of this repository.

Run them with `RECONCILER_TEST_CORPUS=FOLDER .ci/thorough corpus`, a folder of pyproject.toml files
under other names.
Prints for each file what was compared and how long `reconciler check` took.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tomli
import tomli_w

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from reconciler.passes import reconcile as passes
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.state.causes import LeftOut
from reconciler.state.drift import Row
from tests.corpus.stubs import localized, stub_everything
from tests.support.environments import install, make_venv, uv_binary
from tests.support.index import PackageIndex
from tests.support.passes import FAST, Follower

CORPUS = os.environ.get("RECONCILER_TEST_CORPUS")
FILES = sorted(Path(CORPUS).glob("*.toml")) if CORPUS else []
LIMIT = 0.5
"""Seconds that `reconciler check` may take."""

pytestmark = pytest.mark.corpus


@dataclass(frozen=True)
class Choice:
    """What is asked for besides the project's own dependencies."""

    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([*(f"[{e}]" for e in self.extras), *(f"group {g}" for g in self.groups)])

    def arguments(self) -> list[str]:
        return [
            *(word for extra in self.extras for word in ("--extra", extra)),
            *(word for group in self.groups for word in ("--group", group)),
        ]


class RealProject:
    """One file of the corpus: as it is, and beside an index that has a stub of all it names."""

    def __init__(self, file: Path, folder: Path, index: PackageIndex, venv: Path) -> None:
        self.table = tomli.loads(file.read_text())
        self.original = self._written(folder / "original", file.read_text())
        stub_everything(self.table, index, folder / "stubs")
        text = tomli_w.dumps(localized(tomli.loads(file.read_text()), index.url))
        self.local = self._written(folder / "local", text)
        self.venv = venv
        self.environ = {**os.environ, **FAST, "UV_DEFAULT_INDEX": index.url}

    @staticmethod
    def _written(folder: Path, text: str) -> Path:
        folder.mkdir(parents=True)
        (folder / "pyproject.toml").write_text(text)
        return folder / "pyproject.toml"

    @property
    def is_dynamic(self) -> bool:
        """Whether its dependencies stand elsewhere: nothing to compare here."""
        project = self.table["project"]
        return "dependencies" in project.get("dynamic", ()) or "dependencies" not in project

    def choices(self) -> list[Choice]:
        extras = self.table["project"].get("optional-dependencies", {})
        groups = self.table.get("dependency-groups", {})
        by_extra = [Choice(extras=(extra,)) for extra in extras]
        return [Choice(), *by_extra, *(Choice(groups=(group,)) for group in groups)]

    def uvs_names(self, choice: Choice) -> set[str] | None:
        """The names that uv takes from the file; None if it finds no solution."""
        command = [
            str(uv_binary()), "pip", "install", "--python", str(self.venv), "--no-deps",
            "--dry-run", "--output-format", "json", "-r", str(self.local), *choice.arguments(),
        ]  # fmt: skip
        ended = subprocess.run(
            command, cwd=self.local.parent, env=self.environ, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
        if ended.returncode == 1 and "No solution found" in ended.stderr:
            return None
        assert ended.returncode == 0, ended.stderr
        return {row["name"] for row in json.loads(ended.stdout)["changes"]}

    def our_rows(self, choice: Choice) -> list[Row]:
        """What we take from it, as it is."""
        snapshot = self.environment(self.original, self.venv, choice, hold=()).look()
        assert snapshot.problem is None, str(snapshot.problem)
        return [row for row in snapshot.drift.rows if row.required_by is None]

    def environment(
        self, file: Path, venv: Path, choice: Choice, hold: tuple[str, ...]
    ) -> Environment:
        config = EnvironmentConfig(
            name="corpus", pyproject=file, python=venv / "bin" / "python", hold=hold,
            extras=choice.extras, groups=choice.groups,
        )  # fmt: skip
        return Environment(config, self.environ)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_venv(tmp_path_factory.mktemp("empty") / ".venv")


@pytest.fixture
def real(request: pytest.FixtureRequest, tmp_path: Path, index: PackageIndex, empty: Path):
    return RealProject(request.param, tmp_path, index, empty)


every_file = pytest.mark.parametrize("real", FILES, ids=[f.stem for f in FILES], indirect=True)


@every_file
def test_our_names_are_uvs(real: RealProject) -> None:
    if real.is_dynamic:
        print("its dependencies stand elsewhere: only that uv and we do not fall over")
        return
    wrong = list(_differences(real))

    assert wrong == [], "\n" + "\n".join(wrong)


def _differences(real: RealProject) -> Iterator[str]:
    compared = conflicts = 0
    for choice in real.choices():
        theirs = real.uvs_names(choice)
        if theirs is None:
            conflicts += 1
            continue
        compared += 1
        try:
            rows = real.our_rows(choice)
        except AssertionError as error:
            yield f"{choice}: {str(error).splitlines()[0]}"
            continue
        twice = sorted(name for name, n in Counter(row.name for row in rows).items() if n > 1)
        if twice:
            yield f"{choice}: packages with two rows: {', '.join(twice)}"
        ours = {row.name for row in rows if not isinstance(row.cause, LeftOut)}
        if theirs != ours:
            yield f"{choice}: only uv's {theirs - ours}, only ours {ours - theirs}"
    print(f"{compared} choices compared, {conflicts} without a solution")


@every_file
def test_a_check_is_quick(real: RealProject) -> None:
    command = [
        sys.executable, "-m", "reconciler", "check", "--json", "--pyproject", str(real.original),
        "--python", str(real.venv),
    ]  # fmt: skip
    walls, processor = [], []
    for _ in range(5):
        begun, used = time.perf_counter(), _used_by_children()
        ended = subprocess.run(command, env=real.environ, capture_output=True, check=False)
        walls.append(time.perf_counter() - begun)
        processor.append(_used_by_children() - used)
        assert ended.returncode in (0, 2) or real.is_dynamic, ended.stderr.decode()
    print(f"check: {min(walls):.2f} s, of the processor {min(processor):.2f} s")

    assert min(processor) < LIMIT  # the wall's time says how busy the machine is


def _used_by_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@every_file
def test_a_plan_shows_no_fault_of_ours(
    real: RealProject, tmp_path: Path, gpu_wheels: list[Path]
) -> None:
    if real.is_dynamic:
        return
    venv = make_venv(tmp_path / ".venv")
    install(venv, *gpu_wheels)
    environment = real.environment(real.local, venv, Choice(), ("torch", "torchvision"))

    outcome = passes.plan(Pass(environment, Cancellation(), Follower()))

    print(f"{len(outcome.plan)} changes, {len(outcome.failed)} failures")
    assert not {change.name for change in outcome.plan} & {"torch", "torchvision"}
    assert [f"{one.name}: {one.message}" for one in outcome.failed] == []
