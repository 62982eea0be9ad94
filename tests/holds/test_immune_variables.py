"""Whatever the service's environment variables say, a held package stays, and the rest is done."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.holds.stand import DECLARED, Stand
from tests.holds.test_immune import LOWEST, assert_held_and_done
from tests.support.environments import make_venv
from tests.support.thorough import sample
from tests.support.torch import fake_torch
from tests.support.wheels import make_wheel

RC = {"packaging": "25.0rc1"}

# `{bad}` is a folder full of bad advice, `{index}` a second index of bait, `{venv}` another
# environment, `{project}` the project's own folder.
REACH_UV = {
    "UV_LINK_MODE=copy": {},
    "UV_LINK_MODE=symlink": {},
    "UV_COMPILE_BYTECODE=1": {},
    "UV_NO_BINARY_PACKAGE=torch": {},
    "UV_NO_BUILD=1": {},
    "UV_NO_BUILD_PACKAGE=torch": {},
    "UV_NO_BUILD_ISOLATION=1": {},
    "UV_EXCLUDE_NEWER=2024-07-01T00:00:00Z": {},
    "UV_RESOLUTION=lowest": LOWEST,
    "UV_PRERELEASE=allow": RC,
    "UV_INDEX_STRATEGY=unsafe-best-match": {},
    "UV_INDEX={index}": {},
    "UV_INDEX={index} UV_INDEX_STRATEGY=unsafe-best-match": {},
    "UV_EXTRA_INDEX_URL={index}": {},
    "UV_FIND_LINKS={bad}/wheels": {},
    "UV_FIND_LINKS={bad}/wheels UV_INDEX_STRATEGY=unsafe-best-match": {},
    # These two we obey in its place.
    "UV_CONFIG_FILE={bad}/uv.toml": {},
    "UV_NO_CONFIG=1": {},
}
"""What reaches uv, with what it changes apart from the holds."""

MUST_NOT_REACH_UV = {
    "another build": "UV_TORCH_BACKEND=cpu UV_REINSTALL=1 UV_REINSTALL_PACKAGE=torch UV_UPGRADE=1 "
    "UV_UPGRADE_PACKAGE=torch UV_EXACT=1 UV_NO_DEPS=1",
    "the backend that uv finds": "UV_TORCH_BACKEND=auto UV_CUDA_DRIVER_VERSION=550.54",
    "another version": "UV_OVERRIDE={bad}/newer.txt UV_CONSTRAINT={bad}/newer.txt "
    "UV_BUILD_CONSTRAINT={bad}/newer.txt",
    "without it": "UV_EXCLUDE={bad}/names.txt",
    "another project": "UV_PROJECT={bad} UV_WORKING_DIR={bad} UV_WORKING_DIRECTORY={bad} "
    "UV_ENV_FILE={bad}/env UV_NO_SYSTEM_CONFIG=1",
    "another environment": "UV_PROJECT_ENVIRONMENT={venv} UV_PYTHON={venv}/bin/python "
    "VIRTUAL_ENV={venv} CONDA_PREFIX={venv} CONDA_DEFAULT_ENV=base",
    "the machine's Python": "UV_SYSTEM_PYTHON=1 UV_BREAK_SYSTEM_PACKAGES=1",
    "uv's own Python": "UV_PYTHON_PREFERENCE=only-managed UV_MANAGED_PYTHON=1",
    "another folder": "UV_TARGET={bad}/target",
    "another prefix": "UV_PREFIX={bad}/prefix",
    "an end": "UV_REQUIRE_HASHES=1 UV_NO_VERIFY_HASHES=1 UV_NO_SOURCES=1 "
    "UV_NO_SOURCES_PACKAGE=torch UV_ISOLATED=1 UV_FROZEN=1 UV_LOCKED=1 UV_NO_SYNC=1 UV_PREVIEW=1 "
    "UV_NO_EDITABLE=1 UV_NO_INSTALLER_METADATA=1",
    "Python": "PYTHONPATH={bad} PYTHONHOME=/nowhere",
    "pip": "PIP_UPGRADE=1 PIP_UPGRADE_STRATEGY=eager PIP_FORCE_REINSTALL=1 PIP_IGNORE_INSTALLED=1 "
    "PIP_TARGET={bad}/target PIP_PREFIX={bad}/prefix PIP_USER=1 PIP_NO_DEPS=1 PIP_PRE=1 "
    "PIP_NO_BINARY=:all: PIP_CONSTRAINT={bad}/newer.txt PIP_REQUIREMENT={bad}/newer.txt "
    "PIP_INDEX_URL={index} PIP_EXTRA_INDEX_URL={index} PIP_FIND_LINKS={bad}/wheels "
    "PIP_CONFIG_FILE={bad}/pip.conf PIP_REQUIRE_HASHES=1 PIP_BREAK_SYSTEM_PACKAGES=1",
}
ROWS = {**{v: (v, changes) for v, changes in REACH_UV.items()},
        **{kind: (v, {}) for kind, v in MUST_NOT_REACH_UV.items()}}  # fmt: skip


@pytest.fixture
def advice(stand: Stand, tmp_path: Path, make_index) -> SimpleNamespace:
    """Everything that a variable may lead to, and that would cost the hold."""
    bad = tmp_path / "bad"
    (bad / "wheels").mkdir(parents=True)
    (bad / "newer.txt").write_text("torch==2.8.0\ntorchvision==0.23.0\n")
    (bad / "names.txt").write_text("torch\n")
    (bad / "env").write_text("UV_TORCH_BACKEND=cpu\nUV_OVERRIDE=newer.txt\n")
    (bad / "pip.conf").write_text("[install]\nupgrade = true\nno-deps = true\n")
    (bad / "sitecustomize.py").write_text("raise SystemExit('the wrong Python path')\n")
    hostile = (
        'reinstall = true\nupgrade = true\noverride-dependencies = ["torch==2.8.0"]\n'
        f'[[index]]\nurl = "{stand.index.url}"\ndefault = true\n'
        '[pip]\nexact = true\ntorch-backend = "cpu"\ntarget = "elsewhere"\n'
    )
    (bad / "uv.toml").write_text(hostile)
    head = '[project]\nname = "bad"\nversion = "1"\ndependencies = ["torch==2.8.0"]\n'
    tables = hostile.replace("[[index]]", "[[tool.uv.index]]").replace("[pip]", "[tool.uv.pip]")
    (bad / "pyproject.toml").write_text(f"{head}[tool.uv]\n{tables}")
    bait = [
        fake_torch(bad / "wheels", "2.3.1+zzz", files=1),
        fake_torch(bad / "wheels", "2.3.1+rocm5.7", files=1),  # the same version, other bytes
        fake_torch(bad / "wheels", "2.3.1+rocm10.0", files=1),
        make_wheel(bad / "wheels", "pytorch-triton-rocm", "2.3.1"),
        make_wheel(bad / "wheels", "pytorch-triton-rocm", "9.0"),
    ]
    second = make_index()
    second.add(*bait)
    other = make_venv(tmp_path / "other")
    return SimpleNamespace(bad=bad, index=second, venv=other, project=stand.project.directory)


@pytest.mark.parametrize("row", sample(ROWS, every=4))
def test_no_environment_variable_defeats_a_hold(stand, advice, row):
    variables, changes = ROWS[row]
    places = {"bad": advice.bad, "index": advice.index.url, "venv": advice.venv,
              "project": advice.project}  # fmt: skip
    for word in variables.split():
        name, _, value = word.partition("=")
        stand.variables[name] = value.format(**places)
    before = stand.fingerprint()
    stand.project.write(DECLARED)
    assert_held_and_done(stand, before, changes)
    assert [r.path for r in advice.index.requests if "torch" in r.path] == []
    assert list(advice.venv.glob("lib/*/site-packages/*.dist-info")) == []
    assert not (advice.bad / "target").exists()
    assert not (advice.bad / "prefix").exists()
