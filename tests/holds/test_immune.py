"""Whatever uv is configured to do, a held package stays, byte for byte, and the rest is done.

Each row is a real pass with the real uv: one for each setting that reaches uv, and for each
place one for each kind that must not. Which settings are kept is decided in one function,
and tests/uv/test_known_settings.py asks it about every setting of uv at every place.
"""

from collections.abc import Mapping
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

import pytest

from reconciler.status import Result
from tests.holds.stand import DECLARED, REACHED, Stand
from tests.support.thorough import sample

NOTHING: Mapping[str, str | None] = MappingProxyType({})
LOWEST = {"accelerate": "0.0.1", "numpy": "1.24.4", "packaging": None}


class Setting(NamedTuple):
    """A setting that reaches uv, where it may stand, and what it changes apart from the holds."""

    toml: str
    levels: tuple[str, ...] = ("top", "pip")
    changes: Mapping[str, str | None] = NOTHING


PIP = ("pip",)
TOP = ("top",)
PLACES = ("project", "project-file", "user", "system")

KEPT = [
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
    *(Setting(f'link-mode = "{m}"') for m in ("copy", "symlink", "hardlink", "clone")),
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
    Setting('extra-build-dependencies = {accelerate = ["torch"]}', TOP),
    Setting('config-settings = {editable_mode = "compat"}'),
]
MUST_NOT_REACH_UV = {
    "another build": """
        reinstall = true
        reinstall-package = ["torch", "accelerate"]
        upgrade = true
        upgrade-package = ["torch"]
        torch-backend = "cpu"
        [pip]
        no-deps = true
    """,
    "the backend that uv finds": 'torch-backend = "auto"',
    "elsewhere": """
        python-preference = "only-managed"
        [pip]
        target = "elsewhere"
        python = "3.12"
        python-platform = "windows"
        break-system-packages = true
    """,
    "elsewhere still": """
        managed = false
        package = false
        workspace = {members = ["bait"]}
        [pip]
        prefix = "elsewhere"
        python-version = "3.8"
        system = true
        universal = true
    """,
    "an end": """
        required-version = ">=99"
        preview = true
        no-sources = true
        environments = ["sys_platform == 'win32'"]
        required-environments = ["sys_platform == 'win32'"]
        conflicts = [[{extra = "a"}, {extra = "b"}]]
        default-groups = ["gpu"]
        [pip]
        require-hashes = true
        verify-hashes = true
        strict = true
        all-extras = true
        generate-hashes = true
    """,
}
"""What would cost the hold if uv read it."""


def configure(stand: Stand, place: str, text: str) -> None:
    """Put uv settings where uv would find them."""
    if place == "project":
        tables = text.replace("[pip]", "[tool.uv.pip]")
        stand.project.write(DECLARED, extra=f"[tool.uv]\n{tables}\n")
        return
    stand.project.write(DECLARED)
    index = f'[[index]]\nurl = "{stand.index.url}"\ndefault = true\n'
    file, more = {
        "project-file": (stand.project.directory / "uv.toml", index),
        "user": (stand.user_file, ""),
        "system": (stand.system_file, ""),
    }[place]
    file.write_text(f"{text}\n{more}")


def assert_held_and_done(stand: Stand, before, changes: Mapping[str, str | None] = NOTHING) -> None:
    """Reconcile: the holds are as before, and all the rest is as declared."""
    outcome = stand.reconcile()
    stand.assert_untouched(before)
    assert outcome.result is Result.CHANGED, stand.log
    assert outcome.snapshot.drift.in_sync
    expected = {**REACHED, **changes}
    assert stand.packages() == {n: v for n, v in expected.items() if v is not None}


ROWS = [
    (PLACES[number % 4], setting.levels[number // 4 % len(setting.levels)], setting)
    for number, setting in enumerate(KEPT)
]


@pytest.mark.parametrize(
    ("place", "level", "setting"),
    sample(ROWS, every=3),
    ids=[f"{p}-{at}-{it.toml}" for p, at, it in ROWS],
)
def test_no_setting_that_reaches_uv_defeats_a_hold(stand, place, level, setting):
    before = stand.fingerprint()
    configure(stand, place, setting.toml if level == "top" else f"[pip]\n{setting.toml}")

    assert_held_and_done(stand, before, setting.changes)


@pytest.mark.parametrize(("place", "kind"), sample(product(PLACES, MUST_NOT_REACH_UV), every=4))
def test_what_would_defeat_a_hold_reaches_uv_from_no_place(stand, place, kind):
    before = stand.fingerprint()
    configure(stand, place, MUST_NOT_REACH_UV[kind])

    assert_held_and_done(stand, before)
