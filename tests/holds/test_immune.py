"""Whatever uv is configured to do, a held package stays, byte for byte, and the rest is done.

Each row of the table is a real pass with the real uv.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import pytest

from reconciler.status import Result
from tests.holds.stand import DECLARED, REACHED, Stand

NOTHING: Mapping[str, str | None] = MappingProxyType({})
LOWEST = {"accelerate": "0.0.1", "numpy": "1.24.4", "packaging": None}


class Setting(NamedTuple):
    """A uv setting, where it may stand, and what it changes apart from the holds."""

    toml: str
    levels: tuple[str, ...] = ("top", "pip")
    changes: Mapping[str, str | None] = NOTHING


PIP = ("pip",)
TOP = ("top",)

SETTINGS = [
    Setting("reinstall = true"),
    Setting('reinstall-package = ["torch", "accelerate"]'),
    Setting("upgrade = true"),
    Setting('upgrade-package = ["torch"]'),
    Setting("exact = true", PIP),
    Setting('override-dependencies = ["torch==2.8.0"]', TOP),
    Setting('override-dependencies = ["Torch>=2.4.0", "torch_vision"]', TOP),
    Setting(
        'override-dependencies = ["torch @ file:///nowhere/torch-2.8.0-py3-none-any.whl"]', TOP
    ),
    Setting(
        'override-dependencies = [{package = {name = "accelerate"}, dependencies = ["torch>2"]}]',
        TOP,
    ),
    Setting(
        'exclude-dependencies = [{package = {name = "accelerate"}, dependencies = ["Torch"]}]', TOP
    ),
    Setting(
        'exclude-dependencies = [{package = {name = "accelerate"}, '
        'dependencies = ["torch", "packaging"]}]',
        TOP,
        {"packaging": None},
    ),
    Setting(
        'override-dependencies = [{package = {name = "accelerate", version = "0.9"}, '
        'dependencies = ["numpy<1.26", "Torch==2.8.0"]}]',
        TOP,
        {"numpy": "1.24.4"},
    ),
    Setting('constraint-dependencies = ["torch>=2.4"]', TOP),
    Setting('constraint-dependencies = [" Torch (>=2.4)", "torchvision>0.18.1"]', TOP),
    Setting('constraint-dependencies = ["numpy<1.26"]', TOP, {"numpy": "1.24.4"}),
    Setting('exclude-dependencies = ["torch"]', TOP),
    Setting('exclude-dependencies = ["mpmath"]', TOP, {"mpmath": None}),
    Setting('build-constraint-dependencies = ["torch==2.8.0"]', TOP),
    Setting('dependency-metadata = [{name = "torch", requires-dist = ["numpy>=2"]}]'),
    Setting(
        'dependency-metadata = [{name = "Torch", version = "2.3.1+rocm5.7", '
        'requires-dist = ["triton==3.0.0"]}]'
    ),
    Setting('torch-backend = "cpu"'),
    Setting('torch-backend = "auto"'),
    Setting("no-deps = true", PIP),
    *(Setting(f'link-mode = "{m}"') for m in ("copy", "symlink", "hardlink", "clone")),
    Setting('target = "elsewhere"', PIP),
    Setting('prefix = "elsewhere"', PIP),
    Setting('python = "3.12"', PIP),
    Setting('python-version = "3.8"', PIP),
    Setting('python-platform = "windows"', PIP),
    Setting("system = true", PIP),
    Setting("break-system-packages = true", PIP),
    Setting('no-binary = ["torch"]', PIP),
    Setting('no-binary-package = ["torch", "pytorch-triton-rocm"]', TOP),
    Setting('only-binary = ["torch"]', PIP),
    Setting('only-binary = [":all:"]', PIP),
    Setting("no-build = true"),
    Setting('no-build-package = ["torch"]', TOP),
    Setting("no-build-isolation = true"),
    Setting('exclude-newer = "2024-07-01T00:00:00Z"'),
    Setting('exclude-newer-package = {torch = "2020-01-01T00:00:00Z"}'),
    Setting('resolution = "lowest"', changes=LOWEST),
    Setting('resolution = "lowest-direct"', changes=LOWEST),
    Setting('prerelease = "allow"', changes={"packaging": "25.0rc1"}),
    Setting('prerelease = "disallow"'),
    *(
        Setting(f'index-strategy = "{s}"')
        for s in ("first-index", "unsafe-first-match", "unsafe-best-match")
    ),
    Setting("compile-bytecode = true"),
    Setting("require-hashes = true", PIP),
    Setting("verify-hashes = true", PIP),
    Setting("no-sources = true"),
    Setting("strict = true", PIP),
    Setting('extra-build-dependencies = {accelerate = ["torch"]}', TOP),
    Setting("all-extras = true", PIP),
    Setting("generate-hashes = true", PIP),
    Setting("universal = true", PIP),
    Setting('config-settings = {editable_mode = "compat"}'),
    Setting("managed = false", TOP),
    Setting("package = false", TOP),
    Setting("environments = [\"sys_platform == 'win32'\"]", TOP),
    Setting(
        "required-environments = [\"sys_platform == 'win32'\"]\n"
        'conflicts = [[{extra = "a"}, {extra = "b"}]]\n'
        'default-groups = ["gpu"]\nworkspace = {members = ["bait"]}\nfork-strategy = "fewest"',
        TOP,
    ),
    Setting('required-version = ">=99"', TOP),
    Setting('python-preference = "only-managed"', TOP),
    Setting("preview = true", TOP),
]
OUTSIDE = ("user", "system")
"""The user's file and the machine's are read by the same code: each setting is in one of them."""
ROWS = [
    pytest.param(place, level, setting, id=f"{place}-{level}-{setting.toml}")
    for number, setting in enumerate(SETTINGS)
    for levelled, level in enumerate(setting.levels)
    for place in ("project", "project-file", OUTSIDE[(number + levelled) % 2])
]


def configure(stand: Stand, place: str, level: str, toml: str) -> None:
    """Put a uv setting where uv would find it."""
    index = f'[[index]]\nurl = "{stand.index.url}"\ndefault = true\n'
    table = toml if level == "top" else f"[pip]\n{toml}"
    if place == "project":
        heading = "[tool.uv]" if level == "top" else "[tool.uv.pip]"
        stand.project.write(DECLARED, extra=f"{heading}\n{toml}\n")
        return
    stand.project.write(DECLARED)
    if place == "project-file":
        text = f"{table}\n{index}"
        (stand.project.directory / "uv.toml").write_text(text)
    else:
        file = stand.user_file if place == "user" else stand.system_file
        file.write_text(table + "\n")


@pytest.mark.parametrize(("place", "level", "setting"), ROWS)
def test_no_setting_of_uv_defeats_a_hold(stand, place, level, setting):
    before = stand.fingerprint()
    configure(stand, place, level, setting.toml)
    outcome = stand.reconcile()
    stand.assert_untouched(before)
    assert outcome.result is Result.CHANGED, stand.log
    assert outcome.snapshot.drift.in_sync
    expected = {**REACHED, **setting.changes}
    assert stand.packages() == {n: v for n, v in expected.items() if v is not None}
