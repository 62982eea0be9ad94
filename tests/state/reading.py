"""Reads a pyproject.toml for a target that does not run the tests."""

import textwrap
from pathlib import Path

import pytest

from reconciler.state.desired import BadFile, Desired, parse
from reconciler.status import Problem
from tests.state.markers import LINUX_39

FILE = Path("/srv/studio/pyproject.toml")


def read(text: str | bytes, *, extras=(), groups=(), markers=LINUX_39) -> Desired:
    raw = text if isinstance(text, bytes) else textwrap.dedent(text).lstrip("\n").encode()
    return parse(FILE, raw, markers, extras=extras, groups=groups)


def problem(text: str | bytes, **options) -> Problem:
    with pytest.raises(BadFile) as caught:
        read(text, **options)
    return caught.value.problem


def declaring(*requirements: str) -> str:
    lines = "\n".join(f"    {r!r}," for r in requirements)
    return f'[project]\nname = "studio"\ndependencies = [\n{lines}\n]\n'


def names(desired: Desired) -> list[str]:
    return [declared.name for declared in desired.requirements]


PROJECT_WITH_EXTRAS = """
    [project]
    name = "Studio_App"
    dependencies = ["numpy"]

    [project.optional-dependencies]
    gpu = ["accelerate", "studio.app[web]"]
    Web_UI = ["fastapi", "tomli; python_version < '3.11'", "exotic; python_version > '3.11'"]
    web = ["uvicorn", "studio-app[gpu]"]
    everything = ["studio-app[gpu,web-ui]"]

    [dependency-groups]
    test = ["pytest>=8"]
    Dev = [{include-group = "test"}, "ruff"]
    app = ["studio-app[web-ui]", {include-group = "dev"}]
"""
