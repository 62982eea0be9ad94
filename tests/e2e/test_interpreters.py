"""Interpreters that the service must not wait for, or must not even start."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.asking import condition, post
from tests.support.index import PackageIndex
from tests.support.projects import Project
from tests.support.service import ServiceFactory, ServiceProcess, Table

NOBODY = 65534


def replace_python(project: Project, script: str) -> None:
    """Put a script in the place of the environment's interpreter."""
    python = project.venv / "bin/python"
    python.unlink()
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)


def test_the_service_answers_while_interpreters_hang(
    small: PackageIndex,
    tmp_path: Path,
    project: Project,
    venv: Path,
    services: Callable[[dict[str, Table]], ServiceProcess],
) -> None:
    """As they do on a network file system whose server is away; one would take a minute."""
    project.write(["alpha"])
    replace_python(project, "exec sleep 1000")
    (venv / ".reconciler").mkdir()
    table: Table = {"pyproject": str(project.path), "python": str(venv)}
    process = services({"studio": table})

    process.start(until="/livez", timeout=30)

    assert process.wait_for_phase("Reconciling")["conditions"]
    assert process.client.get("/readyz").status_code == 503
    assert process.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's service must distrust others' files")
def test_root_never_starts_an_interpreter_that_others_could_change(
    small: PackageIndex, tmp_path: Path, project: Project, venv: Path, service: ServiceFactory
) -> None:
    project.write(["alpha"])
    mark = tmp_path / "ran-as-root"
    replace_python(project, f"touch '{mark}'; exit 1")
    (venv / ".reconciler").mkdir()
    os.chown(venv, NOBODY, NOBODY)

    process = service(until="/livez")

    row = process.wait_for_phase("Failed")
    assert condition(row, "Ready")["reason"] == "Insecure"
    assert f"chown -hR root:root {venv}" in condition(row, "Ready")["message"]
    number = post(process, "gpu")
    process.wait_for_event("pass.finished", where=lambda record: record["pass"] == number)
    process.client.post("/environments/studio/rollback", json={})
    assert process.stop() == 0
    assert not mark.exists()
    assert list((venv / ".reconciler").iterdir()) == []
