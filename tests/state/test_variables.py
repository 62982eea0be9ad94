"""Variables in direct references, as uv reads them."""

import subprocess
from pathlib import Path

import pytest

from reconciler.state.variables import expanded
from tests.support.environments import uv_binary
from tests.support.wheels import make_wheel

WHEEL = "gamma-1.0-py3-none-any.whl"
REFERENCES = [
    "file://${PROJECT_ROOT}/whl/" + WHEEL,
    "file://${PROJECT_ROOT}/${WHL}/" + WHEEL,
    "${PROJECT_ROOT}/whl/" + WHEEL,
    "${WHOLE}",
    "file://${PROJECT_ROOT}/${NOT_SET}/" + WHEEL,
    "file://${PROJECT_ROOT}/${lower}/" + WHEEL,
    "file://${PROJECT_ROOT}/$WHL/" + WHEEL,
]


@pytest.mark.parametrize("own_root", [False, True])
def test_variables_are_expanded_as_uv_does(own_root: bool, venv: Path, tmp_path: Path):
    project = tmp_path / "project"
    wheel = make_wheel(project / "whl", "gamma", "1.0")
    make_wheel(tmp_path / "elsewhere" / "whl", "gamma", "1.0")
    environ = {"WHL": "whl", "lower": "whl", "WHOLE": wheel.as_uri()}
    environ |= {"PROJECT_ROOT": str(tmp_path / "elsewhere")} if own_root else {}
    wrong = {}
    for reference in REFERENCES:
        ours = place_in(project, venv, expanded(reference, environ, project), {})
        uvs = place_in(project, venv, reference, environ)
        if ours != uvs:
            wrong[reference] = ours, uvs
    assert wrong == {}


def place_in(project: Path, venv: Path, reference: str, environ: dict[str, str]) -> str:
    """The place that bare uv takes a requirement from, or the one that it misses."""
    (project / "pyproject.toml").write_text(
        f'[project]\nname = "p"\nversion = "0"\ndependencies = ["gamma @ {reference}"]\n'
    )
    command = [uv_binary(), "pip", "install", "--dry-run", "--offline", "-p", venv, "-r",
               "pyproject.toml"]  # fmt: skip
    answer = subprocess.run(
        command, cwd=project, env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    [line] = [w for w in answer.stderr.splitlines() if "file://" in w]
    return line
