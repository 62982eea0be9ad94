"""uv's settings and variables count as they do for bare uv: both plan the same for one project."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from reconciler.config import EnvironmentConfig
from reconciler.environment.environment import Environment
from reconciler.passes.reconcile import plan
from reconciler.passes.running import Pass
from reconciler.processes import Cancellation
from reconciler.status import PackageStatus
from tests.support.environments import install, uv_binary
from tests.support.passes import FAST, Follower
from tests.support.projects import Project
from tests.support.wheels import make_wheel

SOURCE = '[tool.uv.sources]\nbeta = { path = "other/beta-9.0-py3-none-any.whl" }\n'
SOURCES = f'{SOURCE}alpha = {{ path = "other/alpha-9.0-py3-none-any.whl" }}\n'
PARTS = (
    '[project.optional-dependencies]\nmore = ["delta"]\nyet = ["epsilon"]\n'
    '[dependency-groups]\ndev = ["zeta", { include-group = "inner" }]\ninner = ["delta"]\n'
)
OTHER_PYTHON = '[tool.uv.dependency-groups]\n{} = {{ requires-python = ">=3.99" }}\n'
FILES = {
    "one.txt": "# a comment\nalpha<3 ; python_version > '3'  # another\n\nunknown==1\n",
    "two.txt": "beta<2\n",
    "nested.txt": "-c sub/inner.txt\n",
    "again.txt": "-r sub/inner.txt\n-c again.txt\n",
    "sub/inner.txt": "alpha<2\n",
    "marked.txt": "alpha<2; python_version < '3'\nbeta[more]<2\n",
    "names.txt": "gamma\n",
    "bounds.txt": "gamma<1\n",
    "over.txt": "gamma==1.0\n",
    "hashed.txt": "alpha==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n",
}
ROWS = [
    # variables, tables
    ("", SOURCE),
    ("UV_NO_SOURCES=1", SOURCES),
    ("UV_NO_SOURCES=0", SOURCES),
    ("UV_NO_SOURCES_PACKAGE=Beta", SOURCES),
    ("UV_NO_SOURCES_PACKAGE=beta alpha", SOURCES),
    ("", f"[tool.uv]\nno-sources = true\n{SOURCES}"),
    ("UV_NO_SOURCES=false", f"[tool.uv]\nno-sources = true\n{SOURCES}"),
    ("", f"[tool.uv]\nno-sources-package = ['Beta']\n{SOURCES}"),
    ("", f"[tool.uv.pip]\nno-sources = true\n{SOURCES}"),
    ("UV_CONSTRAINT=one.txt", ""),
    ("UV_CONSTRAINT=one.txt two.txt", ""),
    ("UV_CONSTRAINT=", ""),
    ("UV_CONSTRAINT=nested.txt", ""),
    ("UV_CONSTRAINT=again.txt", ""),
    ("UV_CONSTRAINT=marked.txt", ""),
    ("UV_CONSTRAINT=hashed.txt", ""),
    ("UV_CONSTRAINT=file://{project}/two.txt", ""),
    ("UV_CONSTRAINT={project}/two.txt UV_OVERRIDE=over.txt", ""),
    ("UV_CONSTRAINT=two.txt", '[tool.uv]\nconstraint-dependencies = ["alpha<3"]\n'),
    ("UV_OVERRIDE=over.txt", ""),
    ("UV_OVERRIDE=over.txt", '[tool.uv]\noverride-dependencies = ["beta==1.0"]\n'),
    ("UV_EXCLUDE=names.txt", ""),
    ("UV_EXCLUDE=bounds.txt", ""),
    ("UV_BUILD_CONSTRAINT=one.txt", ""),
    ("", f"[tool.uv.pip]\nextra = ['More']\n{PARTS}"),
    ("", f"[tool.uv.pip]\nall-extras = true\n{PARTS}"),
    ("", f"[tool.uv.pip]\nall-extras = true\nno-extra = ['yet']\n{PARTS}"),
    ("", f"[tool.uv.pip]\ngroup = ['dev']\n{PARTS}"),
    ("", f"[tool.uv.pip]\ngroup = ['pyproject.toml:dev']\nextra = ['yet']\n{PARTS}"),
    ("", f"[tool.uv.pip]\ngroup = ['dev']\n{PARTS}{OTHER_PYTHON.format('dev')}"),
    ("", f"[tool.uv.pip]\ngroup = ['dev']\n{PARTS}{OTHER_PYTHON.format('Inner')}"),
    ("UV_RESOLUTION=lowest-direct UV_FORK_STRATEGY=fewest", ""),
]
MISSING = (
    "UV_CONSTRAINT=nowhere.txt",
    "UV_CONSTRAINT=other",
    "UV_OVERRIDE=bad.txt",
    "UV_EXCLUDE=two.txt nowhere.txt",
)


@pytest.fixture
def declared(project: Project, index, venv: Path, tmp_path: Path) -> Project:
    """Packages to choose from: nothing is installed except gamma, which requires alpha."""
    for name, versions in {"alpha": "1.0 2.0 3.0", "beta": "1.0 2.0", "delta": "1.0",
                           "epsilon": "1.0", "zeta": "1.0"}.items():  # fmt: skip
        for version in versions.split():
            index.add(make_wheel(tmp_path, name, version))
    for version in ("1.0", "2.0"):
        index.add(make_wheel(tmp_path, "gamma", version, requires=["alpha"]))
    for name in ("alpha", "beta"):
        make_wheel(project.directory / "other", name, "9.0")
    for name, text in {**FILES, "bad.txt": "alpha\nthis is not a requirement\n"}.items():
        file = project.directory / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return project


def variables_of(words: str, project: Project) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words.split():
        name, equals, value = word.partition("=")
        if equals:
            found[name] = value.format(project=project.directory)
        else:
            found[next(reversed(found))] += f" {word}"
    return found


def environment_with(project: Project, variables: dict[str, str]) -> Environment:
    config = EnvironmentConfig(
        name="studio", pyproject=project.path, python=project.venv / "bin" / "python"
    )
    return Environment(config, {**os.environ, **FAST, **variables})


def planned_by_uv(project: Project, variables: dict[str, str]) -> dict[str, str] | str:
    command = [str(uv_binary()), "pip", "install", "--python", str(project.venv), "--dry-run",
               "--output-format", "json", "-r", "pyproject.toml"]  # fmt: skip
    environ = {**os.environ, **FAST, **variables}
    ran = subprocess.run(command, cwd=project.directory, env=environ, capture_output=True,
                         text=True, check=False)  # fmt: skip
    if ran.returncode != 0:
        return ran.stderr
    changes = json.loads(ran.stdout)["changes"]
    return {c["name"]: c["version"] for c in changes if c["action"] == "installed"}


def planned_by_us(environment: Environment) -> dict[str, str] | str:
    environment.workspace.create()
    outcome = plan(Pass(environment, Cancellation(), Follower()))
    if outcome.snapshot.problem is not None:
        return str(outcome.snapshot.problem)
    return {c.name: (c.to or "").partition(" ")[0] for c in outcome.plan}


def test_bare_uv_plans_the_same(declared: Project) -> None:
    wrong = {}
    for words, tables in ROWS:
        declared.write(["alpha", "beta", "gamma"], extra=tables)
        variables = variables_of(words, declared)
        ours, theirs = (
            planned_by_us(environment_with(declared, variables)),
            planned_by_uv(declared, variables),
        )
        if ours != theirs or not isinstance(ours, dict):
            wrong[words, tables] = (ours, theirs)

    assert wrong == {}


def test_what_uv_refuses_is_a_problem_that_names_the_file(declared: Project) -> None:
    declared.write(["alpha"])
    for words in MISSING:
        variables = variables_of(words, declared)
        environment = environment_with(declared, variables)
        assert isinstance(planned_by_uv(declared, variables), str)
        problem = environment.look().problem
        assert problem is not None
        assert Path(problem.file).name in words
    assert "bad.txt" in str(environment_with(declared, {"UV_OVERRIDE": "bad.txt"}).look().problem)


def test_an_edit_of_a_named_file_is_drift(declared: Project, tmp_path: Path) -> None:
    install(declared.venv, *tmp_path.glob("alpha-3.0-*.whl"))
    declared.write(["alpha"])
    environment = environment_with(declared, {"UV_CONSTRAINT": "again.txt"})
    inner = declared.directory / "sub" / "inner.txt"
    inner.write_text("alpha>=3\n")
    assert environment.look().drift.in_sync

    inner.write_text("alpha<2\n")

    (row,) = environment.look().drift.rows
    assert row.status is PackageStatus.MISMATCH
