"""Every key of an environment: good values become final, bad ones are named with a mend."""

import math

import pytest

from reconciler.config import (
    Build,
    EnvironmentConfig,
    Mode,
    OnError,
    OnHoldBroken,
    Update,
)
from tests.config.tables import cases


def test_an_environment_needs_only_a_pyproject(studio, file):
    assert studio("") == EnvironmentConfig(
        name="studio",
        pyproject=file.parent / "p/pyproject.toml",
        python=file.parent / "p/.venv/bin/python",
        extras=(),
        groups=(),
        hold=("torch", "torchvision"),
        update=Update.NEEDED,
        prune=False,
        on_error=OnError.CONTINUE,
        on_hold_broken=OnHoldBroken.REPORT,
        allow_downgrade=False,
        verify=(),
        verify_timeout=300.0,
        interval=600.0,
        audit_interval=3600.0,
        debounce=0.3,
        timeout=1800.0,
        keep_generations=3,
        wait_while_in_use=None,
        build=Build.ALLOW,
        mode=Mode.APPLY,
        windows=(),
        notify=(),
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('extras = ["GPU", "data_science", "gpu"]', {"extras": ("gpu", "data-science")}),
        ('groups = ["Dev.Tools"]', {"groups": ("dev-tools",)}),
        (
            'hold = ["Torch", "torch_vision", "nvidia-*", "NVIDIA_cu??-*"]',
            {"hold": ("torch", "torch-vision", "nvidia-*", "nvidia-cu??-*")},
        ),
        ("hold = []", {"hold": ()}),
        ('update = "latest"', {"update": Update.LATEST}),
        ("prune = true", {"prune": True}),
        ('on_error = "abort"', {"on_error": OnError.ABORT}),
        ('on_hold_broken = "restore"', {"on_hold_broken": OnHoldBroken.RESTORE}),
        ("allow_downgrade = true", {"allow_downgrade": True}),
        ("verify = []", {"verify": ()}),
        ('verify = ["python", "-c", ""]', {"verify": (("python", "-c", ""),)}),
        ('verify = [["a", "b"], ["c"]]', {"verify": (("a", "b"), ("c",))}),
        ('verify_timeout = "90s"', {"verify_timeout": 90.0}),
        ('interval = "1h30m"', {"interval": 5400.0}),
        ('audit_interval = "1d"', {"audit_interval": 86400.0}),
        ('debounce = "0s"', {"debounce": 0.0}),
        ('debounce = "1.5s"', {"debounce": 1.5}),
        ('timeout = "2h"', {"timeout": 7200.0}),
        ("keep_generations = 1", {"keep_generations": 1}),
        ("wait_while_in_use = false", {"wait_while_in_use": None}),
        ("wait_while_in_use = true", {"wait_while_in_use": math.inf}),
        ('wait_while_in_use = "2h"', {"wait_while_in_use": 7200.0}),
        ('build = "never"', {"build": Build.NEVER}),
        ('mode = "observe"', {"mode": Mode.OBSERVE}),
    ],
)
def test_a_good_value_is_read(studio, line, expected):
    environment = studio(line)

    assert {name: getattr(environment, name) for name in expected} == expected


@pytest.mark.parametrize("line", ["", 'hold = ["nvidia-*"]\ninterval = "5m"'])
def test_an_environment_says_something_else_than_the_defaults(studio, line):
    head = '[defaults]\nhold = ["torch"]\ninterval = "1m"\nmode = "observe"\n'

    environment = studio(line, head)

    own = bool(line)
    assert environment.hold == (("nvidia-*",) if own else ("torch",))
    assert environment.interval == (300.0 if own else 60.0)
    assert environment.mode is Mode.OBSERVE


