"""Finding the right command, option, environment and project; and saying so when one is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import reconciler
from reconciler.cli.app import COMMANDS
from reconciler.cli.app import reconciler as reconciler_command
from tests.cli.conftest import Studio
from tests.support.processes import run_cli
from tests.support.service import toml


def two(studio: Studio, tmp_path: Path) -> None:
    """Write a configuration of two environments: studio, and an empty workshop."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "pyproject.toml").write_text('[project]\nname = "other"\ndependencies = []\n')
    python = str(studio.venv)
    tables = {
        "service": {"state_dir": str(studio.home / "state")},
        "environments.studio": {"pyproject": str(studio.project.path), "python": python},
        "environments.workshop": {"pyproject": str(other), "hold": ["torch", "alpha"]},
    }
    studio.config.write_text(toml(tables))


def test_version(tmp_path: Path) -> None:
    ran = run_cli("--version", cwd=tmp_path)

    assert ran.stdout == f"reconciler {reconciler.__version__}\n"


@pytest.mark.parametrize(
    ("typed", "meant"), [("chekc", "check"), ("aply", "apply"), ("roll-back", "rollback")]
)
def test_a_mistyped_command_is_answered_with_the_nearest(
    tmp_path: Path, typed: str, meant: str
) -> None:
    ran = run_cli(typed, cwd=tmp_path)

    assert ran.returncode == 1
    assert f"There is no command '{typed}'. Did you mean {meant}?" in ran.stderr


def test_a_mistyped_option_is_answered_with_the_nearest(tmp_path: Path) -> None:
    ran = run_cli("check", "--jsno", cwd=tmp_path)

    assert ran.returncode == 1
    assert "--json" in ran.stderr


def test_a_mistyped_environment_is_answered_with_the_nearest(studio: Studio) -> None:
    ran = studio.run("check", "--environment", "stuido")

    assert ran.returncode == 1
    assert ran.stderr == "Error: There is no environment 'stuido'. Did you mean studio?\n"


def test_of_several_environments_one_must_be_named(studio: Studio, tmp_path: Path) -> None:
    two(studio, tmp_path)

    ran = run_cli("check", cwd=tmp_path, env=studio.environ)

    assert ran.returncode == 1
    assert ran.stderr == (
        "Error: Which environment? Name one with --environment: studio, workshop.\n"
    )
    named = run_cli("check", "-e", "studio", cwd=tmp_path, env=studio.environ)
    assert named.returncode == 0, named.stderr


def test_of_several_environments_the_one_of_this_folder_is_meant(
    studio: Studio, tmp_path: Path
) -> None:
    two(studio, tmp_path)

    assert studio.json("check")["environment"] == "studio"


def test_a_named_project_is_looked_after_as_it_is_configured(
    studio: Studio, tmp_path: Path
) -> None:
    two(studio, tmp_path)

    ran = run_cli(
        "check", "--json", "--pyproject", str(tmp_path / "other"), cwd=tmp_path, env=studio.environ
    )

    assert '"environment": "workshop"' in ran.stdout


def test_a_configuration_without_that_project_is_an_error(studio: Studio, tmp_path: Path) -> None:
    ran = studio.run("check", "--config", str(studio.config), "--pyproject", str(tmp_path))

    assert ran.returncode == 1
    assert "has no environment for that project" in ran.stderr


def test_options_may_stand_before_or_after_the_command(applied: Studio) -> None:
    before = applied.run("--json", "-e", "studio", "check")
    after = applied.run("check", "--json", "-e", "studio")

    assert before.returncode == after.returncode == 0
    assert before.stdout == after.stdout


def test_nothing_to_look_after_is_said(tmp_path: Path) -> None:
    ran = run_cli("check", cwd=tmp_path)

    assert ran.returncode == 1
    assert f"there is no pyproject.toml in {tmp_path}" in ran.stderr
    assert "--pyproject" in ran.stderr


def test_a_bad_configuration_is_said_with_its_place(studio: Studio) -> None:
    studio.config.write_text("[service]\nlog_levle = 'info'\n")

    ran = studio.run("check")

    assert ran.returncode == 1
    assert f"{studio.config}:2:1: " in ran.stderr
    assert 'Did you mean "log_level"?' in ran.stderr


def test_every_command_explains_itself() -> None:
    groups = ("hold", "service", "vault")
    wanting = []
    for name, words in COMMANDS.items():
        ran = CliRunner().invoke(reconciler_command, [name, "--help"], prog_name="reconciler")
        command = reconciler_command.get_command(click.Context(reconciler_command), name)
        own = [] if name in groups else ["Examples:", "Exit status:"]
        said = [f"Usage: reconciler {name}", *own]
        if ran.exit_code or [it for it in said if it not in ran.output]:
            wanting.append(ran.output)
        if command.get_short_help_str(200) != words:
            wanting.append(f"{name}: {command.get_short_help_str(200)}")

    assert wanting == []


def test_help_lists_every_command(tmp_path: Path) -> None:
    shown = " ".join(run_cli("--help", cwd=tmp_path).stdout.split())

    for name, words in COMMANDS.items():
        assert f" {name} {words}" in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_back(tmp_path: Path, shell: str) -> None:
    script = run_cli("completion", shell, cwd=tmp_path).stdout

    assert f"_RECONCILER_COMPLETE={shell}_complete" in script


def test_the_bash_script_completes_commands_and_names(studio: Studio, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "reconciler"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m reconciler "$@"\n')
    program.chmod(0o755)
    typed = (
        f'PATH="{program.parent}:$PATH"; eval "$(reconciler completion bash)"; '
        'complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); '
        '_reconciler_completion reconciler; echo "${COMPREPLY[@]}"; }; '
        "complete_line reconciler r; complete_line reconciler check -e st; "
        "complete_line reconciler hold re; complete_line reconciler hold restore tor"
    )
    ran = subprocess.run(
        ["bash", "-c", typed], cwd=studio.project.directory,
        env={**os.environ, **studio.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert ran.stdout.splitlines() == [
        "run rollback resume", "studio", "restore", "torch torchvision",
    ]  # fmt: skip
