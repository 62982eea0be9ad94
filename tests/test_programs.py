"""The README's two commands, and the programs that tests start."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.programs import PROGRAMS, Program

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()

# What every Debian has.
BARE = {"apt-get", "bash", "find", "hostname", "sh", "useradd", "userdel"}
BARE |= {"cat", "chmod", "chown", "cp", "dd", "du", "install", "ln", "mknod", "mv", "rm", "rmdir"}
BARE |= {"losetup", "ls", "mount", "nsenter", "setpriv", "sleep", "umount", "unshare"}
BESIDE_SYSTEMCTL = {"journalctl", "loginctl"}
ADVICE = "Not installed: git. Install: `apt-get install git`"


def bash_blocks(text: str) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_the_readme_begins_with_its_two_commands_and_installs_nothing_beside_debians_own():
    get_uv, run = bash_blocks(README)[0].split(" && ")
    assert run == ".uv/bin/uvx --from . reconciler run\n"
    assert bash_blocks(README)[1] == f"{get_uv} && .uv/bin/uv run pytest\n"
    words = get_uv.split()
    assert words[:2] == ["pip", "install"]
    assert words[words.index("--target") + 1] == ".uv"  # PEP 668 refuses it without
    assert "/.uv/" in (ROOT / ".gitignore").read_text().splitlines()


def test_ci_lints_and_tests_with_the_readmes_own_command(tmp_path):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    first, second = "```bash\nfalse\n```\n", "```bash\necho got uv && echo $CI uv run pytest\n```\n"
    (tmp_path / "README.md").write_text(first + second)
    for name in ("python3", "pip"):
        (tmp_path / name).symlink_to("/bin/true")
    said = subprocess.run(
        ["bash", tmp_path / ".ci/run"], capture_output=True, text=True, check=True,
        env={"PATH": f"{tmp_path}:{os.defpath}"}, timeout=60,
    ).stdout  # fmt: skip
    lines = [line for line in said.splitlines() if line and not line.startswith("===")]
    assert lines == [
        "got uv",
        "true uv run ruff format --check",
        "true uv run ruff check",
        "true uv run mypy",
        "got uv",
        "true uv run pytest",
    ]


# --- the list is complete ---


def test_every_program_that_tests_start_is_listed_for_them():
    unlisted = [
        f"{file}: {name}"
        for file, name in started_by_tests()
        if name not in BARE | BESIDE_SYSTEMCTL and not is_listed(name, file)
    ]
    assert unlisted == []


def is_listed(name: str, file: str) -> bool:
    starts = [start for program in PROGRAMS if program.name == name for start in program.tests]
    return any(file.startswith(start) or start.startswith(file) for start in starts)


def test_every_listed_program_is_started_by_the_tests_that_are_named():
    started = {name for _, name in started_by_tests()}
    by_others = {"dbus-daemon", "libatomic.so.1"}  # systemd; the program of Playwright
    assert {program.name for program in PROGRAMS} - by_others <= started
    for start in (start for program in PROGRAMS for start in program.tests):
        path, _, test = start.partition("::")
        assert (ROOT / path).exists()
        assert not test or f"def {test}" in (ROOT / path).read_text()


_STARTING = {"run", "Popen", "check_output", "check_call", "which"}


@cache
def started_by_tests() -> list[tuple[str, str]]:
    """File and program for each program that is named where it is started or sought."""
    started: list[tuple[str, str]] = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        file = str(path.relative_to(ROOT))
        tree = ast.parse(path.read_text())
        words = assigned(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args and starts_a_program(node.func, file):
                started += ((file, name) for name in first_words(node.args[0], words))
    return started


def starts_a_program(function: ast.expr, file: str) -> bool:
    if not isinstance(function, ast.Attribute) or function.attr not in _STARTING:
        return False  # without the cost of writing it out
    on_machine = file.startswith("tests/systemd/") and ast.unparse(function).endswith(".run")
    return on_machine or ast.unparse(function) in {
        "subprocess.run",
        "subprocess.Popen",
        "subprocess.check_output",
        "subprocess.check_call",
        "shutil.which",
    }


def assigned(tree: ast.Module) -> dict[str, list[ast.expr]]:
    """What is given to each name, anywhere in the module."""
    words = defaultdict(list)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            words[node.targets[0].id].append(node.value)
    return words


def first_words(command: ast.expr, words: dict[str, list[ast.expr]]) -> Iterator[str]:
    match command:
        case ast.Constant(value=str(word)) if "/" not in word:
            yield word
        case ast.List(elts=[first, *_]):
            yield from first_words(first, {})
        case ast.Starred(value=value):
            yield from first_words(value, words)
        case ast.Name(id=name):
            for value in words.get(name, []):
                yield from first_words(value, {})


# --- a program is missing ---


@pytest.fixture
def bare(tmp_path, monkeypatch) -> Path:
    """The only folder on PATH; it is empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def run_pytest(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "tests/passes/test_reconcile_git.py", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        env={**environ, "CI": "", **variables},
    )  # fmt: skip


def test_without_its_program_a_test_is_skipped_and_the_closing_line_says_how_to_get_it(bare):
    ran = run_pytest("-n", "1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    *_, closing, counts = ran.stdout.splitlines()
    skipped = re.search(r"= (\d+) skipped in ", counts)
    assert skipped, counts
    assert closing == f"{skipped[1]} tests skipped. {ADVICE}"


@pytest.mark.parametrize("workers", ["0", "1"])
def test_in_ci_a_missing_program_ends_the_run_before_its_first_test(bare, workers):
    ran = run_pytest("-n", workers, CI="true")
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert ADVICE in ran.stderr
    assert not re.search("passed|skipped in|failed", ran.stdout)


@pytest.fixture
def apt_get(bare, tmp_path, monkeypatch) -> Path:
    """An apt-get that knows no `chromium`; it logs what it is told and what services may do."""
    log, policy = tmp_path / "log", tmp_path / "policy-rc.d"
    monkeypatch.setattr(programs, "_POLICY", policy)
    script = f"""\
        #!/bin/sh
        for word; do :; done
        {policy} >/dev/null; echo "$word $?" >> {log}
        [ "$word" != chromium ] || {{ echo E: no candidate; exit 100; }}
    """
    (bare / "apt-get").write_text("\n".join(line.strip() for line in script.splitlines()))
    (bare / "apt-get").chmod(0o755)
    return log


def test_packages_are_installed_one_by_one_and_none_may_start_a_service(apt_get, tmp_path):
    wanted = [Program("promtool", "prometheus", ()), Program("chromium", "chromium", ())]
    said: list[str] = []
    programs.install(wanted, said.append)
    assert apt_get.read_text() == "update 101\nchromium 101\nprometheus 101\n"
    assert said[0].endswith(": chromium prometheus")
    assert "E: no candidate" in said[1]
    assert said[2:] == []
    assert not (tmp_path / "policy-rc.d").exists()


def test_a_rule_for_services_that_is_there_stays(apt_get, tmp_path):
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    policy.chmod(0o755)
    programs.install([Program("git", "git", ())], print)
    assert apt_get.read_text() == "update 0\ngit 0\n"
    assert policy.exists()