BAD = r"""
pyprojekt = 1
    pyprojekt: unknown key. Did you mean "pyproject"?

listen = 1
    listen: unknown key. It belongs in [http].

log_level = 1
    log_level: unknown key. It belongs in [service].

python = ""
    python: expected a path, found "". Write python = "/srv/studio/.venv".

python = 3.11
    python: expected the path of an environment's folder or of its interpreter, found 3.11.
    Write python = "/srv/studio/.venv".

python = "$HOME/.venv"
    python: expected a path without variables, found "$HOME/.venv". Write it out, or begin
    it with "~/".

python = "~nobody-of-this-name/x"
    python: expected the home folder of an existing user, found "~nobody-of-this-name/x". Write the
    path out.

extras = "gpu"
    extras: expected a list of names, found "gpu". Write extras = ["gpu"].

extras = ["gpu", 3]
    extras: expected a list of names, found ["gpu", 3]. Write extras = ["gpu"].

groups = ["-dev"]
    groups: expected a name of letters, digits, '-', '_' and '.', found the entry "-dev".
    Write groups = ["dev"].

hold = "torch"
    hold: expected a list of package names or globs, found "torch". Write hold = ["torch",
    "torchvision"].

hold = ["numpy", "torch==2.3.1"]
    hold: expected a package name, or a glob with * and ?, found the entry "torch==2.3.1".
    Write "torch", without version, extras or markers.

hold = ["uvicorn[standard]"]
    hold: expected a package name, or a glob with * and ?, found the entry
    "uvicorn[standard]". Write "uvicorn", without version, extras or markers.

hold = ["nvidia-[a-z]*"]
    hold: expected a package name, or a glob with * and ?, found the entry "nvidia-[a-z]*".
    Write hold = ["torch", "torchvision"].

hold = [""]
    hold: expected a package name, or a glob with * and ?, found the entry "". Write hold =
    ["torch", "torchvision"].

update = "newest"
    update: expected "needed" or "latest", found "newest". Write update = "needed".

prune = 1
    prune: expected true or false, found 1. Write prune = false.

prune = "yes"
    prune: expected true or false, found "yes". Write prune = false.

on_error = "ABORT"
    on_error: expected "continue" or "abort", found "ABORT". Write on_error = "continue".

on_hold_broken = true
    on_hold_broken: expected "report" or "restore", found true. Write on_hold_broken =
    "report".

allow_downgrade = []
    allow_downgrade: expected true or false, found []. Write allow_downgrade = false.

verify = "python -c pass"
    verify: expected a command as a list of words, or a list of such lists, found "python -c
    pass". Write verify = ["python", "-c", "import torch"].

verify = [["a"], "b"]
    verify: expected a command as a list of words, or a list of such lists, found [["a"],
    "b"]. Write verify = ["python", "-c", "import torch"].

verify = [[]]
    verify: expected a command as a list of words, or a list of such lists, each with at
    least the program's name, found [[]]. Write verify = ["python", "-c", "import torch"].

verify_timeout = "0s"
    verify_timeout: expected a duration of at least "1s", found "0s". Write verify_timeout =
    "5m".

interval = 10
    interval: expected a duration like "300ms" or "10m", found 10. Write interval = "10m".

interval = "10"
    interval: expected a duration like "300ms" or "10m", found "10". Write interval = "10m".

audit_interval = "10m1h"
    audit_interval: expected a duration with each unit once, the largest first, like
    "1h30m", found "10m1h". Write audit_interval = "1h".

timeout = "1000d"
    timeout: expected a duration of at most "366d", found "1000d". Write timeout = "30m".

debounce = "-1s"
    debounce: expected a duration like "300ms" or "10m", found "-1s". Write debounce =
    "300ms".

keep_generations = 0
    keep_generations: expected a whole number from 1 to 1000, found 0. Write
    keep_generations = 3.

keep_generations = 3.0
    keep_generations: expected a whole number from 1 to 1000, found 3.0. Write
    keep_generations = 3.

keep_generations = true
    keep_generations: expected a whole number from 1 to 1000, found true. Write
    keep_generations = 3.

wait_while_in_use = 60
    wait_while_in_use: expected false, true or a duration like "2h", found 60. Write
    wait_while_in_use = false.

build = "no"
    build: expected "allow", "unconfined" or "never", found "no". Write build = "allow".

mode = "dry-run"
    mode: expected "apply" or "observe", found "dry-run". Write mode = "apply".

mode = 2026-01-01T12:00:00Z
    mode: expected "apply" or "observe", found 2026-01-01T12:00:00+00:00. Write mode =
    "apply".
"""


@pytest.mark.parametrize(("line", "message"), cases(BAD))
def test_a_bad_value_is_named_with_its_mend(problems, line, message):
    text = f'[environments.studio]\npyproject = "p"\n{line}'

    assert problems(text) == [f"3:1: environments.studio.{message}"]
