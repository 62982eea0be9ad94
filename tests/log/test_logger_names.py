"""Every record says which module it comes from."""

import ast
import io
import json
from pathlib import Path

import pytest

import reconciler
from reconciler.log.levels import LogFormat
from reconciler.log.logger import configure
from tests.support.environments import snapshot
from tests.support.index import PackageIndex
from tests.support.logs import logging_restored
from tests.support.passes import environment_for, reconcile
from tests.support.projects import Project
from tests.support.wheels import make_wheel

ROOT = Path(reconciler.__file__).parent
ONLY = "reconciler/log/logger.py"

restored = pytest.fixture(autouse=True)(logging_restored)


def test_what_a_pass_logs_names_the_pass(
    project: Project, venv: Path, index: PackageIndex, tmp_path: Path
) -> None:
    index.add(make_wheel(tmp_path, "thing", "1.0"))
    project.write(["thing"])
    lines = io.StringIO()
    configure(LogFormat.JSON, stream=lines)

    reconcile(environment_for(project))

    assert snapshot(venv) == {"thing": "1.0"}
    records = [json.loads(line) for line in lines.getvalue().splitlines()]
    logger_of = {record["event"]: record["logger"] for record in records}
    assert logger_of["drift.detected"] == "reconciler.passes.reconcile"
    assert logger_of["plan.ready"] == "reconciler.passes.incoming"
    assert [name for name in logger_of.values() if name == "reconciler"] == []


def test_every_module_names_its_own_logger() -> None:
    nameless, unnamed = [], []
    for file in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                place = f"{file.relative_to(ROOT.parent)}:{node.lineno}"
                if called == "structlog.get_logger":
                    nameless.append(place)
                elif called == "get_logger" and ast.unparse(node.args[0]) != "__name__":
                    unnamed.append(place)
    assert [place for place in nameless if not place.startswith(ONLY)] == []
    assert [place for place in unnamed if not place.startswith(ONLY)] == []
